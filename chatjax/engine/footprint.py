"""What a compiled program keeps in a device's memory, and what it sends."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import jax

_COLLECTIVES = (
  'all-gather', 'all-reduce', 'all-to-all', 'collective-permute',
  'reduce-scatter',
)  # fmt: skip
_OPERATION = re.compile(
  rf'= .*? (?P<name>{"|".join(_COLLECTIVES)}|sort)(-start)?\('
)
_SIZES = re.compile(r'\[([\d,]*)\]')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Footprint:
  """Of one program on one device.

  Attributes:
    arguments: bytes of what it is given.
    results: bytes of what it returns beside what it was given.
    scratch: bytes that it needs while it runs.
    donated: bytes of arguments in whose place results stand.
    collectives: kind -> how many.
    widest_sort: entries of the longest axis that is sorted; 0 if none is.
  """

  arguments: int
  results: int
  scratch: int
  donated: int
  collectives: dict[str, int]
  widest_sort: int

  @property
  def total(self) -> int:
    return self.arguments + self.results + self.scratch


def of(compiled: Any) -> Footprint:
  """Reads what the compiler says of a program."""
  memory = compiled.memory_analysis()
  collectives: dict[str, int] = {}
  widest_sort = 0
  for line in compiled.as_text().splitlines():
    found = _OPERATION.search(line)
    if found is None:
      continue
    if found['name'] == 'sort':
      sizes = [
        int(x) for axes in _SIZES.findall(line) for x in axes.split(',') if x
      ]
      widest_sort = max(widest_sort, *sizes)
    else:
      collectives[found['name']] = collectives.get(found['name'], 0) + 1
  return Footprint(
    arguments=memory.argument_size_in_bytes,
    results=memory.output_size_in_bytes - memory.alias_size_in_bytes,
    scratch=memory.temp_size_in_bytes,
    donated=memory.alias_size_in_bytes,
    collectives=collectives,
    widest_sort=widest_sort,
  )


def per_device(abstract: Any) -> int:
  """Bytes that abstract arrays with shardings take on one device."""
  total = 0
  for x in jax.tree.leaves(abstract):
    shape = x.shape if x.sharding is None else x.sharding.shard_shape(x.shape)
    size = x.dtype.itemsize
    for extent in shape:
      size *= extent
    total += size
  return total
