"""One choice: engine tokens in, visible deltas out."""

from __future__ import annotations

import collections
from collections.abc import Collection
from collections.abc import Sequence
import dataclasses
from typing import Protocol

from chatjax import types
from chatjax.text import detokenize
from chatjax.text import stop as stop_lib


class TokenBytes(Protocol):
  """What an assembler needs of a tokenizer."""

  def token_bytes(self, token_id: int) -> bytes: ...

  def spelling(self, token_id: int) -> str: ...


@dataclasses.dataclass(frozen=True)
class _Unshown:
  """A token whose text is not all out yet.

  Attributes:
    owners: per byte, the index of the character that it is part of.
  """

  token: types.Token
  raw: bytes
  owners: tuple[int, ...]


class ChoiceAssembler:
  """Decodes, watches for stop strings, and keeps logprobs with their text.

  The joined deltas do not depend on how the tokens are grouped.

  Args:
    choice: its index.
    hidden_ids: ids that show no text: control tokens, and those that end it.
  """

  def __init__(
    self,
    choice: int,
    tokenizer: TokenBytes,
    sampling: types.SamplingParams,
    hidden_ids: Collection[int],
  ):
    self._choice = choice
    self._tokenizer = tokenizer
    self._sampling = sampling
    self._hidden_ids = hidden_ids
    self._detokenizer = detokenize.Detokenizer()
    self._stops = stop_lib.StopMatcher(sampling.stop)
    self._num_tokens = 0
    self._num_decoded = 0  # characters
    self._num_shown = 0  # characters
    self._unshown: collections.deque[_Unshown] = collections.deque()

  def add(self, tokens: Sequence[types.Token]) -> types.Delta | None:
    """Takes the next tokens; on a stop string the delta is the last one."""
    ids: list[int] = []
    text = ''
    for token in tokens:
      ids.append(token.id)
      self._num_tokens += 1
      if token.id not in self._hidden_ids:
        text += self._show(self._decode(token))
      if self._stops.is_stopped:
        return self._delta(ids, text, types.FinishReason.STOP)
    return self._delta(ids, text) if ids else None

  def finish(self, reason: types.FinishReason) -> types.Delta:
    """The engine ended the choice: what was held back is let out."""
    text = self._show(self._detokenizer.flush())
    if self._stops.is_stopped:
      return self._delta([], text, types.FinishReason.STOP)
    held = self._stops.flush()
    self._num_shown += len(held)
    return self._delta([], text + held, reason)

  def _decode(self, token: types.Token) -> str:
    """The characters that the token completes.

    Byte by byte, to know which character each byte belongs to: a stop string
    may cut inside the token, and its log-probability goes out with its text.
    """
    raw = self._tokenizer.token_bytes(token.id)
    text, owners = '', []
    for byte in raw:
      gained = self._detokenizer.feed(bytes([byte]))
      text += gained
      self._num_decoded += len(gained)
      owners.append(self._num_decoded - (not self._detokenizer.is_open))
    if self._sampling.logprobs and raw:
      self._unshown.append(_Unshown(token, raw, tuple(owners)))
    return text

  def _show(self, text: str) -> str:
    """The part of the text that no stop string can take back."""
    if self._num_tokens > self._sampling.min_tokens:
      text, _ = self._stops.feed(text)
    self._num_shown += len(text)
    return text

  def _delta(
    self,
    ids: Sequence[int],
    text: str,
    reason: types.FinishReason | None = None,
  ) -> types.Delta:
    return types.Delta(
      choice=self._choice,
      text=text,
      token_ids=tuple(ids),
      logprobs=tuple(self._shown_entries(is_last=reason is not None)),
      finish_reason=reason,
    )

  def _shown_entries(self, *, is_last: bool):
    """Entries whose text is out; at the end, also the one that was cut."""
    while self._unshown:
      row = self._unshown[0]
      num_bytes = sum(owner < self._num_shown for owner in row.owners)
      if num_bytes < len(row.raw) and not is_last:
        return
      self._unshown.popleft()
      if num_bytes:
        yield self._entry(row.token, row.raw[:num_bytes])

  def _entry(self, token: types.Token, raw: bytes) -> types.TokenLogprob:
    return types.TokenLogprob(
      **self._named(token.id, raw),
      logprob=token.logprob,
      top=tuple(
        types.TokenLogprob(
          **self._named(token_id, self._tokenizer.token_bytes(token_id)),
          logprob=logprob,
        )
        for token_id, logprob in token.top
      ),
    )

  def _named(self, token_id: int, raw: bytes) -> dict[str, int | str | bytes]:
    return {
      'id': token_id,
      'token': raw.decode(errors='replace')
      or self._tokenizer.spelling(token_id),
      'bytes': raw,
    }


def join(deltas: Sequence[types.Delta]) -> types.ChoiceResult:
  """All deltas of one choice as a whole."""
  return types.ChoiceResult(
    text=''.join(delta.text for delta in deltas),
    token_ids=tuple(one for delta in deltas for one in delta.token_ids),
    logprobs=tuple(one for delta in deltas for one in delta.logprobs),
    finish_reason=deltas[-1].finish_reason,
  )
