"""Where in a schema the fault is that llguidance tells without a place."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from chatjax.grammar import keywords
from chatjax.grammar import refusal

# A trial compiles a part of the schema: milliseconds.
_MAX_TRIALS = 100


class _Trials:
  """Compiles parts of one schema, so many times at most."""

  def __init__(self, root: dict[str, Any], is_refused: Callable[[Any], bool]):
    self._definitions = {
      key: root[key] for key in ('$defs', 'definitions') if key in root
    }
    self._is_refused = is_refused
    self._left = _MAX_TRIALS

  def is_refused(self, schema: Any) -> bool:
    if not self._left or not isinstance(schema, dict):
      return False
    self._left -= 1
    return self._is_refused(self._definitions | schema)


def fault(root: dict[str, Any], is_refused: Callable[[Any], bool]) -> str:
  """The JSON pointer of what is refused, as near as it can be found.

  Args:
    root: a checked schema that is refused.
    is_refused: whether a schema is.
  """
  trials = _Trials(root, is_refused)
  schema, pointer = root, ''
  while True:
    step = next((x for x in _children(schema) if trials.is_refused(x[1])), None)
    if step is None:
      return pointer + _keyword(schema, trials)
    pointer, schema = pointer + step[0], step[1]


def _children(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
  for keyword, value in schema.items():
    if keyword in keywords.ONE_SCHEMA:
      yield f'/{keyword}', value
    elif keyword in keywords.SCHEMAS:
      for i, child in enumerate(value):
        yield f'/{keyword}/{i}', child
    elif keyword in keywords.NAMED_SCHEMAS:
      for name, child in value.items():
        yield f'/{keyword}{refusal.escaped(name)}', child


def _keyword(schema: dict[str, Any], trials: _Trials) -> str:
  """The keyword without which the schema is not refused."""
  for keyword in schema:
    rest = {key: x for key, x in schema.items() if key != keyword}
    if not trials.is_refused(rest):
      return refusal.escaped(keyword)
  return ''
