"""Constraints that are made of constraints."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
from typing import Literal

import numpy as np

from chatjax import types
from chatjax.grammar import bits
from chatjax.grammar import tag as tag_lib
from chatjax.text import tokenizer as tokenizer_lib


@dataclasses.dataclass(frozen=True)
class _Place:
  """Where a text is in relation to its reasoning.

  Attributes:
    phase: 'start' until it is known whether it begins with the open tag.
    held: tokens that `inner` has yet to take: those of the start.
    matched: bytes of the close tag that the text ends with.
    count: tokens of reasoning so far.
    closing: tokens of the forced close tag so far.
  """

  phase: Literal['start', 'open', 'after']
  held: tuple[int, ...] = ()
  matched: int = 0
  count: int = 0
  closing: int = 0


class AfterTag:
  """Leaves reasoning free and holds what follows it to `inner`.

  The close tag counts wherever its bytes are, whatever tokens spell it. No
  token may end it and go on: `inner` begins at a token's border. A text of a
  grammar cannot end inside its reasoning.

  Args:
    inner: what the rest must be; None is anything.
    tokenizer: whose tokens are drawn.
    tags: what opens and what closes the reasoning.
    is_open: whether the prompt has opened it. If not, the text may begin with
      the open tag, and is held to `inner` at once if it does not.
    budget: tokens of reasoning after which the close tag is forced.
  """

  def __init__(
    self,
    inner: types.Constraint | None,
    tokenizer: tokenizer_lib.Tokenizer,
    *,
    tags: tuple[str, str],
    is_open: bool,
    budget: int | None = None,
  ):
    self._inner = inner
    self._num_tokens = tokenizer.vocab_size
    self._eos_ids = tokenizer.eos_ids
    self._open, self._close = (tag_lib.tag(tokenizer, text) for text in tags)
    self._budget = budget
    self._place = _Place('open' if is_open else 'start')

  def masks(self, guesses: Sequence[int], out_GW: np.ndarray) -> int:
    place = self._place
    for i in range(len(guesses) + 1):
      if place.phase == 'after':
        rest = self._masks_after(place.held, guesses[i:], out_GW[i:])
        return i + rest
      self._write_mask(place, out_GW[i])
      if i == len(guesses) or not bits.has(out_GW[i], guesses[i]):
        return i
      place = self._next(place, guesses[i])
    raise AssertionError('the loop ends at the last guess')

  def forced(self, limit: int) -> Sequence[int]:
    place = self._place
    if place.phase == 'after':
      return () if self._inner is None else self._inner.forced(limit)
    if self._must_close(place):
      return self._close.ids[place.closing :][:limit]
    return ()

  def advance(self, tokens: Sequence[int]) -> None:
    for i, token in enumerate(tokens):
      if self._place.phase == 'after':
        if self._inner is not None:
          self._inner.advance(tokens[i:])
        return
      self._check(token)
      self._place = self._next(self._place, token)
      if self._place.phase == 'after' and self._place.held:
        held = self._place.held
        self._place = _Place('after')
        if self._inner is not None:
          self._inner.advance(held)

  def _check(self, token: int) -> None:
    place = self._place
    if self._must_close(place) and token != self._close.ids[place.closing]:
      raise types.ChatjaxError(
        f'Token {token} was drawn where the reasoning had to be closed; draw '
        'only what the mask allows.'
      )
    if self._inner is None or place.phase != 'open':
      return
    if token in self._eos_ids or token in self._close.past(place.matched):
      raise types.ChatjaxError(
        f'Token {token} was drawn where reasoning must end with its tag; '
        'draw only what the mask allows.'
      )

  def _must_close(self, place: _Place) -> bool:
    if place.phase != 'open' or self._budget is None:
      return False
    return place.count >= self._budget

  def _next(self, place: _Place, token: int) -> _Place:
    if place.phase == 'start':
      return self._next_at_start(place, token)
    piece = self._close.piece(token)
    matched, end = self._close.find(place.matched, piece)
    if end is not None:
      return _Place('after')
    if self._must_close(place):
      return dataclasses.replace(
        place, matched=matched, closing=place.closing + 1
      )
    return dataclasses.replace(place, matched=matched, count=place.count + 1)

  def _next_at_start(self, place: _Place, token: int) -> _Place:
    held = (*place.held, token)
    text = b''.join(map(self._open.piece, held))
    if self._open.is_at_start(text):
      return _Place('open')
    if self._open.begins(text) and token not in self._eos_ids:
      return _Place('start', held=held)
    return _Place('after', held=held)

  def _write_mask(self, place: _Place, out_W: np.ndarray) -> None:
    if place.phase == 'start':
      self._write_start_mask(place, out_W)
    elif self._must_close(place):
      bits.write_only(self._close.ids[place.closing :][:1], out_W)
    else:
      bits.write_below(self._num_tokens, out_W)
      if self._inner is not None:
        for token in (*self._eos_ids, *self._close.past(place.matched)):
          bits.clear(out_W, int(token))

  def _write_start_mask(self, place: _Place, out_W: np.ndarray) -> None:
    if self._inner is None:
      bits.write_below(self._num_tokens, out_W)
      return
    num_held, ids = len(place.held), self._open.ids
    masks_GW = np.zeros((num_held + 1, out_W.size), np.uint32)
    # What is held may be the open tag's alone.
    is_inner = self._inner.masks(place.held, masks_GW) == num_held
    out_W[:] = masks_GW[num_held] if is_inner else 0
    if place.held == ids[:num_held]:
      out_W |= _only(ids[num_held], out_W.size)

  def _masks_after(
    self, held: tuple[int, ...], guesses: Sequence[int], out_GW: np.ndarray
  ) -> int:
    if self._inner is None:
      for out_W in out_GW[: len(guesses) + 1]:
        bits.write_below(self._num_tokens, out_W)
      return len(guesses)
    if not held:
      return self._inner.masks(guesses, out_GW)
    rows = len(held) + len(guesses) + 1
    masks_GW = np.zeros((rows, out_GW.shape[1]), np.uint32)
    num = self._inner.masks((*held, *guesses), masks_GW) - len(held)
    out_GW[: num + 1] = masks_GW[len(held) :][: num + 1]
    return num


class BadWords:
  """Bans the last token of a sequence where the ones before were just drawn.

  A grammar wins: where nothing else is left, the word may be written.
  """

  def __init__(
    self,
    words: Sequence[Sequence[int]],
    inner: types.Constraint | None = None,
  ):
    self._words = tuple(tuple(word) for word in words if word)
    self._inner = inner
    self._room = max((len(word) for word in self._words), default=1) - 1
    self._recent: tuple[int, ...] = ()

  def masks(self, guesses: Sequence[int], out_GW: np.ndarray) -> int:
    num = len(guesses)
    if self._inner is None:
      out_GW[: num + 1] = bits.ALL
    else:
      num = self._inner.masks(guesses, out_GW)
    recent = self._recent
    for i in range(num + 1):
      self._ban(recent, out_GW[i])
      if i == num or not bits.has(out_GW[i], guesses[i]):
        return i
      recent = self._after(recent, guesses[i])
    raise AssertionError('the loop ends at the last guess')

  def forced(self, limit: int) -> Sequence[int]:
    return () if self._inner is None else self._inner.forced(limit)

  def advance(self, tokens: Sequence[int]) -> None:
    for token in tokens:
      self._recent = self._after(self._recent, token)
    if self._inner is not None:
      self._inner.advance(tokens)

  def _after(self, recent: tuple[int, ...], token: int) -> tuple[int, ...]:
    # [-0:] would keep everything.
    return (*recent, token)[-self._room :] if self._room else ()

  def _ban(self, recent: tuple[int, ...], out_W: np.ndarray) -> None:
    before_W = out_W.copy()
    for word in self._words:
      size = len(word) - 1
      if size <= len(recent) and recent[len(recent) - size :] == word[:-1]:
        bits.clear(out_W, word[-1])
    if not out_W.any():
      out_W[:] = before_W


def prepare(tokenizer: tokenizer_lib.Tokenizer, tags: tuple[str, str]) -> None:
  """Makes the tables of the close tag, which the first `AfterTag` would make.

  Takes a third of a second for 150,000 tokens: not for the engine's thread.
  """
  tag_lib.tag(tokenizer, tags[1]).past(0)


def _only(token: int, num_words: int) -> np.ndarray:
  out_W = np.zeros(num_words, np.uint32)
  bits.write_only((token,), out_W)
  return out_W
