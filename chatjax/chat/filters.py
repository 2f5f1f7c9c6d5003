"""The Jinja filters of chat templates; those that can grow a value pay."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import functools
import json
import re
from typing import Any
import urllib.parse

import jinja2
from jinja2 import filters

from chatjax.chat import formatting
from chatjax.chat import meter
from chatjax.chat import printed

# Filters whose result is no larger than what they are given, up to a small
# factor. Left out: random, which is not reproducible; attr; and striptags: it
# reads `&lt;` as a character, of which a user could build special tokens.
_PLAIN = """
  abs count d default dictsort first float groupby int items last length list
  map max min reject rejectattr reverse select selectattr sort truncate unique
"""
# These take what they are given for text.
_OF_TEXT = """
  capitalize e escape forceescape lower safe title trim upper wordcount
"""
# String methods that take a width.
_PADDING = ('center', 'ljust', 'rjust', 'zfill')
_TAB = 8
_MAX_JSON_INDENT = 16
_MAX_PRECISION = 99
# The marks of `marks`, as UTF-8 in a URL.
_MARK_IN_URL = re.compile('%EF%B7%[9A][0-9A-F]')
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
    batch=_batch,
    center=_center,
    format=_format,
    indent=_indent,
    join=_join,
    pprint=_pprint,
    replace=_replace,
    round=_round,
    slice=_slice,
    string=_string,
    sum=_sum,
    tojson=_tojson,
    urlencode=_urlencode,
    wordwrap=_wordwrap,
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


def _batch(value: Any, linecount: int, fill_with: Any = None) -> Any:
  items = list(value)
  meter.charge(len(items) + max(linecount, 0))
  return filters.do_batch(items, linecount, fill_with)


def _slice(value: Any, slices: int, fill_with: Any = None) -> Any:
  items = list(value)
  meter.charge(len(items) + max(slices, 0))
  return filters.sync_do_slice(items, slices, fill_with)


@jinja2.pass_environment
def _sum(
  environment: Any, iterable: Any, attribute: Any = None, start: Any = 0
) -> Any:
  if isinstance(start, str):
    raise TypeError('sum adds no strings; use join')
  if attribute is not None:
    get = filters.make_attrgetter(environment, attribute)
    iterable = map(get, iterable)
  total = start
  for item in iterable:
    # A list is copied with every list that is added.
    meter.charge(1 + _length(total) + _length(item))
    total = total + item
  return total


def _length(value: Any) -> int:
  return len(value) if isinstance(value, (list, tuple)) else 0


def _round(value: float, precision: int = 0, method: str = 'common') -> float:
  if not isinstance(value, (int, float)) or abs(precision) > _MAX_PRECISION:
    raise jinja2.TemplateRuntimeError(
      f'round takes numbers, and at most {_MAX_PRECISION} digits'
    )
  return filters.do_round(value, precision, method)


def _center(value: Any, width: int = 80) -> str:
  text = _string(value)
  meter.charge(max(width, 0))
  return text.center(width)


def _pprint(value: Any) -> str:
  # At each level it writes all that is below.
  meter.charge(10 * meter.size_of(value) * meter.depth_of(value))
  return printed.unescape(filters.do_pprint(value))


def _urlencode(value: Any) -> str:
  meter.charge(9 * meter.size_of(value))
  return _MARK_IN_URL.sub(
    lambda match: urllib.parse.unquote(match.group()),
    filters.do_urlencode(value),
  )


@jinja2.pass_environment
def _wordwrap(
  environment: Any,
  s: str,
  width: int = 79,
  break_long_words: bool = True,
  wrapstring: str | None = None,
  break_on_hyphens: bool = True,
) -> str:
  text, words, step = _string(s), _string(s).split(), max(width, 1)
  # A long word is copied whenever a piece of it is taken away.
  copied = sum(len(word) * (len(word) // step) for word in words)
  lines = len(text) // step + len(words) + text.count('\n') + 1
  meter.charge(10 * len(text) + copied + lines * len(wrapstring or ' '))
  return filters.do_wordwrap(
    environment, text, width, break_long_words, wrapstring, break_on_hyphens
  )


def _indent(
  s: str, width: int | str = 4, first: bool = False, blank: bool = False
) -> str:
  step = len(width) if isinstance(width, str) else max(width, 0)
  meter.charge(len(s) + step * (s.count('\n') + 2))
  return filters.do_indent(s, width, first, blank)


def _tojson(
  value: Any,
  ensure_ascii: bool = False,
  indent: int | str | None = None,
  separators: tuple[str, str] | None = None,
  sort_keys: bool = False,
) -> str:
  """JSON without Jinja's HTML escapes, as chat templates expect it."""
  width = len(indent) if isinstance(indent, str) else indent or 0
  if width > _MAX_JSON_INDENT:
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
