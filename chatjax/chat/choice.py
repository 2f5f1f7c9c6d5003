"""One choice: engine tokens in, visible deltas out."""

from __future__ import annotations

import collections
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
from typing import Protocol
import uuid

from chatjax import types
from chatjax.chat import shown as shown_lib
from chatjax.chat.parsers import events as events_lib
from chatjax.chat.parsers import parser as parser_lib
from chatjax.text import detokenize


class TokenBytes(Protocol):
  """What an assembler needs of a tokenizer."""

  def token_bytes(self, token_id: int) -> bytes: ...

  def spelling(self, token_id: int) -> str: ...


@dataclasses.dataclass(frozen=True)
class _Unreported:
  """A token of which it is not known yet what shows.

  Attributes:
    owners: per byte, the index of the character that it is part of.
  """

  token: types.Token
  raw: bytes
  owners: tuple[int, ...]


@dataclasses.dataclass
class _Gain:
  """What one delta collects."""

  ids: list[int] = dataclasses.field(default_factory=list)
  logprobs: list[float] = dataclasses.field(default_factory=list)
  text: str = ''
  reasoning: str = ''
  calls: list[types.ToolCall] = dataclasses.field(default_factory=list)
  num_reasoning: int = 0


class ChoiceAssembler:
  """Decodes, parses, watches for stop strings, keeps logprobs with their text.

  The joined deltas do not depend on how the tokens are grouped.

  Args:
    choice: its index.
    hidden_ids: ids that show no text and mean nothing.
    tag_ids: control tokens that the parser knows.
    parser: finds reasoning and calls.
    call_ends: whether the choice ends with its first call.
    is_named: whether the call was demanded, which is then no reason to end.
    reports_hidden: whether ids without text have log-probabilities, too.
  """

  def __init__(
    self,
    choice: int,
    tokenizer: TokenBytes,
    sampling: types.SamplingParams,
    *,
    hidden_ids: Collection[int],
    tag_ids: Collection[int] = (),
    parser: parser_lib.Parser,
    call_ends: bool = False,
    is_named: bool = False,
    reports_hidden: bool = False,
  ):
    self._choice = choice
    self._tokenizer = tokenizer
    self._sampling = sampling
    self._hidden_ids = hidden_ids
    self._tag_ids = tag_ids
    self._parser = parser
    self._call_ends = call_ends
    self._is_named = is_named
    self._reports_hidden = reports_hidden and sampling.logprobs
    self._detokenizer = detokenize.Detokenizer()
    self._shown = shown_lib.Shown(
      sampling.stop, keeps_stop=sampling.include_stop
    )
    self._num_tokens = 0
    self._num_calls = 0
    # The parser's stream, without what it has placed already.
    self._stream = ''
    self._stream_start = 0
    self._num_decoded = 0  # characters of the stream
    self._unreported: collections.deque[_Unreported] = collections.deque()

  def add(self, tokens: Sequence[types.Token]) -> types.Delta | None:
    """Takes the next tokens; on a stop string the delta is the last one."""
    gain = _Gain()
    for token in tokens:
      gain.ids.append(token.id)
      gain.logprobs.append(token.logprob)
      gain.num_reasoning += self._parser.is_reasoning
      self._num_tokens += 1
      self._take(token, gain)
      if self._is_over:
        return self._delta(gain, types.FinishReason.STOP)
    return self._delta(gain) if gain.ids else None

  def finish(self, reason: types.FinishReason) -> types.Delta:
    """The engine ended the choice: what was held back is let out."""
    gain = _Gain()
    self._feed(self._end_character(), gain)
    self._place(self._parser.finish(), gain)
    if self._shown.is_stopped:
      return self._delta(gain, types.FinishReason.STOP)
    gain.text += self._shown.flush()
    return self._delta(gain, reason)

  def prompt_logprob(self, token: types.PromptToken) -> types.PromptLogprob:
    """A token of the prompt, with its text and that of its alternatives."""
    top = tuple(
      self._prompt_logprob(token_id, logprob, rank)
      for rank, (token_id, logprob) in enumerate(token.top, start=1)
    )
    one = self._prompt_logprob(token.id, token.logprob, token.rank)
    return dataclasses.replace(one, top=top)

  def _prompt_logprob(
    self, token_id: int, logprob: float, rank: int
  ) -> types.PromptLogprob:
    named = self._named(token_id, self._tokenizer.token_bytes(token_id))
    return types.PromptLogprob(
      id=token_id, token=named['token'], logprob=logprob, rank=rank
    )

  @property
  def _is_over(self) -> bool:
    return self._shown.is_stopped or (self._call_ends and self._num_calls > 0)

  def _take(self, token: types.Token, gain: _Gain) -> None:
    if token.id in self._tag_ids:
      self._feed(self._end_character(), gain)
      spelling = self._tokenizer.spelling(token.id)
      self._num_decoded += len(spelling)
      self._feed(spelling, gain, is_control=True)
    elif token.id not in self._hidden_ids:
      self._feed(self._decode(token), gain)
    elif self._reports_hidden:
      self._unreported.append(_Unreported(token, b'', ()))

  def _end_character(self) -> str:
    """What is left of a character that nothing completes."""
    rest = self._detokenizer.flush()
    self._num_decoded += len(rest)
    return rest

  def _decode(self, token: types.Token) -> str:
    """The characters that the token completes.

    Byte by byte, to know which character each byte belongs to: what shows may
    begin or end inside the token, and its log-probability goes with its text.
    """
    raw = self._tokenizer.token_bytes(token.id)
    text, owners = '', []
    for byte in raw:
      gained = self._detokenizer.feed(bytes([byte]))
      text += gained
      self._num_decoded += len(gained)
      owners.append(self._num_decoded - (not self._detokenizer.is_open))
    if self._sampling.logprobs and raw:
      self._unreported.append(_Unreported(token, raw, tuple(owners)))
    return text

  def _feed(self, text: str, gain: _Gain, *, is_control: bool = False) -> None:
    if text:
      self._stream += text
      self._place(self._parser.feed(text, is_control), gain)

  def _place(self, events: Sequence[events_lib.Event], gain: _Gain) -> None:
    """Sorts what the parser found into a delta."""
    for event in events:
      if self._is_over:
        return
      if isinstance(event, events_lib.Call):
        gain.calls.append(_call(event))
        self._num_calls += 1
        continue
      text = self._cut(event)
      if event.kind == 'reasoning':
        gain.reasoning += text
      else:
        may_stop = self._num_tokens > self._sampling.min_tokens
        gain.text += self._shown.add(text, event.start, may_stop=may_stop)

  def _cut(self, span: events_lib.Span) -> str:
    """A span's text; nothing before its end is asked for again."""
    offset = self._stream_start
    text = self._stream[span.start - offset : span.stop - offset]
    self._stream = self._stream[span.stop - offset :]
    self._stream_start = span.stop
    return text

  def _delta(
    self, gain: _Gain, reason: types.FinishReason | None = None
  ) -> types.Delta:
    is_last = reason is not None
    is_for_calls = self._num_calls and not self._is_named
    if reason is types.FinishReason.STOP and is_for_calls:
      reason = types.FinishReason.TOOL_CALLS
    return types.Delta(
      choice=self._choice,
      text=gain.text,
      token_ids=tuple(gain.ids),
      logprobs=tuple(self._entries(is_last=is_last)),
      finish_reason=reason,
      reasoning=gain.reasoning,
      calls=tuple(gain.calls),
      num_reasoning=gain.num_reasoning,
      token_logprobs=tuple(gain.logprobs),
    )

  def _entries(self, *, is_last: bool) -> Iterator[types.TokenLogprob]:
    """Entries of tokens whose text is placed; at the end, of all others."""
    while self._unreported:
      row = self._unreported[0]
      is_open = row.raw and row.owners[-1] >= self._shown.decided
      if is_open and not is_last:
        return
      self._unreported.popleft()
      is_shown = self._shown.where(row.owners)
      raw = bytes(b for b, show in zip(row.raw, is_shown, strict=True) if show)
      if raw or not row.raw:
        yield self._entry(row.token, raw)

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


def _call(event: events_lib.Call) -> types.ToolCall:
  return types.ToolCall(
    id=f'call_{uuid.uuid4().hex[:24]}',
    name=event.name,
    arguments=event.arguments,
    is_custom=event.is_custom,
  )


def join(deltas: Sequence[types.Delta]) -> types.ChoiceResult:
  """All deltas of one choice as a whole."""
  return types.ChoiceResult(
    text=''.join(delta.text for delta in deltas),
    token_ids=tuple(one for delta in deltas for one in delta.token_ids),
    logprobs=tuple(one for delta in deltas for one in delta.logprobs),
    finish_reason=deltas[-1].finish_reason,
    reasoning=''.join(delta.reasoning for delta in deltas),
    calls=tuple(one for delta in deltas for one in delta.calls),
    num_reasoning=sum(delta.num_reasoning for delta in deltas),
    token_logprobs=tuple(x for delta in deltas for x in delta.token_logprobs),
  )
