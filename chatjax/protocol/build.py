"""`types` -> OpenAI's objects: whole answers and the chunks of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import math
from typing import Any

from chatjax import types
from chatjax.protocol import response

# What the interface shows for "very unlikely": JSON has no infinity.
LOWEST_LOGPROB = -9999.0


def completion(
  meta: response.Meta, result: types.Completion
) -> response.ChatCompletion:
  """Builds a whole answer."""
  num_tokens = sum(len(choice.token_ids) for choice in result.choices)
  more = {'prompt_token_ids': meta.prompt_ids} if meta.has_token_ids else {}
  return response.ChatCompletion(
    **_head(meta),
    **more,
    object='chat.completion',
    choices=[
      _choice(meta, index, choice)
      for index, choice in enumerate(result.choices)
    ],
    usage=usage(
      len(meta.prompt_ids), num_tokens, result.num_cached, result.drafted
    ),
    chatjax=_provenance(meta),
  )


class ChunkBuilder:
  """Turns the deltas of one request into the chunks of its stream.

  Clients create a choice when they first see its index, and expect the
  indices in order: `start` opens all of them before any text.
  """

  def __init__(self, meta: response.Meta):
    self._meta = meta
    self._num_tokens = 0

  def start(self) -> Iterator[response.ChatCompletionChunk]:
    """The role of every choice; the provenance is on the first chunk."""
    for index in range(self._meta.n):
      first: dict[str, Any] = {}
      if index == 0:
        first['chatjax'] = _provenance(self._meta)
        if self._meta.has_token_ids:
          first['prompt_token_ids'] = self._meta.prompt_ids
      delta = response.ChoiceDelta(role='assistant', content='', refusal=None)
      yield self._chunk([self._choice(types.Delta(choice=index), delta)], first)

  def add(self, delta: types.Delta) -> Iterator[response.ChatCompletionChunk]:
    """The chunks of a delta: none, its text, its end, or both.

    As OpenAI's, the chunk with the finish reason gains nothing.
    """
    self._num_tokens += len(delta.token_ids)
    if delta.finish_reason and (delta.text or delta.logprobs):
      yield self._gain(dataclasses.replace(delta, finish_reason=None))
      delta = types.Delta(
        choice=delta.choice, finish_reason=delta.finish_reason
      )
    has_ids = self._meta.has_token_ids and delta.token_ids
    if delta.text or delta.logprobs or delta.finish_reason or has_ids:
      yield self._gain(delta)

  def _gain(self, delta: types.Delta) -> response.ChatCompletionChunk:
    text = {'content': delta.text} if delta.text else {}
    gained = response.ChoiceDelta.model_validate(text)
    return self._chunk([self._choice(delta, gained)], {})

  def end(
    self, num_cached: int, drafted: types.Drafted
  ) -> Iterator[response.ChatCompletionChunk]:
    """The usage, where it was asked for."""
    if self._meta.include_usage:
      total = usage(
        len(self._meta.prompt_ids), self._num_tokens, num_cached, drafted
      )
      yield self._chunk([], {'usage': total})

  def _choice(
    self, delta: types.Delta, gained: response.ChoiceDelta
  ) -> response.ChunkChoice:
    ids = (
      {'token_ids': list(delta.token_ids)} if self._meta.has_token_ids else {}
    )
    return response.ChunkChoice(
      index=delta.choice,
      delta=gained,
      logprobs=_logprobs(delta.logprobs) if delta.logprobs else None,
      finish_reason=_reason(delta.finish_reason),
      **ids,
    )

  def _chunk(
    self, choices: list[response.ChunkChoice], more: dict[str, Any]
  ) -> response.ChatCompletionChunk:
    null_usage = {'usage': None} if self._meta.include_usage else {}
    return response.ChatCompletionChunk(
      **_head(self._meta),
      object='chat.completion.chunk',
      choices=choices,
      **{**null_usage, **more},
    )


def usage(
  num_prompt: int, num_completion: int, num_cached: int, drafted: types.Drafted
) -> response.Usage:
  """Counts; nothing is spoken in this version."""
  return response.Usage(
    prompt_tokens=num_prompt,
    completion_tokens=num_completion,
    total_tokens=num_prompt + num_completion,
    prompt_tokens_details=response.PromptTokensDetails(
      cached_tokens=num_cached, audio_tokens=0
    ),
    completion_tokens_details=response.CompletionTokensDetails(
      reasoning_tokens=0,
      audio_tokens=0,
      accepted_prediction_tokens=drafted.accepted,
      rejected_prediction_tokens=drafted.rejected,
    ),
  )


def model_card(model_id: str, created: int) -> response.ModelCard:
  """One entry of the model list."""
  return response.ModelCard(
    id=model_id, object='model', created=created, owned_by='chatjax'
  )


def _head(meta: response.Meta) -> dict[str, Any]:
  return {
    'id': meta.id,
    'created': meta.created,
    'model': meta.model,
    'system_fingerprint': meta.system_fingerprint,
    'service_tier': 'default',
  }


def _provenance(meta: response.Meta) -> response.Provenance:
  return response.Provenance(
    seed=meta.seed,
    choice_keys=list(meta.choice_keys),
    sampler_version=meta.sampler_version,
  )


def _choice(
  meta: response.Meta, index: int, choice: types.ChoiceResult
) -> response.Choice:
  ids = {'token_ids': list(choice.token_ids)} if meta.has_token_ids else {}
  return response.Choice(
    index=index,
    message=response.Message(
      role='assistant', content=choice.text, refusal=None, annotations=[]
    ),
    logprobs=_logprobs(choice.logprobs) if meta.has_logprobs else None,
    finish_reason=_reason(choice.finish_reason),
    **ids,
  )


def _reason(reason: types.FinishReason | None) -> str | None:
  return None if reason is None else reason.value


def _logprobs(entries: Sequence[types.TokenLogprob]) -> response.Logprobs:
  return response.Logprobs(
    content=[
      response.TokenLogprob(
        **_token(entry),
        top_logprobs=[
          response.TopLogprob(**_token(other)) for other in entry.top
        ],
      )
      for entry in entries
    ],
    refusal=None,
  )


def _token(entry: types.TokenLogprob) -> dict[str, Any]:
  is_shown = math.isfinite(entry.logprob) and entry.logprob > LOWEST_LOGPROB
  return {
    'token': entry.token,
    'bytes': list(entry.bytes),
    'logprob': entry.logprob if is_shown else LOWEST_LOGPROB,
  }
