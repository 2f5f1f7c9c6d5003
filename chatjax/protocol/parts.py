"""`types` -> the parts that whole answers and chunks have in common."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

from chatjax import types
from chatjax.protocol import response

# What the interface shows for "very unlikely": JSON has no infinity.
LOWEST_LOGPROB = -9999.0


def head(meta: response.Meta) -> dict[str, Any]:
  """The fields that every object of one answer has."""
  return {
    'id': meta.id,
    'created': meta.created,
    'model': meta.model,
    'system_fingerprint': meta.system_fingerprint,
    'service_tier': meta.service_tier,
  }


def provenance(meta: response.Meta) -> response.Provenance:
  return response.Provenance(
    seed=meta.seed,
    choice_keys=list(meta.choice_keys),
    sampler_version=meta.sampler_version,
  )


def reason(
  meta: response.Meta, reason: types.FinishReason | None
) -> str | None:
  """In the words of the interface that was asked for."""
  if reason is None:
    return None
  if reason is types.FinishReason.TOOL_CALLS:
    if meta.is_named_choice:
      return 'stop'
    if meta.uses_functions:
      return 'function_call'
  return reason.value


def reasoning(text: str) -> dict[str, str]:
  """Readers know it by either name."""
  return {'reasoning': text, 'reasoning_content': text} if text else {}


def function_call(call: types.ToolCall) -> response.FunctionCall:
  return response.FunctionCall(name=call.name, arguments=call.arguments)


def tool_call(call: types.ToolCall) -> response.ToolCall:
  if call.is_custom:
    return response.CustomToolCall(
      id=call.id, type='custom', custom=_custom(call)
    )
  return response.FunctionToolCall(
    id=call.id, type='function', function=function_call(call)
  )


def tool_call_delta(index: int, call: types.ToolCall) -> response.ToolCallDelta:
  """A call, whole: clients join the strings of its parts."""
  if call.is_custom:
    return response.CustomToolCallDelta(
      index=index, id=call.id, custom=_custom(call)
    )
  return response.FunctionToolCallDelta(
    index=index, id=call.id, type='function', function=function_call(call)
  )


def _custom(call: types.ToolCall) -> response.CustomCall:
  return response.CustomCall(name=call.name, input=call.arguments)


def usage(
  *,
  num_prompt: int,
  num_completion: int,
  num_reasoning: int,
  num_cached: int,
  drafted: types.Drafted,
) -> response.Usage:
  """Counts; nothing is spoken or seen in this version."""
  return response.Usage(
    prompt_tokens=num_prompt,
    completion_tokens=num_completion,
    total_tokens=num_prompt + num_completion,
    prompt_tokens_details=response.PromptTokensDetails(
      cached_tokens=num_cached, audio_tokens=0, image_tokens=0
    ),
    completion_tokens_details=response.CompletionTokensDetails(
      reasoning_tokens=num_reasoning,
      audio_tokens=0,
      accepted_prediction_tokens=drafted.accepted,
      rejected_prediction_tokens=drafted.rejected,
    ),
  )


def logprobs(entries: Sequence[types.TokenLogprob]) -> response.Logprobs:
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


def prompt_logprobs(
  entries: Sequence[types.PromptLogprob | None],
) -> list[dict[str, response.PromptLogprob] | None]:
  """By token id: the prompt's own token first, then the alternatives."""
  return [
    None
    if entry is None
    else {
      str(one.id): response.PromptLogprob(
        logprob=shown_logprob(one.logprob),
        rank=one.rank,
        decoded_token=one.token,
      )
      for one in (entry, *entry.top)
    }
    for entry in entries
  ]


def _token(entry: types.TokenLogprob) -> dict[str, Any]:
  return {
    'token': entry.token,
    'bytes': list(entry.bytes),
    'logprob': shown_logprob(entry.logprob),
  }


def shown_logprob(logprob: float) -> float:
  """As JSON can hold it."""
  is_shown = math.isfinite(logprob) and logprob > LOWEST_LOGPROB
  return logprob if is_shown else LOWEST_LOGPROB
