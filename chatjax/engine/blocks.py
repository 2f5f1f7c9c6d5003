"""The page pool: which pages are free, and how many hold each other one."""

from __future__ import annotations

from collections.abc import Sequence

from chatjax import types


class PoolError(types.ChatjaxError):
  """A page handed back more often than it was taken."""


class PagePool:
  """Counts references to pages 1 .. num_pages - 1; page 0 is nobody's."""

  def __init__(self, num_pages: int):
    self._references = [0] * num_pages
    # Lowest pages first: a short load touches little memory.
    self._free = list(range(num_pages - 1, 0, -1))

  @property
  def num_free(self) -> int:
    return len(self._free)

  @property
  def num_used(self) -> int:
    return len(self._references) - 1 - len(self._free)

  def take(self, count: int) -> tuple[int, ...] | None:
    """Takes `count` free pages, or none at all if there are fewer."""
    if count > len(self._free):
      return None
    pages = tuple(self._free.pop() for _ in range(count))
    for page in pages:
      self._references[page] = 1
    return pages

  def share(self, pages: Sequence[int]) -> None:
    """Adds a reference to pages that are in use."""
    for page in pages:
      if not self._references[page]:
        raise PoolError(f'Page {page} is free and cannot be shared.')
      self._references[page] += 1

  def give_back(self, pages: Sequence[int]) -> None:
    """Drops a reference; a page without any is free again."""
    for page in pages:
      if not self._references[page]:
        raise PoolError(f'Page {page} was given back twice.')
      self._references[page] -= 1
      if not self._references[page]:
        self._free.append(page)
