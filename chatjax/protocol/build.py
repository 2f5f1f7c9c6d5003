"""`types` -> OpenAI's objects: whole answers and the chunks of a stream."""

from __future__ import annotations

import collections
from collections.abc import Iterator
import dataclasses
from typing import Any

from chatjax import types
from chatjax.protocol import parts
from chatjax.protocol import response


def completion(
  meta: response.Meta, result: types.Completion
) -> response.ChatCompletion:
  """Builds a whole answer."""
  more: dict[str, Any] = {}
  if meta.has_token_ids:
    more['prompt_token_ids'] = meta.prompt_ids
  if meta.metadata:
    more['metadata'] = dict(meta.metadata)
  if result.prompt_logprobs is not None:
    more['prompt_logprobs'] = parts.prompt_logprobs(result.prompt_logprobs)
  return response.ChatCompletion(
    **parts.head(meta),
    **more,
    object='chat.completion',
    choices=[
      _choice(meta, index, choice)
      for index, choice in enumerate(result.choices)
    ],
    usage=parts.usage(
      num_prompt=len(meta.prompt_ids),
      num_completion=sum(len(choice.token_ids) for choice in result.choices),
      num_reasoning=sum(choice.num_reasoning for choice in result.choices),
      num_cached=result.num_cached,
      drafted=result.drafted,
    ),
    chatjax=parts.provenance(meta),
  )


class ChunkBuilder:
  """Turns the deltas of one request into the chunks of its stream.

  Clients create a choice when they first see its index, and expect the
  indices in order: `start` opens all of them before any text.
  """

  def __init__(self, meta: response.Meta):
    self._meta = meta
    self._num_tokens = 0
    self._num_reasoning = 0
    self._num_calls: collections.Counter[int] = collections.Counter()
    # Choices that have content; one that is calls only has null.
    self._with_content: set[int] = set()

  def start(self) -> Iterator[response.ChatCompletionChunk]:
    """The role of every choice; the provenance is on the first chunk."""
    for index in range(self._meta.n):
      first: dict[str, Any] = {}
      if index == 0:
        first['chatjax'] = parts.provenance(self._meta)
        if self._meta.has_token_ids:
          first['prompt_token_ids'] = self._meta.prompt_ids
      content = None if self._meta.has_tools else ''
      if content is not None:
        self._with_content.add(index)
      delta = response.ChoiceDelta(
        role='assistant', content=content, refusal=None
      )
      yield self._chunk([self._choice(types.Delta(choice=index), delta)], first)

  def add(self, delta: types.Delta) -> Iterator[response.ChatCompletionChunk]:
    """The chunks of a delta: none, its text, each of its calls, its end.

    As OpenAI's, the chunk with the finish reason gains nothing.
    """
    self._num_tokens += len(delta.token_ids)
    self._num_reasoning += delta.num_reasoning
    # The first chunk has all that belongs to no call; the rest is bare.
    bare = types.Delta(choice=delta.choice)
    gains = self._gains(delta)
    for gained in gains or [{}] * self._has_more(delta):
      shown = dataclasses.replace(delta, finish_reason=None)
      yield self._gain(shown, gained)
      delta = dataclasses.replace(bare, finish_reason=delta.finish_reason)
    if delta.finish_reason:
      yield self._gain(delta, self._last(delta.choice))

  def end(
    self, num_cached: int, drafted: types.Drafted
  ) -> Iterator[response.ChatCompletionChunk]:
    """The usage, where it was asked for."""
    if self._meta.include_usage:
      total = parts.usage(
        num_prompt=len(self._meta.prompt_ids),
        num_completion=self._num_tokens,
        num_reasoning=self._num_reasoning,
        num_cached=num_cached,
        drafted=drafted,
      )
      yield self._chunk([], {'usage': total})

  def _has_more(self, delta: types.Delta) -> bool:
    """Whether there is something to say of tokens that show nothing."""
    is_end = delta.finish_reason is not None
    has_ids = self._meta.has_token_ids and bool(delta.token_ids)
    return bool(delta.logprobs) or (has_ids and not is_end)

  def _gains(self, delta: types.Delta) -> list[dict[str, Any]]:
    """What a message gains, chunk by chunk."""
    text = {'content': delta.text} if delta.text else {}
    if text:
      self._with_content.add(delta.choice)
    shown = parts.reasoning(delta.reasoning) | text
    return [shown] * bool(shown) + [
      self._call(delta.choice, call) for call in delta.calls
    ]

  def _call(self, choice: int, call: types.ToolCall) -> dict[str, Any]:
    index = self._num_calls[choice]
    self._num_calls[choice] += 1
    if self._meta.uses_functions:
      return {'function_call': parts.function_call(call)}
    return {'tool_calls': [parts.tool_call_delta(index, call)]}

  def _last(self, choice: int) -> dict[str, Any]:
    """An answer that is neither text nor calls is the empty text."""
    is_null = choice not in self._with_content and not self._num_calls[choice]
    return {'content': ''} if is_null else {}

  def _gain(
    self, delta: types.Delta, gained: dict[str, Any]
  ) -> response.ChatCompletionChunk:
    gain = response.ChoiceDelta.model_validate(gained)
    return self._chunk([self._choice(delta, gain)], {})

  def _choice(
    self, delta: types.Delta, gained: response.ChoiceDelta
  ) -> response.ChunkChoice:
    ids = (
      {'token_ids': list(delta.token_ids)} if self._meta.has_token_ids else {}
    )
    return response.ChunkChoice(
      index=delta.choice,
      delta=gained,
      logprobs=parts.logprobs(delta.logprobs) if delta.logprobs else None,
      finish_reason=parts.reason(self._meta, delta.finish_reason),
      **ids,
    )

  def _chunk(
    self, choices: list[response.ChunkChoice], more: dict[str, Any]
  ) -> response.ChatCompletionChunk:
    null_usage = {'usage': None} if self._meta.include_usage else {}
    return response.ChatCompletionChunk(
      **parts.head(self._meta),
      object='chat.completion.chunk',
      choices=choices,
      **{**null_usage, **more},
    )


def model_card(model_id: str, created: int) -> response.ModelCard:
  """One entry of the model list."""
  return response.ModelCard(
    id=model_id, object='model', created=created, owned_by='chatjax'
  )


def _choice(
  meta: response.Meta, index: int, choice: types.ChoiceResult
) -> response.Choice:
  ids = {'token_ids': list(choice.token_ids)} if meta.has_token_ids else {}
  return response.Choice(
    index=index,
    message=_message(meta, choice),
    logprobs=parts.logprobs(choice.logprobs) if meta.has_logprobs else None,
    finish_reason=parts.reason(meta, choice.finish_reason),
    **ids,
  )


def _message(
  meta: response.Meta, choice: types.ChoiceResult
) -> response.Message:
  called: dict[str, Any] = {}
  if choice.calls and meta.uses_functions:
    called['function_call'] = parts.function_call(choice.calls[0])
  elif choice.calls:
    called['tool_calls'] = [parts.tool_call(call) for call in choice.calls]
  return response.Message(
    role='assistant',
    content=None if choice.calls and not choice.text else choice.text,
    refusal=None,
    annotations=[],
    **parts.reasoning(choice.reasoning),
    **called,
  )
