"""A page pool: which pages are free, kept, or in use, and by how many."""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Iterable

from chatjax import types


class PoolError(types.ChatjaxError):
  """A page handed back more often than it was taken."""


class PagePool:
  """Counts references to pages 1 .. num_pages - 1; page 0 is nobody's.

  A page that nobody refers to is free; or, if what it holds is known to the
  prefix cache, kept: it is given out again only when no free one is left, the
  longest unused first.

  Args:
    num_pages: page 0 included.
    evict: called with a kept page that is wanted; has to `forget` it.
  """

  def __init__(
    self, num_pages: int, evict: Callable[[int], None] | None = None
  ):
    self._references = [0] * num_pages
    # Lowest pages first: a short load touches little memory.
    self._free = list(range(num_pages - 1, 0, -1))
    self._kept: collections.OrderedDict[int, None] = collections.OrderedDict()
    self._known: set[int] = set()
    self._evict = evict or self.forget

  @property
  def num_available(self) -> int:
    """Pages that `take` can give."""
    return len(self._free) + len(self._kept)

  @property
  def num_used(self) -> int:
    """Pages that somebody refers to."""
    return len(self._references) - 1 - self.num_available

  @property
  def num_kept(self) -> int:
    return len(self._kept)

  def take(self, count: int) -> list[int] | None:
    """Takes `count` pages, or none at all if there are fewer."""
    if count > self.num_available:
      return None
    while len(self._free) < count:
      self._evict(next(iter(self._kept)))
    pages = [self._free.pop() for _ in range(count)]
    for page in pages:
      self._references[page] = 1
    return pages

  def share(self, pages: Iterable[int]) -> None:
    """Adds a reference to pages that are in use or kept."""
    for page in pages:
      if not self._references[page]:
        if page not in self._kept:
          raise PoolError(f'Page {page} is free and cannot be shared.')
        del self._kept[page]
      self._references[page] += 1

  def give_back(self, pages: Iterable[int]) -> None:
    """Drops a reference; a page without any is free or kept."""
    for page in pages:
      if not self._references[page]:
        raise PoolError(f'Page {page} was given back twice.')
      self._references[page] -= 1
      if not self._references[page]:
        if page in self._known:
          self._kept[page] = None
        else:
          self._free.append(page)

  def keep(self, pages: Iterable[int]) -> None:
    """What these pages hold is worth keeping after their last reference."""
    self._known.update(pages)

  def forget(self, page: int) -> None:
    """It is not worth keeping any more."""
    self._known.discard(page)
    if page in self._kept:
      del self._kept[page]
      self._free.append(page)
