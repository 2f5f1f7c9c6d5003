"""A tag in the bytes of drawn tokens, wherever their borders are."""

from __future__ import annotations

import functools

import numpy as np

from chatjax import types
from chatjax.text import tokenizer as tokenizer_lib


class Tag:
  """Finds one tag; a state is how many of its bytes the text ends with.

  Attributes:
    ids: as the tokenizer writes the tag.

  Raises:
    types.ChatjaxError: the tokenizer has no ids for it.
  """

  def __init__(self, tokenizer: tokenizer_lib.Tokenizer, text: str):
    self.ids = tuple(tokenizer.encode_template(text))
    self._tokenizer = tokenizer
    self._special = frozenset(tokenizer.special_ids.values())
    self._bytes = text.encode()
    self._fallbacks = _fallbacks(self._bytes)
    self._past: dict[int, np.ndarray] = {}
    if not b''.join(map(self.piece, self.ids)).endswith(self._bytes):
      raise types.ChatjaxError(
        f'The tokenizer cannot spell the tag {text!r}; this model needs '
        'another format of its output.'
      )

  def piece(self, token: int) -> bytes:
    """A token's bytes; special tokens by their spelling."""
    if not 0 <= token < self._tokenizer.vocab_size:
      return b''
    if token in self._special:
      return self._tokenizer.spelling(token).encode()
    return self._tokenizer.token_bytes(token)

  def begins(self, text: bytes) -> bool:
    """Whether the tag may still come, or is, at the start of a text."""
    size = min(len(text), len(self._bytes))
    return text[:size] == self._bytes[:size]

  def is_at_start(self, text: bytes) -> bool:
    return text.startswith(self._bytes)

  def find(self, state: int, piece: bytes) -> tuple[int, int | None]:
    """Reads a piece.

    Returns:
      The state after it, and how many of its bytes were read when the tag was
      whole; None if it is not.
    """
    for i, byte in enumerate(piece):
      while state and self._bytes[state] != byte:
        state = self._fallbacks[state]
      if self._bytes[state] == byte:
        state += 1
      if state == len(self._bytes):
        return state, i + 1
    return state, None

  def past(self, state: int) -> np.ndarray:
    """Tokens that end the tag and go on after it."""
    if state not in self._past:
      found = [
        token
        for token, piece in self._candidates
        if (self.find(state, piece)[1] or len(piece)) < len(piece)
      ]
      self._past[state] = np.asarray(found, np.int64)
    return self._past[state]

  @functools.cached_property
  def _candidates(self) -> list[tuple[int, bytes]]:
    last = self._bytes[-1:]
    pieces = enumerate(map(self.piece, range(self._tokenizer.vocab_size)))
    return [(token, piece) for token, piece in pieces if last in piece[:-1]]


@functools.lru_cache(maxsize=16)
def tag(tokenizer: tokenizer_lib.Tokenizer, text: str) -> Tag:
  """One for all who use it: its tables take a while."""
  return Tag(tokenizer, text)


def _fallbacks(pattern: bytes) -> list[int]:
  """Per state, the longest shorter one that it implies."""
  out = [0, 0]
  for i in range(1, len(pattern)):
    state = out[i]
    while state and pattern[state] != pattern[i]:
      state = out[state]
    out.append(state + (pattern[state] == pattern[i]))
  return out
