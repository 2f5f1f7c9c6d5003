"""The fields of one line of a task file, read once each, and by name."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
import difflib
import json
import re
from typing import Any

from chatjax import types

_MAX_SHOWN = 60
_REQUIRED = object()


class TaskError(types.ChatjaxError):
  """A task file that cannot be used: names the line and the field."""


class Fields:
  """One record. Whatever is wrong with it raises a `TaskError`.

  Args:
    record: the JSON object.
    where: the file and the line, for errors.
  """

  def __init__(self, record: Mapping[str, Any], where: str):
    self.record = record
    self.where = where
    self._known: set[str] = set()

  def has(self, name: str) -> bool:
    """Whether a field is there, and not null."""
    self._known.add(name)
    return self.record.get(name) is not None

  def any(self, name: str, default: Any = _REQUIRED) -> Any:
    """A field of any type."""
    if self.has(name):
      return self.record[name]
    if default is _REQUIRED:
      raise TaskError(f'{self.where}: the field {name!r} is missing.')
    return default

  def text(self, name: str, default: Any = _REQUIRED) -> str:
    value = self.any(name, default)
    if not (isinstance(value, str) or value is default):
      raise self.wrong(name, 'a string')
    return value

  def texts(self, name: str, *, least: int = 1) -> tuple[str, ...]:
    """A list of strings."""
    value = self.any(name)
    if (
      not isinstance(value, list)
      or len(value) < least
      or not all(isinstance(one, str) for one in value)
    ):
      raise self.wrong(name, f'an array of {least} or more strings')
    return tuple(value)

  def mapping(self, name: str, default: Any = _REQUIRED) -> Mapping[str, Any]:
    value = self.any(name, default)
    if not (isinstance(value, dict) or value is default):
      raise self.wrong(name, 'an object')
    return value

  def one_of(self, name: str, allowed: Collection[str], default: str) -> str:
    value = self.any(name, default)
    if not isinstance(value, str) or value not in allowed:
      raise self.wrong(name, f'one of {", ".join(allowed)}')
    return value

  def pattern(self, name: str) -> re.Pattern[str]:
    """A regular expression of Python."""
    try:
      return re.compile(self.text(name))
    except (re.error, OverflowError, RecursionError) as error:
      raise self.wrong(name, f'a regular expression ({error})') from None

  def wrong(self, name: str, allowed: str) -> TaskError:
    """An error that says what a field must be."""
    shown = json.dumps(self.record.get(name), ensure_ascii=False)
    if len(shown) > _MAX_SHOWN:
      shown = f'{shown[:_MAX_SHOWN]}...'
    return TaskError(
      f'{self.where}: the field {name!r} is {shown}; it must be {allowed}.'
    )

  def finish(self) -> None:
    """Refuses fields that nobody asked for."""
    for name in self.record:
      if name not in self._known:
        near = difflib.get_close_matches(name, sorted(self._known), n=1)
        hint = f' Did you mean {near[0]!r}?' if near else ''
        raise TaskError(
          f'{self.where}: there is no field {name!r} here; there are'
          f' {", ".join(sorted(self._known))}.{hint}'
        )
