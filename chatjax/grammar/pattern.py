"""Regular expressions: what they may cost, before they are compiled."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import re

from chatjax.grammar import limits as limits_lib
from chatjax.grammar import refusal

_ESCAPE = re.compile(r'\\.?', re.DOTALL)
_COUNTED = re.compile(r'\{(\d+)(?:,(\d*))?\}')
_SET_OPERATIONS = ('&&', '--', '~~')
# Letters that llguidance reads after a backslash as ECMAScript does. Some
# others it drops without a word.
_ESCAPED = frozenset('dDwWsSnrtfxupPbB')


@dataclasses.dataclass
class Cost:
  """What was found in patterns.

  Attributes:
    quantifiers: how many.
    repeats: the largest product of nested counts.
    foreign: what would be read in another way than ECMAScript's: `&&` or
      the like in a class, an escape.
  """

  quantifiers: int = 0
  repeats: int = 1
  foreign: str | None = None


def measure(pattern: str, cost: Cost) -> None:
  """Adds one pattern to a cost."""
  # Per open group, the largest product inside it; the last item's product.
  open_groups, last = [1], 1
  for kind, text in _items(pattern):
    if kind == 'open':
      open_groups.append(1)
    elif kind == 'close':
      last = open_groups.pop() if len(open_groups) > 1 else 1
    elif kind == 'quantifier':
      cost.quantifiers += 1
      last *= _count(text)
    else:
      last = 1
    cost.foreign = cost.foreign or _foreign(kind, text)
    open_groups[-1] = max(open_groups[-1], last)
    cost.repeats = max(cost.repeats, last)


def _foreign(kind: str, text: str) -> str | None:
  if kind == 'class':
    found = next((x for x in _SET_OPERATIONS if x in text), None)
    return found or next(filter(_is_foreign, _ESCAPE.findall(text)), None)
  return text if kind == 'escape' and _is_foreign(text) else None


def _is_foreign(escape: str) -> bool:
  letter = escape[1:]
  # Nothing after the backslash is the end of the pattern.
  return not letter or (
    letter.isascii() and letter.isalnum() and letter not in _ESCAPED
  )


def _count(quantifier: str) -> int:
  counted = _COUNTED.fullmatch(quantifier)
  if counted is None:
    return 1
  return max(1, int(counted[1][:12]), int((counted[2] or '1')[:12]))


def _items(pattern: str) -> Iterator[tuple[str, str]]:
  """Groups, quantifiers, classes and the rest, in order."""
  i = 0
  while i < len(pattern):
    char, end, kind = pattern[i], i + 1, 'other'
    if char == '\\':
      end, kind = i + 2, 'escape'
    elif char == '[':
      end, kind = _class_end(pattern, i), 'class'
    elif char == '(':
      kind = 'open'
    elif char == ')':
      kind = 'close'
    elif char in '?*+':
      kind = 'quantifier'
    elif counted := _COUNTED.match(pattern, i):
      end, kind = counted.end(), 'quantifier'
    yield kind, pattern[i:end]
    i = end


def _class_end(pattern: str, start: int) -> int:
  i = start + 1
  # A bracket that comes first is an ordinary character.
  i += pattern[i : i + 1] == '^'
  i += pattern[i : i + 1] == ']'
  while i < len(pattern) and pattern[i] != ']':
    i += 2 if pattern[i] == '\\' else 1
  return i + 1


def check(
  pattern: object, *, param: str | None, limits: limits_lib.Limits
) -> None:
  """Checks a regular expression that is a grammar.

  Raises:
    types.RequestError: it may cost too much.
  """
  if not isinstance(pattern, str):
    raise refusal.of('A regular expression must be a string.', param)
  refusal.check_size(pattern, limits.bytes, 'regular expression', param)
  cost = Cost()
  measure(pattern, cost)
  check_cost(cost, param, limits)
  if cost.foreign == '\\':
    raise refusal.of('A regular expression must not end in a backslash.', param)


def check_cost(
  cost: Cost, param: str | None, limits: limits_lib.Limits
) -> None:
  """Checks what patterns cost together.

  Raises:
    types.RequestError: they may cost too much.
  """
  if cost.quantifiers > limits.quantifiers:
    raise refusal.of(
      f'The regular expressions have {cost.quantifiers} quantifiers; at most '
      f'{limits.quantifiers} are allowed.',
      param,
    )
  if cost.repeats > limits.repeats:
    raise refusal.of(
      f'A regular expression repeats something {cost.repeats} times; at most '
      f'{limits.repeats} are allowed.',
      param,
    )
