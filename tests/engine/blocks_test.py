"""References to pages."""

import pytest

from chatjax.engine import blocks


def test_pages_are_taken_together_or_not_at_all():
  pool = blocks.PagePool(4)
  pages = pool.take(2)
  assert 0 not in pages
  assert pool.take(2) is None
  assert pool.num_used == 2
  pool.give_back(pages)
  assert pool.num_available == 3


def test_what_was_given_back_is_refused():
  pool = blocks.PagePool(4)
  pages = pool.take(2)
  pool.give_back(pages)
  with pytest.raises(blocks.PoolError, match='twice'):
    pool.give_back(pages)
  with pytest.raises(blocks.PoolError, match='free'):
    pool.share(pages)


def test_shared_pages_are_free_after_the_last_reference():
  pool = blocks.PagePool(3)
  pages = pool.take(2)
  pool.share(pages)
  pool.give_back(pages)
  assert pool.num_used == 2
  pool.give_back(pages)
  assert pool.num_used == 0


def test_kept_pages_are_given_out_last_and_the_longest_unused_first():
  pool = blocks.PagePool(5)
  a, b, c = (pool.take(1) for _ in range(3))
  for pages in (a, b):
    pool.keep(pages)
    pool.give_back(pages)
  assert pool.num_kept == 2
  assert pool.num_used == 1
  pool.share(a)  # in use again, so b is the older one afterwards
  pool.give_back(a)
  free = pool.take(1)
  assert free not in (a, b, c)
  assert pool.take(1) == b
  assert pool.take(1) == a
  assert pool.num_kept == 0
