"""Formats in chat templates: `%` and `str.format`, with bounded widths.

A width is how few bytes ask for many: '%1000000000d' % 1.
"""

from __future__ import annotations

from collections.abc import Mapping
import re
from typing import Any

import jinja2
from jinja2 import sandbox

from chatjax.chat import meter
from chatjax.chat import printed

# No width, or one of two digits at most; the name of an item may stand first.
_FIELD = re.compile(
  r'%(?:%|(?:\([^()%]*\))?[-+ #0]{0,3}\d{0,2}(?:\.\d{1,2})?[sdifgrx])'
)
_SPEC = re.compile(
  r'(?:.?[<>=^])?[-+ ]?#?0?\d{0,2}[,_]?(?:\.\d{1,2})?[bdeEfFgGosxX%]?',
  re.DOTALL,
)
_ROOM = 100  # more than any field adds to its value


def percent(text: str, right: Any) -> str:
  """The operator `%` of a string."""
  if '%' in _FIELD.sub('', text):
    raise jinja2.exceptions.SecurityError(
      'this % format is not available in a chat template'
    )
  fields = text.count('%')
  meter.charge(len(text) + fields * (_ROOM + meter.size_of(right)))
  return text % (_operands(text, right) if fields else right)


def _operands(text: str, right: Any) -> Any:
  if isinstance(right, Mapping) and '%(' in text:
    return {name: printed.operand(value) for name, value in right.items()}
  values = right if isinstance(right, tuple) else (right,)
  return tuple(map(printed.operand, values))


class Format:
  """The method `format` or `format_map` of a string."""

  def __init__(self, environment: Any, text: str, *, takes_map: bool):
    self._formatter = _Formatter(environment)
    self._text = text
    self._takes_map = takes_map

  def __call__(self, *args: Any, **kwargs: Any) -> str:
    if self._takes_map:
      (kwargs,), args = args, ()
    meter.charge(len(self._text))
    return self._formatter.vformat(self._text, args, kwargs)


class _Formatter(sandbox.SandboxedFormatter):
  """Attributes and items are those that the sandbox shows."""

  def convert_field(self, value: Any, conversion: str | None) -> Any:
    meter.charge(_ROOM + meter.size_of(value))
    if conversion == 'a':
      return printed.unescape(ascii(value))
    if conversion == 'r':
      return printed.repr_of(value)
    if conversion == 's':
      return printed.text_of(value)
    return printed.plain(super().convert_field(value, conversion))

  def format_field(self, value: Any, format_spec: str) -> str:
    if not _SPEC.fullmatch(format_spec):
      raise jinja2.exceptions.SecurityError(
        'this format is not available in a chat template'
      )
    return super().format_field(value, format_spec)
