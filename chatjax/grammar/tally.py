"""What the parts of one schema come to together."""

from __future__ import annotations

from collections.abc import Sequence
import decimal
import math
from typing import Any

from chatjax.grammar import limits as limits_lib
from chatjax.grammar import pattern as pattern_lib
from chatjax.grammar import refusal


class Tally:
  """Counts what a schema may have only so many of."""

  def __init__(self, limits: limits_lib.Limits, param: str | None):
    self.names = 0
    self.name_patterns = 0
    self.enum_values = 0
    self._limits = limits
    self.param = param
    self._patterns = pattern_lib.Cost()
    self._multiple = 1

  def add_pattern(self, pattern: str, pointer: str) -> None:
    pattern_lib.measure(pattern, self._patterns)
    if self._patterns.foreign:
      raise refusal.of(
        f'{self._patterns.foreign} in a pattern would not be read as '
        'ECMAScript does; write it in another way.',
        self.param,
        pointer=pointer,
      )

  def add_multiple(self, value: float, pointer: str) -> None:
    # Intersections, and alternatives, cost the product.
    self._multiple = math.lcm(self._multiple, _whole(value))
    if self._multiple > self._limits.multiple:
      raise refusal.of(
        'The least common multiple of all multipleOf, decimal points left '
        f'out, is {self._multiple}; at most {self._limits.multiple} is '
        'allowed.',
        self.param,
        pointer=pointer,
      )

  def check(self, schemas: Sequence[Any]) -> None:
    """Checks the sums.

    Args:
      schemas: the root, and every schema that is referred to.

    Raises:
      types.RequestError: one is too large.
    """
    limits = self._limits
    pattern_lib.check_cost(self._patterns, self.param, limits)
    sums = (
      ('names of properties', self.names, limits.properties),
      ('patterns of names', self.name_patterns, limits.name_patterns),
      ('values in enums', self.enum_values, limits.enum_values),
      ('levels of schemas', sum(map(_levels, schemas)), limits.levels),
    )
    for name, number, limit in sums:
      if number > limit:
        raise refusal.of(
          f'The JSON schema has {number} {name}; at most {limit} are allowed.',
          self.param,
        )


def _levels(value: Any) -> int:
  """Nested objects and lists of a schema."""
  if not isinstance(value, dict | list):
    return 0
  # Definitions count where they are referred to.
  children = (
    [x for key, x in value.items() if key not in ('$defs', 'definitions')]
    if isinstance(value, dict)
    else value
  )
  return 1 + max(map(_levels, children), default=0)


def _whole(value: float) -> int:
  """A number without its decimal point: 0.25 is 25."""
  _, digits, exponent = decimal.Decimal(repr(value)).normalize().as_tuple()
  return int(''.join(map(str, digits))) * 10 ** max(0, int(exponent))


def check_roughly(
  schema: Any, *, param: str | None, limits: limits_lib.Limits
) -> None:
  """Checks the sums of a schema whose keywords are not all known.

  Raises:
    types.RequestError: one is too large.
  """
  found = Tally(limits, param)
  _count(schema, found, '', limits.depth)
  named = [
    x
    for key in ('$defs', 'definitions')
    if isinstance(schema.get(key), dict)
    for x in schema[key].values()
  ]
  found.check([schema, *named])


def _count(value: Any, found: Tally, pointer: str, depth: int) -> None:
  if not isinstance(value, dict | list):
    return
  if not depth:
    raise refusal.of(
      'The JSON schema is nested too deep.', found.param, pointer=pointer
    )
  if isinstance(value, list):
    for i, x in enumerate(value):
      _count(x, found, f'{pointer}/{i}', depth - 1)
    return
  for key, x in value.items():
    where = pointer + refusal.escaped(key)
    match key, x:
      case 'multipleOf', int() | float() if x > 0:
        found.add_multiple(x, where)
      case 'pattern', str():
        found.add_pattern(x, where)
      case 'enum', list():
        found.enum_values += len(x)
      case 'required', list():
        found.names += len(x)
      case 'properties', dict():
        found.names += len(x)
      case 'patternProperties', dict():
        found.name_patterns += len(x)
        for name in x:
          found.add_pattern(name, where)
    _count(x, found, where, depth - 1)
