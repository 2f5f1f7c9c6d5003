"""Guesses of the next tokens, looked up in what is there already.

Answers often repeat their prompt: code that is edited, text that is quoted,
names, tables. So the last few tokens are looked up in all text before them, and
what followed there is the guess (prompt lookup decoding). A caller may also
send a prediction of the answer, which is followed for as long as it holds. A
guess costs a row of a decode step; a wrong one changes nothing.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from chatjax import types

_LONGEST, _SHORTEST = 4, 2  # tokens that are looked up
# Two tokens often meet by chance; unasked, three must agree.
_SHORTEST_AUTO = 3
_FIRST_LENGTH, _MAX_LENGTH = 4, 16  # tokens of a guess
# After so many useless guesses, 'auto' rests for a number of tokens that
# doubles with every further one.
_PATIENCE = 2
# One word for another is the commonest edit: so many tokens in a row may differ
# from a prediction before it is searched for the place to go on.
_MAX_ODD = 2
_FIRST_PAUSE, _MAX_PAUSE = 8, 64


class _Index:
  """Where n-grams of a growing text ended: n-gram -> positions after it."""

  def __init__(self, token_ids: Sequence[int] = ()):
    self.text: list[int] = []
    self._after: dict[tuple[int, ...], list[int]] = {}
    for token_id in token_ids:
      self.append(token_id)

  def append(self, token_id: int) -> None:
    # The n-grams that end before the new token: now something follows them.
    end = len(self.text)
    for n in range(_SHORTEST, _LONGEST + 1):
      if end >= n:
        key = tuple(self.text[end - n :])
        self._after.setdefault(key, []).append(end)
    self.text.append(token_id)

  def latest(self, suffix: Sequence[int]) -> int | None:
    """The position after the last n-gram like `suffix`."""
    found = self._after.get(tuple(suffix))
    return found[-1] if found else None

  def next(self, suffix: Sequence[int], start: int) -> int | None:
    """The first such position from `start` on, else the latest."""
    found = self._after.get(tuple(suffix))
    if not found:
      return None
    return found[min(bisect.bisect_left(found, start), len(found) - 1)]


class Drafter:
  """Guesses for one choice; the same calls give the same guesses."""

  def __init__(
    self,
    prompt_ids: Sequence[int],
    prediction_ids: Sequence[int] = (),
    *,
    mode: types.Speculation,
  ):
    self._is_auto = mode == 'auto'
    self._shortest = _SHORTEST_AUTO if self._is_auto else _SHORTEST
    self._seen = _Index(prompt_ids)
    self._num_prompt = len(prompt_ids)
    self._prediction = _Index(prediction_ids)
    # Where the answer stands in the prediction; None when it left it.
    self._cursor: int | None = 0 if prediction_ids else None
    self._num_odd = 0
    self._length = _FIRST_LENGTH
    self._num_useless = 0
    self._pause = 0

  @property
  def is_eager(self) -> bool:
    """Whether a guess is worth waiting for all tokens before it."""
    return not self._is_auto or self._cursor is not None

  def extend(self, token_ids: Sequence[int]) -> None:
    """Takes generated tokens, in order."""
    for token_id in token_ids:
      self._seen.append(token_id)
      self._follow(token_id)
    self._pause = max(0, self._pause - len(token_ids))

  def draft(self, most: int) -> tuple[int, ...]:
    """At most `most` likely next tokens."""
    length = min(self._length, most)
    if self._cursor is not None:
      guess = self._prediction.text[self._cursor : self._cursor + length]
      if guess:
        return tuple(guess)
    if self._pause:
      return ()
    text = self._seen.text
    for n in range(_LONGEST, self._shortest - 1, -1):
      if len(text) >= n and (start := self._seen.latest(text[-n:])):
        # What repeats itself goes on repeating.
        period = len(text) - start
        return tuple(text[start + i % period] for i in range(length))
    return ()

  def judge(self, num_drafted: int, num_accepted: int) -> None:
    """Learns what became of the last guess."""
    if num_accepted:
      self._num_useless = 0
      if num_accepted == num_drafted:
        self._length = min(2 * self._length, _MAX_LENGTH)
      return
    self._length = max(1, self._length // 2)
    self._num_useless += 1
    beyond = self._num_useless - _PATIENCE
    if self._is_auto and beyond >= 0:
      self._pause = min(_FIRST_PAUSE << beyond, _MAX_PAUSE)

  def _follow(self, token_id: int) -> None:
    """Moves along the prediction, or finds back to it."""
    prediction = self._prediction.text
    if not prediction:
      return
    at = self._cursor
    if at is not None and at < len(prediction) and prediction[at] == token_id:
      self._cursor, self._num_odd = at + 1, 0
      return
    text = self._seen.text
    generated = text[max(self._num_prompt, len(text) - _LONGEST) :]
    for n in range(min(_LONGEST, len(generated)), _SHORTEST - 1, -1):
      found = self._prediction.next(generated[-n:], at or 0)
      if found is not None:
        self._cursor, self._num_odd = found, 0
        return
    self._num_odd += 1
    is_lost = at is None or self._num_odd > _MAX_ODD
    self._cursor = None if is_lost else at + 1
