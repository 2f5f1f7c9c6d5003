"""Whether a model thinks before it answers, and for how long."""

from __future__ import annotations

from collections.abc import Collection
import dataclasses
from typing import Any

from chatjax import types

# Tokens of reasoning after which the answer must begin; None is without bound.
BUDGETS: dict[str, int | None] = {
  'minimal': 256,
  'low': 1024,
  'medium': 4096,
  'high': 16384,
  'xhigh': None,
  'max': None,
}
# Variables by which chat templates switch thinking, and the one that takes a
# level itself (gpt-oss), with the levels that it knows.
_SWITCHES = ('enable_thinking', 'thinking')
_LEVEL = 'reasoning_effort'
_LEVELS = {
  'minimal': 'low', 'low': 'low', 'medium': 'medium',
  'high': 'high', 'xhigh': 'high', 'max': 'high',
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thinking:
  """How one request wants its model to think.

  Attributes:
    variables: of the chat template.
    budget: reasoning tokens after which it is closed; None is no bound.
  """

  variables: dict[str, Any]
  budget: int | None


def resolve(
  request: types.Request, *, variables: Collection[str], can_think: bool
) -> Thinking:
  """What `reasoning_effort` and `thinking_token_budget` come to.

  Args:
    request: what is asked.
    variables: that the model's chat template reads.
    can_think: whether the model has reasoning tags that can be closed.

  Raises:
    types.RequestError: the model cannot do that.
  """
  effort, budget = request.reasoning_effort, request.thinking_token_budget
  if budget is not None and not can_think:
    raise _cannot('thinking_token_budget', 'leave it out')
  if effort is None:
    return Thinking(variables={}, budget=budget)
  if _LEVEL in variables:
    if effort == 'none':
      raise _always_thinks(sorted(_LEVELS))
    return Thinking(variables={_LEVEL: _LEVELS[effort]}, budget=budget)
  if not can_think:
    if effort != 'none':
      raise _cannot('reasoning_effort', "leave it out or give 'none'")
    return Thinking(variables={}, budget=None)
  switch = next((name for name in _SWITCHES if name in variables), None)
  chosen = {} if switch is None else {switch: effort != 'none'}
  if effort == 'none':
    # Without a switch, reasoning is closed as soon as it is open.
    return Thinking(variables=chosen, budget=None if chosen else 0)
  own = BUDGETS[effort] if budget is None else budget
  return Thinking(variables=chosen, budget=own)


def _cannot(param: str, remedy: str) -> types.RequestError:
  return types.RequestError(
    f'This model does not think before it answers; {remedy}.', param=param
  )


def _always_thinks(levels: list[str]) -> types.RequestError:
  return types.RequestError(
    f'This model always thinks; choose one of {levels}.',
    param='reasoning_effort',
  )
