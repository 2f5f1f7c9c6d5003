"""Lark grammars: what they may cost, and the schemas inside them."""

from __future__ import annotations

from collections.abc import Iterator
import json
import re
from typing import Any

from chatjax.grammar import limits as limits_lib
from chatjax.grammar import pattern as pattern_lib
from chatjax.grammar import refusal
from chatjax.grammar import schema as schema_lib
from chatjax.grammar import tally as tally_lib

_OPTIONS = 'x-guidance'
_PARTS = re.compile(
  r"""
  (?P<comment>(?://|\#)[^\n]*)
  |(?P<string>"(?:\\.|[^"\\\n])*")
  |(?P<regex>/(?:\\.|[^/\\\n])+/)
  |(?P<json>%json\b\s*)
  |(?P<special><[^>\s]*>)
  |(?P<definition>^[ \t]*[?!]?[A-Za-z_]\w*
    (?=[ \t]*(?:\.-?\d+)?(?:\[[^\]\n]*\])?[ \t]*:))
  |(?P<name>[A-Za-z_]\w*)
  |(?P<open>[(\[])
  |(?P<close>[)\]])
  |(?P<quantifier>[?*+~{])
  """,
  re.VERBOSE | re.MULTILINE,
)


class _Reading:
  """What was found in a grammar that is read from its start to its end."""

  def __init__(self):
    self._patterns = pattern_lib.Cost()
    self._rule_quantifiers = 0
    self._is_terminal = False
    self._depth = 0
    # Per rule the names in it, each with the groups around it.
    self._named: dict[str, list[tuple[str, int]]] = {}
    self._inside: list[tuple[str, int]] = []

  def take(self, kind: str, text: str) -> None:
    match kind:
      case 'definition':
        name = text.strip(' \t?!')
        self._inside = self._named.setdefault(name, [])
        self._is_terminal, self._depth = name[0].isupper(), 0
      case 'name':
        self._inside.append((text, self._depth))
      case 'open':
        self._depth += 1
      case 'close':
        self._depth -= 1
      case 'quantifier' if self._is_terminal:
        self._patterns.quantifiers += 1
      case 'quantifier':
        self._rule_quantifiers += 1
      case 'regex':
        pattern_lib.measure(text[1:-1], self._patterns)

  def check(self, param: str | None, limits: limits_lib.Limits) -> None:
    pattern_lib.check_cost(self._patterns, param, limits)
    if self._rule_quantifiers > limits.rule_quantifiers:
      raise refusal.of(
        f'The rules of the lark grammar have {self._rule_quantifiers} '
        f'quantifiers; at most {limits.rule_quantifiers} are allowed.',
        param,
      )
    if self._levels(limits.rule_levels) > limits.rule_levels:
      raise refusal.of(
        f'The rules of the lark grammar are nested more than '
        f'{limits.rule_levels} levels deep.',
        param,
      )

  def _levels(self, limit: int) -> int:
    """How deep rules are nested; counting stops past the limit."""
    seen: set[str] = set()
    most = 0
    # Depth first and in order, as llguidance goes, but not by recursion.
    waiting = [(name, 0) for name in (*reversed(self._named), 'start')]
    while waiting and most <= limit:
      name, level = waiting.pop()
      most = max(most, level)
      if name not in seen and name in self._named:
        seen.add(name)
        for inner, depth in reversed(self._named[name]):
          waiting.append((inner, level + 1 + depth))
    return most


def check(
  source: object, *, param: str | None, limits: limits_lib.Limits
) -> str:
  """Checks a lark grammar in llguidance's dialect.

  A schema after `%json` is checked as any other. It may have options in
  `x-guidance`; the others are this package's own. If they say `lenient`, what
  is not enforced is dropped, as its writer asked for.

  Returns:
    The grammar, with its schemas reduced to what is enforced.

  Raises:
    types.RequestError: it may cost too much, or a schema in it is refused.
  """
  if not isinstance(source, str):
    raise refusal.of('A lark grammar must be a string.', param)
  refusal.check_size(source, 4 * limits.lark_bytes, 'lark grammar', param)
  reading, out = _Reading(), []
  for kind, part in _parts(source, param, limits):
    reading.take(kind, part)
    out.append(part)
  text = ''.join(out)
  refusal.check_size(text, limits.lark_bytes, 'lark grammar', param)
  reading.check(param, limits)
  return text


def _parts(
  source: str, param: str | None, limits: limits_lib.Limits
) -> Iterator[tuple[str, str]]:
  """The grammar in pieces, each with its kind; schemas are replaced."""
  done = 0
  while found := _PARTS.search(source, done):
    yield 'between', source[done : found.start()]
    done = found.end()
    if found.lastgroup == 'json':
      schema, done = _read_json(source, done, param)
      yield 'json', f'%json {json.dumps(_checked(schema, param, limits))}'
    else:
      yield str(found.lastgroup), found[0]
  yield 'between', source[done:]


def _read_json(source: str, start: int, param: str | None) -> tuple[Any, int]:
  try:
    return json.JSONDecoder().raw_decode(source, start)
  except (ValueError, RecursionError):
    raise refusal.of(
      'What follows %json in the lark grammar is not JSON.', param
    ) from None


def _checked(
  schema: Any, param: str | None, limits: limits_lib.Limits
) -> dict[str, Any]:
  if not isinstance(schema, dict):
    raise refusal.of('What follows %json must be an object.', param)
  given = schema.get(_OPTIONS, {})
  if not isinstance(given, dict):
    raise refusal.of(f'{_OPTIONS} must be an object.', param)
  rest = {key: x for key, x in schema.items() if key != _OPTIONS}
  if given.get('lenient') is True:
    tally_lib.check_roughly(rest, param=param, limits=limits)
  else:
    rest = schema_lib.check(rest, is_strict=False, param=param, limits=limits)
  return rest | {_OPTIONS: schema_lib.OPTIONS | given}
