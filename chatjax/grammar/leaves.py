"""Keywords of a JSON schema whose values hold no schemas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chatjax.grammar import keywords
from chatjax.grammar import numbers
from chatjax.grammar import refusal
from chatjax.grammar import tally as tally_lib


class Leaves:
  """Checks them one at a time, and adds up what they cost."""

  def __init__(
    self,
    tally: tally_lib.Tally,
    bounds: numbers.Bounds,
    *,
    is_strict: bool,
    param: str | None,
  ):
    self._tally = tally
    self._bounds = bounds
    self._is_strict = is_strict
    self._param = param

  def check(self, keyword: str, value: Any, pointer: str) -> dict[str, Any]:
    """What becomes of a keyword.

    Raises:
      types.RequestError: its value is wrong, or would not be enforced.
    """
    if keyword in keywords.COUNTS:
      if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        self._refuse(f'{keyword} must be a whole number from 0.', pointer)
      return {keyword: value}
    if keyword in keywords.BOUNDS:
      self._check_number(value, pointer)
      self._bounds.add(keyword, value, pointer)
      return {keyword: value}
    checks: dict[str, Callable[[Any, str], dict[str, Any]]] = {
      'type': self._type,
      'enum': self._enum,
      'const': self._const,
      'required': self._required,
      'pattern': self._pattern,
      'format': self._format,
      'multipleOf': self._multiple_of,
      'uniqueItems': self._unique_items,
    }
    return checks[keyword](value, pointer)

  def _refuse(self, message: str, pointer: str) -> None:
    raise refusal.of(message, self._param, pointer=pointer)

  def _type(self, value: Any, pointer: str) -> dict[str, Any]:
    wanted = value if isinstance(value, list) else [value]
    if not wanted or not all(
      isinstance(x, str) and x in keywords.TYPES for x in wanted
    ):
      self._refuse(f'type must be of {sorted(keywords.TYPES)}.', pointer)
    return {'type': value}

  def _enum(self, value: Any, pointer: str) -> dict[str, Any]:
    if not isinstance(value, list) or not value:
      self._refuse('enum must be a list of at least one value.', pointer)
    self._tally.enum_values += len(value)
    return {
      'enum': [self._value(x, f'{pointer}/{i}') for i, x in enumerate(value)]
    }

  def _const(self, value: Any, pointer: str) -> dict[str, Any]:
    return {'const': self._value(value, pointer)}

  def _value(self, value: Any, pointer: str) -> Any:
    """A value that is written as it stands."""
    match value:
      case dict():
        return {
          key: self._value(x, pointer + refusal.escaped(key))
          for key, x in value.items()
        }
      case list():
        return [self._value(x, f'{pointer}/{i}') for i, x in enumerate(value)]
      case int() | float() if not isinstance(value, bool):
        self._check_number(value, pointer)
    return value

  def _check_number(self, value: Any, pointer: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
      self._refuse('This must be a number.', pointer)
    if not numbers.is_exact(value):
      self._refuse(f'{value} is not exact; use at most 15 digits.', pointer)

  def _required(self, value: Any, pointer: str) -> dict[str, Any]:
    if not isinstance(value, list) or not all(
      isinstance(x, str) for x in value
    ):
      self._refuse('required must be a list of names.', pointer)
    self._tally.names += len(value)
    return {'required': value}

  def _pattern(self, value: Any, pointer: str) -> dict[str, Any]:
    if not isinstance(value, str):
      self._refuse('pattern must be a string.', pointer)
    self._tally.add_pattern(value, pointer)
    return {'pattern': value}

  def _format(self, value: Any, pointer: str) -> dict[str, Any]:
    if not isinstance(value, str):
      self._refuse('format must be a string.', pointer)
    if value in keywords.FORMATS:
      return {'format': value}
    if self._is_strict:
      self._refuse(
        f'The format {value!r} would not be enforced; those that are: '
        f'{", ".join(sorted(keywords.FORMATS))}.',
        pointer,
      )
    return {}

  def _multiple_of(self, value: Any, pointer: str) -> dict[str, Any]:
    self._check_number(value, pointer)
    if value <= 0:
      self._refuse('multipleOf must be greater than 0.', pointer)
    self._tally.add_multiple(value, pointer)
    return {'multipleOf': value}

  def _unique_items(self, value: Any, pointer: str) -> dict[str, Any]:
    if value is not False:
      self._refuse('uniqueItems would not be enforced; leave it out.', pointer)
    return {}
