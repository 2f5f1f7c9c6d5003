"""OpenAI's request object -> `types.Request`. The one way in."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
from typing import Any

import pydantic

from chatjax import types
from chatjax.protocol import create as create_lib
from chatjax.protocol import errors
from chatjax.protocol import faults
from chatjax.protocol import json_body
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import parameters


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parsed:
  """A request, and what is recorded about it without changing tokens."""

  request: types.Request
  user: str | None


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
    if name not in parameters.PARAMETERS:
      raise errors.unknown(str(name))
  given = {name: value for name, value in body.items() if value is not None}
  given = parameters.without_neutral(given, parameters.NEUTRAL)
  for name in given:
    if parameters.PARAMETERS[name] is parameters.Status.REFUSED:
      neutral = parameters.NEUTRAL.get(name, ())
      raise errors.unsupported(name, neutral=neutral)
  _check_sizes(given, limits)
  try:
    create = create_lib.CreateChatCompletion.model_validate(given)
  except pydantic.ValidationError as error:
    raise faults.translate(error, given) from None
  _check_together(create, given, limits)
  return Parsed(request=_to_request(create), user=create.user)


def _check_sizes(given: Mapping[str, Any], limits: limits_lib.Limits) -> None:
  """Before anything walks over them."""
  bounds = {
    'messages': limits.max_messages,
    'logit_bias': limits.max_logit_bias,
    'stop_token_ids': limits.max_stop_token_ids,
  }
  for name, bound in bounds.items():
    _check_len(given.get(name), bound, name)
  stop = given.get('stop')
  if isinstance(stop, list):
    _check_len(stop, create_lib.MAX_STOPS, 'stop')
  for one in stop if isinstance(stop, list) else [stop]:
    _check_len(one, limits.max_stop_chars, 'stop', 'characters')
  for name, bound in (
    ('user', limits.max_user_chars),
    ('cache_salt', limits.max_key_chars),
    ('prompt_cache_key', limits.max_key_chars),
  ):
    _check_len(given.get(name), bound, name, 'characters')
  prediction = given.get('prediction')
  content = prediction.get('content') if isinstance(prediction, dict) else None
  if isinstance(content, list):
    _check_len(content, limits.max_parts, 'prediction.content')
  rows = given.get('messages')
  for idx, message in enumerate(rows if isinstance(rows, list) else ()):
    content = message.get('content') if isinstance(message, dict) else None
    if isinstance(content, list):
      _check_len(content, limits.max_parts, f'messages[{idx}].content')


def _check_len(
  value: Any, bound: int, param: str, unit: str = 'entries'
) -> None:
  if isinstance(value, (str, list, dict)) and len(value) > bound:
    raise types.RequestError(
      f'{param} has {len(value)} {unit}; at most {bound} are allowed.',
      param=param,
    )


def _check_together(
  create: create_lib.CreateChatCompletion,
  given: Mapping[str, Any],
  limits: limits_lib.Limits,
) -> None:
  """What one field means for another."""
  rules: tuple[tuple[bool, str, Callable[[], str]], ...] = (
    (
      not 1 <= create.n <= limits.max_n,
      'n',
      lambda: (
        f'n={errors.shorten(create.n)} is out of range; it must be between 1'
        f' and {limits.max_n}.'
      ),
    ),
    (
      'top_logprobs' in given and not create.logprobs,
      'top_logprobs',
      lambda: 'top_logprobs needs logprobs: true.',
    ),
    (
      'stream_options' in given and not create.stream,
      'stream_options',
      lambda: 'stream_options needs stream: true.',
    ),
    (
      {'max_tokens', 'max_completion_tokens'} <= given.keys()
      and create.max_tokens != create.max_completion_tokens,
      'max_tokens',
      lambda: (
        f'max_tokens={create.max_tokens} and max_completion_tokens='
        f'{create.max_completion_tokens} differ; give one of them.'
      ),
    ),
    (
      create.min_tokens > (_max_tokens(create) or create_lib.MAX_INT32),
      'min_tokens',
      lambda: (
        f'min_tokens={create.min_tokens} is above the maximum of '
        f'{_max_tokens(create)} tokens.'
      ),
    ),
  )
  for broken, param, message in rules:
    if broken:
      raise types.RequestError(message(), param=param)


def _max_tokens(create: create_lib.CreateChatCompletion) -> int | None:
  return create.max_completion_tokens or create.max_tokens


def _to_request(create: create_lib.CreateChatCompletion) -> types.Request:
  # An empty nucleus still holds the best token: that is top_k=1.
  greedy = create.top_p == 0
  return types.Request(
    messages=[message.as_dict() for message in create.messages],
    sampling=types.SamplingParams(
      temperature=create.temperature,
      top_p=1.0 if greedy else create.top_p,
      top_k=1 if greedy else max(create.top_k, 0),
      min_p=create.min_p,
      presence_penalty=create.presence_penalty,
      frequency_penalty=create.frequency_penalty,
      repetition_penalty=create.repetition_penalty,
      logit_bias=create.logit_bias,
      min_tokens=create.min_tokens,
      max_tokens=_max_tokens(create),
      stop=tuple(create.stop),
      stop_token_ids=tuple(create.stop_token_ids),
      ignore_eos=create.ignore_eos,
      logprobs=create.logprobs,
      top_logprobs=create.top_logprobs,
    ),
    seed=create.seed,
    n=create.n,
    return_token_ids=create.return_token_ids,
    model=create.model,
    stream=create.stream,
    include_usage=create.stream_options.include_usage,
    priority=create.priority,
    cache_salt=create.cache_salt,
    prompt_cache_key=create.prompt_cache_key,
    speculation=create.speculation,
    prediction=create.prediction and create.prediction.text,
  )
