"""The prefix cache: which whole prefill chunks lie in which pages.

A chunk is named by a hash of itself and of all before it, beginning with a
salt; so equal names mean equal keys and values, and users with different
salts cannot find one another's prompts by timing (CVE-2025-46570).
"""

from __future__ import annotations

import array
from collections.abc import Sequence
import hashlib

from chatjax.engine import blocks


def chain(token_ids: Sequence[int], chunk: int, salt: str) -> tuple[bytes, ...]:
  """Names of the whole chunks of a prompt, each depending on all before."""
  name = hashlib.sha256(salt.encode()).digest()
  names = []
  for start in range(0, len(token_ids) - chunk + 1, chunk):
    part = array.array('i', token_ids[start : start + chunk])
    name = hashlib.sha256(name + part.tobytes()).digest()
    names.append(name)
  return tuple(names)


class PrefixCache:
  """Chunks by name. Pages are kept alive by the pools' least-recent-use lists.

  A pool of global layers must hold every chunk of a prefix; a pool of layers
  with a sliding window only the chunks that the window still reaches.

  Args:
    num_pages: of each pool.
    windows: what each pool's layers see; None is everything.
    chunk: positions of a chunk.
  """

  def __init__(
    self,
    num_pages: Sequence[int],
    windows: Sequence[int | None],
    chunk: int,
  ):
    self.pools = tuple(
      blocks.PagePool(count, lambda page, pool=pool: self._evict(pool, page))
      for pool, count in enumerate(num_pages)
    )
    self._windows = tuple(windows)
    self._chunk = chunk
    # Name -> by pool, the chunk's pages, or None where they were evicted.
    self._chunks: dict[bytes, list[tuple[int, ...] | None]] = {}
    self._owner: tuple[dict[int, bytes], ...] = tuple({} for _ in num_pages)

  def __len__(self) -> int:
    return len(self._chunks)

  def longest(self, names: Sequence[bytes]) -> int:
    """How many leading chunks can be used."""
    found = 0
    while found < len(names) and names[found] in self._chunks:
      found += 1
    while found and not self._covers(names, found):
      found -= 1
    return found

  def first_needed(self, pool: int, position: int) -> int:
    """The first position that a query at `position` still reads."""
    window = self._windows[pool]
    return 0 if window is None else max(0, position - window + 1)

  def pages(self, name: bytes, pool: int) -> tuple[int, ...] | None:
    return self._chunks[name][pool]

  def add(self, name: bytes, pages: Sequence[tuple[int, ...]]) -> None:
    """Remembers a chunk; pages of one that is known already are not kept."""
    known = self._chunks.setdefault(name, [None] * len(self.pools))
    for pool, its_pages in enumerate(pages):
      if known[pool] is None:
        known[pool] = its_pages
        self.pools[pool].keep(its_pages)
        self._owner[pool].update(dict.fromkeys(its_pages, name))

  def _covers(self, names: Sequence[bytes], count: int) -> bool:
    """Whether windowed pools hold all that the next query would read."""
    return all(
      self._chunks[names[idx]][pool] is not None
      for pool in range(len(self.pools))
      for idx in range(
        self.first_needed(pool, count * self._chunk) // self._chunk, count
      )
    )

  def _evict(self, pool: int, page: int) -> None:
    """Forgets the chunk that a page belongs to, as far as it must."""
    name = self._owner[pool][page]
    is_useless = self._windows[pool] is None
    known = self._chunks[name]
    for other in range(len(self.pools)) if is_useless else (pool,):
      for its_page in known[other] or ():
        del self._owner[other][its_page]
        self.pools[other].forget(its_page)
      known[other] = None
    if all(pages is None for pages in known):
      del self._chunks[name]
