"""OpenAI's request object -> `types.Request`. The one way in."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

import pydantic

from chatjax import types
from chatjax.protocol import combinations
from chatjax.protocol import create as create_lib
from chatjax.protocol import errors
from chatjax.protocol import faults
from chatjax.protocol import json_body
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import parameters
from chatjax.protocol import tool_choice
from chatjax.protocol import tools as tools_lib
from chatjax.protocol import turns

# Tiers are steps in the queue; smaller goes first.
_TIERS = {'priority': -1, 'fast': -1, 'flex': 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parsed:
  """A request, and what is recorded about it without changing tokens."""

  request: types.Request
  user: str | None
  safety_identifier: str | None
  prompt_cache_retention: str | None


def parse_json(data: bytes, *, limits: limits_lib.Limits) -> Parsed:
  """Parses an HTTP body.

  Raises:
    types.RequestError: naming the parameter at fault.
  """
  parsed = parse(json_body.loads(data), limits=limits)
  json_body.check_keys(data)
  return parsed


def parse(
  body: Mapping[str, Any], *, limits: limits_lib.Limits | None = None
) -> Parsed:
  """Parses the fields of a request; None means absent.

  Raises:
    types.RequestError: naming the parameter at fault.
  """
  limits = limits or limits_lib.Limits()
  for name in body:
    if name not in parameters.NAMES:
      raise errors.unknown(str(name))
  given = {name: value for name, value in body.items() if value is not None}
  try:
    create = create_lib.CreateChatCompletion.model_validate(
      given, context=limits
    )
  except pydantic.ValidationError as error:
    raise faults.translate(error, given) from None
  combinations.check(create, given, limits)
  return Parsed(
    request=_to_request(create, given),
    user=create.user,
    safety_identifier=create.safety_identifier,
    prompt_cache_retention=create.prompt_cache_retention,
  )


def _to_request(
  create: create_lib.CreateChatCompletion, given: Mapping[str, Any]
) -> types.Request:
  return types.Request(
    messages=turns.as_dicts(create.messages),
    sampling=sampling(
      create,
      max_tokens=combinations.max_tokens(create),
      logprobs=create.logprobs,
      top_logprobs=create.top_logprobs,
    ),
    seed=create.seed,
    n=create.n,
    return_token_ids=create.return_token_ids,
    model=create.model,
    stream=create.stream,
    include_usage=create.stream_options.include_usage,
    include_obfuscation=create.stream_options.include_obfuscation,
    priority=_priority(create),
    cache_salt=create.cache_salt,
    prompt_cache_key=create.prompt_cache_key,
    speculation=create.speculation,
    prediction=create.prediction and create.prediction.text,
    **_tools(create, uses_functions='functions' in given),
    grammar=grammar(create),
    reasoning_effort=create.reasoning_effort,
    thinking_token_budget=create.thinking_token_budget,
    verbosity=create.verbosity,
    chat_template_kwargs=create.chat_template_kwargs,
    add_generation_prompt=(
      create.add_generation_prompt and not create.continue_final_message
    ),
    continue_final_message=create.continue_final_message,
    prompt_logprobs=create.prompt_logprobs,
    metadata=create.metadata,
    store=create.store,
    given=given if create.store else {},
    service_tier=_service_tier(create),
  )


def sampling(
  create: create_lib.Create,
  *,
  max_tokens: int | None,
  logprobs: bool,
  top_logprobs: int,
) -> types.SamplingParams:
  """How tokens are drawn and what is told of them."""
  # An empty nucleus still holds the best token: that is top_k=1.
  greedy = create.top_p == 0
  allowed = create.allowed_token_ids
  return types.SamplingParams(
    temperature=create.temperature,
    top_p=1.0 if greedy else create.top_p,
    top_k=1 if greedy else max(create.top_k, 0),
    min_p=create.min_p,
    presence_penalty=create.presence_penalty,
    frequency_penalty=create.frequency_penalty,
    repetition_penalty=create.repetition_penalty,
    logit_bias=create.logit_bias,
    min_tokens=create.min_tokens,
    max_tokens=max_tokens,
    stop=tuple(create.stop),
    stop_token_ids=tuple(create.stop_token_ids),
    ignore_eos=create.ignore_eos,
    include_stop=create.include_stop_str_in_output,
    bad_words=tuple(create.bad_words),
    allowed_token_ids=None if allowed is None else tuple(allowed),
    logprobs=logprobs,
    top_logprobs=top_logprobs,
    logprobs_mode=create.logprobs_mode,
  )


def _tools(
  create: create_lib.CreateChatCompletion, *, uses_functions: bool
) -> dict[str, Any]:
  tools = tools_lib.as_types(create.tools, create.functions)
  if uses_functions or create.function_call != 'auto':
    choice = tool_choice.of_functions(create.function_call, tools)
  else:
    choice = tool_choice.of_tools(create.tool_choice, tools)
  return {
    'tools': tools,
    'tool_choice': choice,
    # The old form has one call per message.
    'parallel_tool_calls': create.parallel_tool_calls and not uses_functions,
    'uses_functions': uses_functions,
  }


def grammar(create: create_lib.Create) -> types.Grammar | None:
  """What the text must be."""
  if create.structured_outputs is not None:
    return create.structured_outputs.as_grammar()
  return create.response_format and create.response_format.as_grammar()


def _priority(create: create_lib.CreateChatCompletion) -> int:
  if create.priority is not None:
    return create.priority
  return _TIERS.get(create.service_tier, 0)


def _service_tier(create: create_lib.CreateChatCompletion) -> str | None:
  """As the interface reports it."""
  names = {'auto': 'default', 'scale': 'default', 'fast': 'priority'}
  return names.get(create.service_tier, create.service_tier)
