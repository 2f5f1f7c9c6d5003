"""Tools as chat templates show them to a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatjax import types
from chatjax.chat.parsers import call_object

_NO_ARGUMENTS = {'type': 'object', 'properties': {}}


def as_dicts(tools: Sequence[types.Tool]) -> list[dict[str, Any]] | None:
  """Function definitions; a custom tool is one with a single string.

  None if there are no tools: templates ask whether there are any.
  """
  return [_as_dict(tool) for tool in tools] or None


def callable_ones(request: types.Request) -> tuple[types.Tool, ...]:
  """The tools that the answer may call."""
  choice = request.tool_choice
  if choice.mode == 'none':
    return ()
  return tuple(
    tool
    for tool in request.tools
    if choice.allowed is None or tool.name in choice.allowed
  )


def _as_dict(tool: types.Tool) -> dict[str, Any]:
  function = {
    'name': tool.name,
    'description': tool.description or '',
    'parameters': _parameters(tool),
  }
  return {'type': 'function', 'function': function}


def _parameters(tool: types.Tool) -> dict[str, Any]:
  if not tool.is_custom:
    return dict(tool.parameters or _NO_ARGUMENTS)
  text: dict[str, Any] = {'type': 'string', 'description': 'Plain text.'}
  if tool.input_format is not None:
    kind, source = tool.input_format.kind, tool.input_format.source
    text['description'] = f'Plain text that matches this {kind}: {source}'
  return {
    'type': 'object',
    'properties': {call_object.INPUT: text},
    'required': [call_object.INPUT],
  }
