"""Numbers in schemas that llguidance reads as they are meant."""

from __future__ import annotations

import bisect
import collections
import decimal

_LOW = ('minimum', 'exclusiveMinimum')


def is_exact(value: float) -> bool:
  """Whether its digits and its power of ten are exact as doubles.

  Others may be read as a neighbour.
  """
  _, digits, exponent = decimal.Decimal(repr(value)).normalize().as_tuple()
  return int(''.join(map(str, digits))) <= 2**53 and abs(int(exponent)) <= 22


class Bounds:
  """The bounds of one schema.

  Where an exclusive bound is a whole number and the other bound is less than 1
  from it, llguidance lets the exclusive one through. The two may come from
  different places, if a schema has parts that hold together.
  """

  def __init__(self):
    self.has_parts = False
    self._found: list[tuple[str, float, str]] = []

  def add(self, keyword: str, value: float, pointer: str) -> None:
    self._found.append((keyword, value, pointer))

  def unsafe(self) -> str | None:
    """Where a bound is that would not hold; None if there is none."""
    # By where they stand, or all together; the side they bound; in order.
    near: dict[tuple[str, bool], list[float]] = collections.defaultdict(list)
    for keyword, value, pointer in self._found:
      near[self._part(pointer), keyword in _LOW].append(value)
    for values in near.values():
      values.sort()
    for keyword, value, pointer in self._found:
      if keyword.startswith('exclusive') and value == int(value):
        others = near.get((self._part(pointer), keyword not in _LOW), [])
        first = bisect.bisect_right(others, value - 1)
        if first < len(others) and others[first] < value + 1:
          return pointer
    return None

  def _part(self, pointer: str) -> str:
    return '' if self.has_parts else pointer.rpartition('/')[0]
