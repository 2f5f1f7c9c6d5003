"""Messages together: calls and their results; what a chat template gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatjax import types
from chatjax.protocol import calls
from chatjax.protocol import errors
from chatjax.protocol import messages as messages_lib


def as_dicts(
  messages: Sequence[messages_lib.Message],
) -> list[dict[str, Any]]:
  """All messages as chat templates want them.

  Raises:
    types.RequestError: a call without its result, or the other way round.
  """
  check_order(messages)
  return [_as_dict(idx, message) for idx, message in enumerate(messages)]


def check_order(messages: Sequence[messages_lib.Message]) -> None:
  """Every call is answered once, before anything else is said."""
  open_ids: dict[str, None] = {}
  caller = 0
  for idx, message in enumerate(messages):
    if message.role == 'tool':
      if message.tool_call_id not in open_ids:
        raise types.RequestError(
          f'{errors.shorten(message.tool_call_id)} is the id of no call that '
          'waits for a result; tool messages follow the assistant message '
          'with their calls, one for each.',
          param=f'messages[{idx}].tool_call_id',
        )
      del open_ids[message.tool_call_id]
      continue
    _check_answered(open_ids, caller)
    if message.role == 'function':
      _check_function(messages, idx)
    open_ids, caller = {call.id: None for call in message.tool_calls}, idx
  _check_answered(open_ids, caller)


def _check_answered(open_ids: dict[str, None], caller: int) -> None:
  if open_ids:
    raise types.RequestError(
      f'The call {errors.shorten(next(iter(open_ids)))} has no result: a tool '
      'message for each call must follow before the next message.',
      param=f'messages[{caller}].tool_calls',
    )


def _check_function(messages: Sequence[messages_lib.Message], idx: int) -> None:
  called = messages[idx - 1].function_call if idx else None
  if called is None or called.name != messages[idx].name:
    raise types.RequestError(
      'A function message follows the assistant message whose function_call '
      'has its name.',
      param=f'messages[{idx}].name',
    )


def _as_dict(idx: int, message: messages_lib.Message) -> dict[str, Any]:
  """The old form of calls becomes the new one: templates know that."""
  shown: dict[str, Any] = {'role': message.role, 'content': message.text}
  if message.name is not None:
    shown['name'] = message.name
  if message.thoughts is not None:
    # Most templates read the first; that of gpt-oss reads the second.
    shown['reasoning_content'] = shown['thinking'] = message.thoughts
  if message.tool_calls:
    shown['tool_calls'] = [call.as_dict() for call in message.tool_calls]
  if called := message.function_call:
    one = calls.as_dict(_old_id(idx), called.name, called.arguments)
    shown['tool_calls'] = [one]
  if message.role == 'tool':
    shown['tool_call_id'] = message.tool_call_id
  if message.role == 'function':
    shown.update(role='tool', tool_call_id=_old_id(idx - 1))
  return shown


def _old_id(caller: int) -> str:
  return f'call_{caller}'
