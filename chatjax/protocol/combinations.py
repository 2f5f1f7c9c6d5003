"""What one field of a request means for another."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from chatjax import types
from chatjax.protocol import create as create_lib
from chatjax.protocol import errors
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import strict

# Of the fields, and the names of those that were given: (param, message).
Rule = Callable[[Any, Any], Iterator[tuple[str, str]]]


def check(
  create: create_lib.CreateChatCompletion,
  given: Mapping[str, Any],
  limits: limits_lib.Limits,
) -> None:
  """Raises `types.RequestError` for the first thing that does not fit.

  Args:
    create: the fields, with their defaults.
    given: those that the caller gave.
    limits: of the server.
  """
  rules = (_lengths, reports, _tools, formats, _turn)
  check_rules(rules, create, given, limits)


def check_rules(
  rules: Sequence[Rule],
  create: create_lib.Create,
  given: Mapping[str, Any],
  limits: limits_lib.Limits,
) -> None:
  """As `check`, by these rules; n is bounded everywhere."""
  if not 1 <= create.n <= limits.max_n:
    raise types.RequestError(
      f'n={errors.shorten(create.n)} is out of range; it must be between 1 '
      f'and {limits.max_n}.',
      param='n',
    )
  for faults in rules:
    for param, message in faults(create, given.keys()):
      raise types.RequestError(message, param=param)


def max_tokens(create: create_lib.CreateChatCompletion) -> int | None:
  return create.max_completion_tokens or create.max_tokens


def _lengths(
  create: create_lib.CreateChatCompletion, given: Any
) -> Iterator[tuple[str, str]]:
  if {
    'max_tokens',
    'max_completion_tokens',
  } <= given and create.max_tokens != create.max_completion_tokens:
    yield (
      'max_tokens',
      f'max_tokens={create.max_tokens} and max_completion_tokens='
      f'{create.max_completion_tokens} differ; give one of them.',
    )
  yield from least(create, max_tokens(create))


def least(
  create: create_lib.Create, most: int | None
) -> Iterator[tuple[str, str]]:
  """Between min_tokens and a maximum."""
  if create.min_tokens > (strict.MAX_INT32 if most is None else most):
    yield (
      'min_tokens',
      f'min_tokens={create.min_tokens} is above the maximum of {most} tokens.',
    )


def reports(create: create_lib.Create, given: Any) -> Iterator[tuple[str, str]]:
  """What is told besides the text."""
  if 'top_logprobs' in given and not create.logprobs:
    yield 'top_logprobs', 'top_logprobs needs logprobs: true.'
  if 'stream_options' in given and not create.stream:
    yield 'stream_options', 'stream_options needs stream: true.'
  if 'prompt_logprobs' in given and create.stream:
    yield (
      'prompt_logprobs',
      'prompt_logprobs has no place in a stream; leave one of them out.',
    )


def _tools(
  create: create_lib.CreateChatCompletion, given: Any
) -> Iterator[tuple[str, str]]:
  old = [name for name in ('functions', 'function_call') if name in given]
  new = [name for name in ('tools', 'tool_choice') if name in given]
  if old and new:
    yield (
      old[0],
      f'{old[0]} is the old form of what {new[0]} says; give one form only.',
    )
  if old and 'parallel_tool_calls' in given and create.parallel_tool_calls:
    yield (
      'parallel_tool_calls',
      'There is one call at most with functions; give tools instead.',
    )


def formats(create: create_lib.Create, given: Any) -> Iterator[tuple[str, str]]:
  """What the text must be is said once."""
  shaped = create.response_format
  if create.structured_outputs and shaped and shaped.type != 'text':
    yield (
      'structured_outputs',
      'structured_outputs and response_format both say what the text must be; '
      'give one of them.',
    )


def _turn(
  create: create_lib.CreateChatCompletion, given: Any
) -> Iterator[tuple[str, str]]:
  """Whose turn the prompt ends with."""
  if not create.continue_final_message:
    return
  if 'add_generation_prompt' in given and create.add_generation_prompt:
    yield (
      'continue_final_message',
      'continue_final_message and add_generation_prompt cannot both be true: '
      'the answer continues the last message or is a new one.',
    )
  last = create.messages[-1]
  if last.role != 'assistant' or last.tool_calls or last.function_call:
    yield (
      'continue_final_message',
      'continue_final_message needs a last message of role assistant, with '
      'text and without calls.',
    )
