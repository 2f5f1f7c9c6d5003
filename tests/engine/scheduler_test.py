"""Rows, pages and the queue, without a device."""

import random

import pytest

from chatjax import types
from chatjax.engine import blocks
from chatjax.engine import scheduler as scheduler_lib

PAGE = 4


def job(prompt=5, max_tokens=6, n=1, name='r'):
  request = types.TokenRequest(
    request_id=name,
    prompt_ids=(1,) * prompt,
    sampling=types.SamplingParams(),
    seed=0,
    stop_ids=frozenset(),
    max_tokens=max_tokens,
    n=n,
  )
  return scheduler_lib.Job(request=request, sink=None)


def scheduler(rows=2, pages=20):
  return scheduler_lib.Scheduler(max_rows=rows, num_pages=pages, page_size=PAGE)


def place_all(plan, one):
  one.logits = 'logits'
  rows = []
  while row := plan.place(one):
    rows.append(row)
  return rows


def test_row_holds_pages_for_all_its_tokens():
  plan, one = scheduler(), job(prompt=5, max_tokens=8)
  plan.add(one)
  assert plan.head() is one
  (row,) = place_all(plan, one)
  assert len(row.pages) == 3  # 5 + 8 - 1 positions
  assert row.tail_copy is None
  assert row.logits == 'logits'
  plan.release(row)
  assert plan.is_idle
  assert plan.pool.num_used == 0


def test_choices_share_full_pages_and_copy_the_tail():
  plan, one = scheduler(rows=3), job(prompt=9, max_tokens=4, n=3)
  plan.add(one)
  plan.head()
  rows = place_all(plan, one)
  assert [row.choice for row in rows] == [0, 1, 2]
  shared = {row.pages[:2] for row in rows}
  assert len(shared) == 1
  tails = [row.pages[2] for row in rows]
  assert len(set(tails)) == 3
  (tail,) = {row.tail_copy[0] for row in rows[:2]}
  assert [row.tail_copy[1] for row in rows[:2]] == tails[:2]
  assert rows[2].tail_copy is None
  assert tails[2] == tail
  for row in rows:
    plan.release(row)
  assert plan.pool.num_used == 0


def test_jobs_start_in_the_order_of_arrival():
  plan = scheduler(rows=1)
  first, second = job(name='a'), job(name='b')
  plan.add(first)
  plan.add(second)
  assert plan.head() is first
  (row,) = place_all(plan, first)
  assert plan.head() is None
  plan.release(row)
  assert plan.head() is second


def test_job_waits_for_pages():
  plan = scheduler(rows=2, pages=5)
  first, second = job(max_tokens=8), job(max_tokens=8)
  plan.add(first)
  plan.add(second)
  plan.head()
  (row,) = place_all(plan, first)
  assert plan.head() is None
  plan.release(row)
  assert plan.head() is second


def test_full_pool_still_forks():
  """The largest request with n > 1 fits the smallest pool there can be."""
  context = 16
  plan = scheduler(rows=4, pages=context // PAGE + 2)
  one = job(prompt=6, max_tokens=context - 6, n=3)
  plan.add(one)
  served = 0
  while (head := plan.head()) or plan.rows:
    if head:
      head.logits = 'logits'
      plan.place(head)
    for row in list(plan.rows.values()):
      plan.release(row)
      served += 1
  assert served == 3
  assert plan.pool.num_used == 0


def test_a_choice_that_ended_before_it_was_placed_is_left_out():
  plan, one = scheduler(rows=3), job(n=3)
  plan.add(one)
  plan.head()
  plan.cancel(one, 0)
  plan.cancel(one, 7)  # there is none
  rows = place_all(plan, one)
  assert [row.choice for row in rows] == [1, 2]
  for row in rows:
    plan.release(row)
  assert one.num_open == 0
  assert plan.pool.num_used == 0


def check_rows(plan):
  """No row can write where another one reads; ended choices have no row."""
  own = []
  for row in plan.rows.values():
    full = len(row.job.request.prompt_ids) // PAGE
    own += row.pages[full:]
    assert row.choice not in row.job.ended
  shared = {p for row in plan.rows.values() for p in row.pages} - set(own)
  assert len(own) == len(set(own))
  assert 0 not in shared | set(own)
  running = [(id(row.job), row.choice) for row in plan.rows.values()]
  assert len(running) == len(set(running))


def test_random_load_leaks_nothing():
  rng = random.Random(0)
  plan, alive, placed = scheduler(rows=4, pages=30), [], set()
  cancelled = ended = 0
  for step in range(5000):
    if len(alive) < 12 and rng.random() < 0.4:
      one = job(
        rng.randint(1, 30), rng.randint(1, 20), rng.randint(1, 6), str(step)
      )
      plan.add(one)
      alive.append(one)
    if (head := plan.head()) and rng.random() < 0.7:
      head.logits = 'logits'
      if row := plan.place(head):
        name = row.job.request.request_id, row.choice
        assert name not in placed
        placed.add(name)
    if plan.rows and rng.random() < 0.3:
      plan.release(rng.choice(list(plan.rows.values())))
    if alive and rng.random() < 0.1:
      plan.cancel(rng.choice(alive), rng.choice([None, 0, 1, 2]))
      cancelled += 1
    assert all(one.num_open >= 0 for one in alive)
    ended += sum(not one.num_open for one in alive)
    alive = [one for one in alive if one.num_open]
    check_rows(plan)
  for one in alive:
    plan.cancel(one)
  assert plan.is_idle
  assert plan.pool.num_used == 0
  assert min(ended, cancelled) > 100


def test_pool_refuses_what_was_given_back():
  pool = blocks.PagePool(4)
  pages = pool.take(2)
  assert pool.take(2) is None
  pool.give_back(pages)
  with pytest.raises(blocks.PoolError, match='twice'):
    pool.give_back(pages)
  with pytest.raises(blocks.PoolError, match='free'):
    pool.share(pages)
