"""The Jinja filters of chat templates; those that can grow a value pay."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import functools
import json
import re
from typing import Any

import jinja2
from jinja2 import filters

from chatjax.chat import formatting
from chatjax.chat import meter
from chatjax.chat import printed

# Filters whose result is no larger than what they are given, up to a small
# factor. Left out: formatting and padding (bombs), random (not reproducible).
_PLAIN = """
  abs count d default dictsort first float groupby int items last length list
  map max min reject rejectattr reverse select selectattr sort truncate unique
"""
# These take what they are given for text.
_OF_TEXT = 'capitalize e escape lower safe title trim upper wordcount'
# String methods that take a width.
_PADDING = ('center', 'ljust', 'rjust', 'zfill')
_TAB = 8
_MAX_JSON_INDENT = 16
# All but ASCII and the noncharacters that `marks` puts into user text.
_NON_ASCII = re.compile('[^\x00-\x7f\ufdd0-\ufdef]')


class _Filters(dict):
  """Filters by name; one that is missing fails when it is used.

  A template may have it on a way that is never taken.
  """

  def get(self, name: str, default: Any = None) -> Callable[..., Any]:
    return super().get(name) or functools.partial(_refuse, name)


def _refuse(name: str, *unused_args: Any, **unused_kwargs: Any) -> None:
  raise jinja2.TemplateRuntimeError(
    f'the filter {name!r} is not available in a chat template'
  )


def allowed() -> dict[str, Callable[..., Any]]:
  """All filters a template may use."""
  plain = {name: filters.FILTERS[name] for name in _PLAIN.split()}
  of_text = {name: _of_text(name) for name in _OF_TEXT.split()}
  return _Filters(
    **plain,
    **of_text,
    format=_format,
    indent=_indent,
    join=_join,
    replace=_replace,
    string=_string,
    tojson=_tojson,
  )


def _of_text(name: str) -> Callable[..., Any]:
  function = filters.FILTERS[name]

  def apply(value: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(value, str):
      meter.charge(meter.size_of(value))
    return function(printed.plain(value), *args, **kwargs)

  return apply


def pay_for_method(
  text: str, name: str, args: tuple, kwargs: Mapping[str, Any]
) -> tuple:
  """Pays for a string method; returns the arguments to call it with."""
  meter.charge(len(text))
  if name == 'join' and args:
    parts = list(args[0])
    meter.charge(sum(map(meter.size_of, parts)) + len(text) * len(parts))
    return (parts, *args[1:])
  if name == 'replace':
    _charge_replace(text, *args)
  elif name in _PADDING and args and isinstance(args[0], int):
    meter.charge(max(args[0], 0))
  elif name == 'expandtabs':
    (size,) = args or (kwargs.get('tabsize', _TAB),)
    if isinstance(size, int):
      meter.charge(max(size, 0) * text.count('\t'))
  return args


def _charge_replace(text: str, old: Any, new: Any, *unused_count: Any) -> None:
  if isinstance(old, str) and isinstance(new, str):
    meter.charge(len(text) + text.count(old) * len(new))


@jinja2.pass_eval_context
def _replace(
  eval_ctx: Any, s: Any, old: Any, new: Any, count: int | None = None
) -> str:
  text = _string(s)
  _charge_replace(text, old, new)
  return filters.do_replace(eval_ctx, text, old, new, count)


@jinja2.pass_eval_context
def _join(eval_ctx: Any, value: Any, d: Any = '', attribute: Any = None) -> str:
  parts, separator = list(value), _string(d)
  if attribute is not None:
    get = filters.make_attrgetter(eval_ctx.environment, attribute)
    parts = list(map(get, parts))
  meter.charge(sum(map(meter.size_of, parts)) + len(separator) * len(parts))
  parts = list(map(printed.plain, parts))
  return filters.sync_do_join(eval_ctx, parts, separator)


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
  if args and kwargs:
    raise jinja2.TemplateRuntimeError(
      'format takes values by place or by name, not both'
    )
  return formatting.percent(_string(value), kwargs or args)


def _string(value: Any) -> str:
  meter.charge(meter.size_of(value))
  return filters.FILTERS['string'](printed.plain(value))


def _indent(
  s: str, width: int | str = 4, first: bool = False, blank: bool = False
) -> str:
  step = len(width) if isinstance(width, str) else max(width, 0)
  meter.charge(len(s) + step * (s.count('\n') + 2))
  return filters.do_indent(s, width, first, blank)


def _tojson(
  value: Any,
  ensure_ascii: bool = False,
  indent: int | None = None,
  separators: tuple[str, str] | None = None,
  sort_keys: bool = False,
) -> str:
  """JSON without Jinja's HTML escapes, as chat templates expect it."""
  if isinstance(indent, str) or (indent or 0) > _MAX_JSON_INDENT:
    raise jinja2.TemplateRuntimeError(
      f'tojson indents by at most {_MAX_JSON_INDENT}'
    )
  meter.charge(meter.size_of(value))
  encoder = json.JSONEncoder(
    # Escaped below, where the marks in user text are spared.
    ensure_ascii=False,
    indent=indent,
    separators=separators,
    sort_keys=sort_keys,
  )
  pieces = []
  for piece in encoder.iterencode(value):
    meter.charge(len(piece))
    pieces.append(piece)
  text = ''.join(pieces)
  return _NON_ASCII.sub(_escape, text) if ensure_ascii else text


def _escape(match: re.Match[str]) -> str:
  return json.dumps(match.group())[1:-1]
