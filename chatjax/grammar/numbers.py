"""Numbers in schemas that llguidance reads as they are meant."""

from __future__ import annotations

import decimal
import itertools

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
    for one, other in itertools.permutations(self._found, 2):
      keyword, value, pointer = one
      is_exclusive = keyword.startswith('exclusive') and value == int(value)
      are_opposite = (keyword in _LOW) != (other[0] in _LOW)
      is_near = abs(value - other[1]) < 1
      if is_exclusive and are_opposite and is_near:
        if self.has_parts or _owner(pointer) == _owner(other[2]):
          return pointer
    return None


def _owner(pointer: str) -> str:
  return pointer.rpartition('/')[0]
