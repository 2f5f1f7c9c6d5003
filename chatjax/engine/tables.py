"""The pages of each sequence, in every pool, over the prefix cache."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

from chatjax.engine import blocks
from chatjax.engine import prefix as prefix_lib

HOLE = 0  # a page given back because no query will read it again


@dataclasses.dataclass(eq=False)
class Table:
  """One sequence's pages: page j holds positions j * S .. (j + 1) * S - 1.

  Attributes:
    pages: by pool, then by j; all pools have the same length.
  """

  pages: list[list[int]]

  def __len__(self) -> int:
    return len(self.pages[0])

  def column(self, j: int) -> tuple[int, ...]:
    """Page j in every pool."""
    return tuple(pages[j] for pages in self.pages)


class Tables:
  """Takes, shares and gives back the pages of sequences."""

  def __init__(
    self,
    *,
    num_pages: Sequence[int],
    windows: Sequence[int | None],
    page_size: int,
    chunk: int,
    use_prefixes: bool = True,
  ):
    self.prefix = prefix_lib.PrefixCache(num_pages, windows, chunk)
    self.page_size = page_size
    self._chunk = chunk
    self._windows = tuple(windows)
    self._use_prefixes = use_prefixes

  @property
  def pools(self) -> tuple[blocks.PagePool, ...]:
    return self.prefix.pools

  @property
  def num_used(self) -> int:
    """Pages that a sequence refers to, over all pools."""
    return sum(pool.num_used for pool in self.pools)

  @property
  def usage(self) -> float:
    """Share of the fullest pool that sequences refer to."""
    return max(
      pool.num_used / max(1, pool.num_used + pool.num_available)
      for pool in self.pools
    )

  def num_pages(self, num_positions: int) -> int:
    """Pages per pool for that many positions."""
    return -(-num_positions // self.page_size)

  def open(self, names: Sequence[bytes]) -> tuple[Table, int]:
    """A table that begins with what is cached.

    Args:
      names: of the chunks that may be taken from the cache.

    Returns:
      The table and how many positions are in it.
    """
    count = self.prefix.longest(names) if self._use_prefixes else 0
    per_chunk = self._chunk // self.page_size
    table = Table([[] for _ in self.pools])
    for pool, pages in enumerate(table.pages):
      needed = self.prefix.first_needed(pool, count * self._chunk)
      for idx, name in enumerate(names[:count]):
        is_read = (idx + 1) * self._chunk > needed
        known = self.prefix.pages(name, pool) if is_read else None
        pages.extend(known or [HOLE] * per_chunk)
      self.pools[pool].share(page for page in pages if page)
    return table, count * self._chunk

  def has_room(self, count: int, spare: int = 0) -> bool:
    """Whether a sequence can go on by `count` pages, `spare` left over.

    A windowed pool never holds more of one sequence than its window and the
    chunk that is being computed.
    """
    return all(
      pool.num_available >= min(count, self._most(window)) + spare
      for pool, window in zip(self.pools, self._windows, strict=True)
    )

  def grow(self, table: Table, num_positions: int) -> bool:
    """Takes what a sequence lacks for that many positions, or nothing."""
    count = self.num_pages(num_positions) - len(table)
    if count <= 0:
      return True
    if any(pool.num_available < count for pool in self.pools):
      return False
    for pool, pages in zip(self.pools, table.pages, strict=True):
      pages.extend(pool.take(count) or ())
    return True

  def fork(self, table: Table, num_positions: int) -> Table | None:
    """Shares the full pages of a prefix; a part-filled last one is new."""
    full, part = divmod(num_positions, self.page_size)
    forked = Table([pages[:full] for pages in table.pages])
    for pool, pages in zip(self.pools, forked.pages, strict=True):
      pool.share(page for page in pages if page)
    if part and not self.grow(forked, num_positions):
      self.release(forked)
      return None
    return forked

  def remember(self, table: Table, name: bytes, start: int) -> None:
    """Puts the whole chunk at position `start` into the prefix cache."""
    if self._use_prefixes:
      part = slice(
        start // self.page_size, (start + self._chunk) // self.page_size
      )
      self.prefix.add(name, [tuple(pages[part]) for pages in table.pages])

  def forget_before(self, table: Table, position: int) -> None:
    """Gives back what queries from `position` on cannot see."""
    for pool, pages in enumerate(table.pages):
      needed = self.prefix.first_needed(pool, position) // self.page_size
      for j in range(min(needed, len(pages)) - 1, -1, -1):
        if pages[j] == HOLE:
          break
        self.pools[pool].give_back(pages[j : j + 1])
        pages[j] = HOLE

  def release(self, table: Table) -> None:
    """Gives all pages back, the last first: they are evicted first, too."""
    for pool, pages in zip(self.pools, table.pages, strict=True):
      pool.give_back(page for page in reversed(pages) if page)
      pages.clear()

  def again(self, shape: Sequence[Sequence[bool]], spare: int) -> Table | None:
    """A table of new pages where `shape` is true, as `shape_of` said."""
    counts = [sum(holds) for holds in shape]
    if any(
      pool.num_available < count + spare
      for pool, count in zip(self.pools, counts, strict=True)
    ):
      return None
    table = Table([])
    for pool, count, holds in zip(self.pools, counts, shape, strict=True):
      pages = iter(pool.take(count) or ())
      table.pages.append([next(pages) if held else HOLE for held in holds])
    return table

  def _most(self, window: int | None) -> int:
    if window is None:
      return 2**31
    return self.num_pages(window) + self.num_pages(self._chunk) + 1


def shape_of(table: Table) -> list[list[bool]]:
  """Where a table holds pages, by pool."""
  return [[page != HOLE for page in pages] for pages in table.pages]
