"""Answers to requests for plain texts: whole, or in chunks of the same shape.

Choice c of prompt p has the index p * n + c.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import math
from typing import Any
from typing import Literal

from chatjax import types
from chatjax.protocol import parts
from chatjax.protocol import response
from chatjax.text import detokenize


class Logprobs(response.Model):
  """Of the tokens of one choice; nothing is known of a text's first."""

  tokens: list[str]
  token_logprobs: list[float | None]
  top_logprobs: list[dict[str, float] | None]
  text_offset: list[int]


class Choice(response.Model):
  """One text, or what it gained; all of its prompt is told but once."""

  index: int
  text: str
  logprobs: Logprobs | None
  finish_reason: Literal['stop', 'length'] | None
  token_ids: list[int] | None = None
  prompt_token_ids: list[int] | None = None
  prompt_logprobs: list[dict[str, response.PromptLogprob] | None] | None = None


class TextCompletion(response.Model):
  """An answer, or one event of a stream."""

  id: str
  object: Literal['text_completion']
  created: int
  model: str
  choices: list[Choice]
  system_fingerprint: str
  usage: response.Usage | None = None
  chatjax: response.Provenance | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Meta:
  """What all parts of one answer share.

  Attributes:
    id: `cmpl-...`, unique.
    prompts: of each prompt; but for `id` and `prompt_ids` they are the same.
    num_prompt_top: alternatives to tell of every token of a prompt; None tells
      nothing.
  """

  id: str
  prompts: tuple[response.Meta, ...]
  num_prompt_top: int | None

  @property
  def shared(self) -> response.Meta:
    return self.prompts[0]

  @property
  def num_choices(self) -> int:
    return self.shared.n * len(self.prompts)

  def prompt_of(self, index: int) -> response.Meta:
    """Of the prompt that a choice continues."""
    return self.prompts[index // self.shared.n]


def completion(
  meta: Meta, results: Sequence[types.Completion]
) -> TextCompletion:
  """Builds a whole answer from those of all prompts."""
  choices = [choice for result in results for choice in result.choices]
  return TextCompletion(
    **_head(meta),
    choices=[
      _choice(meta, index, choice, results[index // meta.shared.n])
      for index, choice in enumerate(choices)
    ],
    usage=_usage(
      meta,
      num_completion=sum(len(choice.token_ids) for choice in choices),
      num_cached=sum(result.num_cached for result in results),
      drafted=sum((one.drafted for one in results), types.Drafted()),
    ),
    chatjax=_provenance(meta),
  )


class ChunkBuilder:
  """Turns the deltas of one request into the chunks of its stream."""

  def __init__(self, meta: Meta):
    self._meta = meta
    self._num_tokens = 0
    self._positions = [_Positions() for _ in range(meta.num_choices)]
    self._begun: set[int] = set()

  def start(self) -> Iterator[TextCompletion]:
    """Nothing: a text has no role."""
    return iter(())

  def add(self, delta: types.Delta) -> Iterator[TextCompletion]:
    """The chunk of a delta; none if it shows nothing."""
    self._num_tokens += len(delta.token_ids)
    has_ids = self._meta.shared.has_token_ids and bool(delta.token_ids)
    if not (delta.text or delta.logprobs or delta.finish_reason or has_ids):
      return
    more = {} if self._begun else {'chatjax': _provenance(self._meta)}
    is_first = delta.choice not in self._begun
    self._begun.add(delta.choice)
    positions = self._positions[delta.choice]
    yield self._chunk(
      [
        Choice(
          index=delta.choice,
          text=delta.text,
          logprobs=_logprobs(delta.logprobs, positions)
          if delta.logprobs
          else None,
          finish_reason=delta.finish_reason,
          **_token_ids(self._meta, delta.choice, delta.token_ids, is_first),
        )
      ],
      more,
    )

  def end(
    self, num_cached: int, drafted: types.Drafted
  ) -> Iterator[TextCompletion]:
    """The usage, where it was asked for."""
    if self._meta.shared.include_usage:
      total = _usage(
        self._meta,
        num_completion=self._num_tokens,
        num_cached=num_cached,
        drafted=drafted,
      )
      yield self._chunk([], {'usage': total})

  def _chunk(
    self, choices: list[Choice], more: dict[str, Any]
  ) -> TextCompletion:
    null_usage = {'usage': None} if self._meta.shared.include_usage else {}
    return TextCompletion(
      **_head(self._meta), choices=choices, **{**null_usage, **more}
    )


class _Positions:
  """Where in its text each token of a choice begins, in characters."""

  def __init__(self):
    self._detokenizer = detokenize.Detokenizer()
    self._num_chars = 0

  def next(self, data: bytes) -> int:
    """The place of the token of these bytes: where its first one shows."""
    self._num_chars += len(self._detokenizer.feed(data[:1]))
    is_whole = bool(data) and not self._detokenizer.is_open
    start = self._num_chars - is_whole
    self._num_chars += len(self._detokenizer.feed(data[1:]))
    return start


def _head(meta: Meta) -> dict[str, Any]:
  head = parts.head(meta.shared)
  del head['service_tier']  # this interface has none
  return {**head, 'id': meta.id, 'object': 'text_completion'}


def _choice(
  meta: Meta, index: int, choice: types.ChoiceResult, result: types.Completion
) -> Choice:
  more = _token_ids(meta, index, choice.token_ids, is_first=True)
  if meta.num_prompt_top is not None:
    more['prompt_logprobs'] = parts.prompt_logprobs(
      [
        entry
        and dataclasses.replace(entry, top=entry.top[: meta.num_prompt_top])
        for entry in result.prompt_logprobs
      ]
    )
  has_logprobs = meta.shared.has_logprobs
  return Choice(
    index=index,
    text=choice.text,
    logprobs=_logprobs(choice.logprobs, _Positions()) if has_logprobs else None,
    finish_reason=choice.finish_reason,
    **more,
  )


def _token_ids(
  meta: Meta, index: int, token_ids: Sequence[int], is_first: bool
) -> dict[str, Any]:
  """Those of the prompt are told once."""
  if not meta.shared.has_token_ids:
    return {}
  prompt_ids = {'prompt_token_ids': list(meta.prompt_of(index).prompt_ids)}
  return {'token_ids': list(token_ids), **(prompt_ids if is_first else {})}


def _logprobs(
  entries: Sequence[types.TokenLogprob], positions: _Positions
) -> Logprobs:
  return Logprobs(
    tokens=[entry.token for entry in entries],
    token_logprobs=[
      None if entry.logprob is None else parts.shown_logprob(entry.logprob)
      for entry in entries
    ],
    top_logprobs=[_top(entry) for entry in entries],
    text_offset=[positions.next(entry.bytes) for entry in entries],
  )


def _top(entry: types.TokenLogprob) -> dict[str, float] | None:
  """The alternatives and the token itself; of equal spellings, the likelier."""
  if entry.logprob is None:
    return None
  top: dict[str, float] = {}
  for one in (*entry.top, entry):
    known = top.get(one.token, -math.inf)
    top[one.token] = max(known, parts.shown_logprob(one.logprob))
  return top


def _usage(
  meta: Meta, *, num_completion: int, num_cached: int, drafted: types.Drafted
) -> response.Usage:
  return parts.usage(
    num_prompt=sum(len(prompt.prompt_ids) for prompt in meta.prompts),
    num_completion=num_completion,
    num_reasoning=0,
    num_cached=num_cached,
    drafted=drafted,
  )


def _provenance(meta: Meta) -> response.Provenance:
  """Every prompt has the same seed, and its choices the same keys."""
  keys = meta.shared.choice_keys * len(meta.prompts)
  return parts.provenance(dataclasses.replace(meta.shared, choice_keys=keys))
