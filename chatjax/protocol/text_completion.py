"""OpenAI's request for plain texts: POST /v1/completions."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
from typing import Annotated
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
from chatjax.protocol import request as request_lib
from chatjax.protocol import strict

MAX_ALTERNATIVES = 5
Prompt = str | tuple[int, ...]


def _prompts(value: Any, info: pydantic.ValidationInfo) -> tuple[Prompt, ...]:
  """One or more texts, or one or more lists of token ids."""
  is_one = isinstance(value, str) or _is_ids(value)
  given = [value] if is_one else value
  if not isinstance(given, (list, tuple)) or not given:
    raise _no_prompt()
  if len(given) > info.context.max_prompts:
    raise types.RequestError(
      f'it has {len(given)} prompts; at most {info.context.max_prompts} are '
      'allowed.'
    )
  if all(isinstance(one, str) for one in given):
    return tuple(map(strict.encodable, given))
  if not all(_is_ids(one) for one in given):
    raise _no_prompt()
  return tuple(map(tuple, given))


def _is_ids(value: Any) -> bool:
  """Whether it is a list of token ids; a bool is none."""
  return (
    isinstance(value, (list, tuple))
    and bool(value)
    and all(type(one) is int and 0 <= one <= strict.MAX_INT32 for one in value)
  )


def _no_prompt() -> types.RequestError:
  return types.RequestError(
    'it must be a string, a non-empty array of token ids, or a non-empty array '
    'of strings or of such arrays.',
    code='invalid_type',
  )


class CreateCompletion(create_lib.Create):
  """The parameters that are not refused."""

  prompt: Annotated[Any, pydantic.PlainValidator(_prompts)]
  max_tokens: Annotated[int, strict.between(0, strict.MAX_INT32)] = 16
  logprobs: Annotated[int, strict.between(0, MAX_ALTERNATIVES)] | None = None
  echo: bool = False
  add_special_tokens: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextRequest:
  """Texts to be continued.

  Attributes:
    request: all that chats have too; it has no messages.
    prompts: texts, or token ids.
    add_special_tokens: whether a text gets the token that starts every text.
    has_echo: whether the prompt is in front of every answer.
    is_scored_only: nothing is asked for but the prompt and what the model says
      of it. The engine cannot draw nothing: `request` has one token.
    user: recorded.
  """

  request: types.Request
  prompts: tuple[Prompt, ...]
  add_special_tokens: bool
  has_echo: bool
  is_scored_only: bool
  user: str | None


def parse_json(data: bytes, *, limits: limits_lib.Limits) -> TextRequest:
  """Parses an HTTP body.

  Raises:
    types.RequestError: naming the parameter at fault.
  """
  parsed = parse(json_body.loads(data), limits=limits)
  json_body.check_keys(data)
  return parsed


def parse(body: Mapping[str, Any], *, limits: limits_lib.Limits) -> TextRequest:
  """Parses the fields of a request; None means absent.

  Raises:
    types.RequestError: naming the parameter at fault.
  """
  for name in body:
    if name not in parameters.TEXT_NAMES:
      raise errors.unknown(str(name))
  given = {name: value for name, value in body.items() if value is not None}
  if 'suffix' in given:
    raise errors.unsupported('suffix')
  best_of = given.pop('best_of', None)
  try:
    create = CreateCompletion.model_validate(given, context=limits)
  except pydantic.ValidationError as error:
    raise faults.translate(error, given) from None
  if best_of is not None and not (type(best_of) is int and best_of == create.n):
    raise errors.unsupported('best_of', neutral=(create.n,))
  rules = (_lengths, combinations.reports, combinations.formats)
  combinations.check_rules(rules, create, given, limits)
  return TextRequest(
    request=_to_request(create),
    prompts=create.prompt,
    add_special_tokens=create.add_special_tokens,
    has_echo=create.echo,
    is_scored_only=create.max_tokens == 0,
    user=create.user,
  )


def _lengths(create: CreateCompletion, given: Any) -> Iterator[tuple[str, str]]:
  if create.max_tokens == 0 and not create.echo:
    yield (
      'max_tokens',
      'max_tokens=0 needs echo: true; without it there is nothing to answer.',
    )
  yield from combinations.least(create, create.max_tokens)


def _to_request(create: CreateCompletion) -> types.Request:
  has_logprobs = create.logprobs is not None
  return types.Request(
    messages=(),
    sampling=request_lib.sampling(
      create,
      max_tokens=max(create.max_tokens, 1),
      logprobs=has_logprobs,
      top_logprobs=create.logprobs if has_logprobs else 0,
    ),
    seed=create.seed,
    n=create.n,
    return_token_ids=create.return_token_ids,
    model=create.model,
    stream=create.stream,
    include_usage=create.stream_options.include_usage,
    include_obfuscation=create.stream_options.include_obfuscation,
    priority=create.priority or 0,
    cache_salt=create.cache_salt,
    speculation=create.speculation,
    grammar=request_lib.grammar(create),
    prompt_logprobs=create.prompt_logprobs,
  )
