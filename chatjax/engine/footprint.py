"""What a compiled program keeps in a device's memory, and what it sends."""

from __future__ import annotations

import collections
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
# A kernel that was written for TPUs: its name, and a number after a dot.
_KERNEL = re.compile(
  r'%(?P<name>\w+?)(\.\d+)* = .*custom_call_target="tpu_custom_call"'
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
    kernels: name -> how often a kernel for TPUs is called.
  """

  arguments: int
  results: int
  scratch: int
  donated: int
  collectives: dict[str, int]
  widest_sort: int
  kernels: dict[str, int]

  @property
  def total(self) -> int:
    return self.arguments + self.results + self.scratch


def of(compiled: Any) -> Footprint:
  """Reads what the compiler says of a program."""
  memory = compiled.memory_analysis()
  collectives, kernels = collections.Counter(), collections.Counter()
  widest_sort = 0
  for line in compiled.as_text().splitlines():
    if kernel := _KERNEL.search(line):
      kernels[kernel['name']] += 1
      continue
    found = _OPERATION.search(line)
    if found is None:
      continue
    if found['name'] == 'sort':
      sizes = [
        int(x) for axes in _SIZES.findall(line) for x in axes.split(',') if x
      ]
      widest_sort = max(widest_sort, *sizes)
    else:
      collectives[found['name']] += 1
  return Footprint(
    arguments=memory.argument_size_in_bytes,
    results=memory.output_size_in_bytes - memory.alias_size_in_bytes,
    scratch=memory.temp_size_in_bytes,
    donated=memory.alias_size_in_bytes,
    collectives=dict(collectives),
    widest_sort=widest_sort,
    kernels=dict(kernels),
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
