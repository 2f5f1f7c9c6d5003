"""What `reasoning_effort` and `thinking_token_budget` come to."""

import pytest

from chatjax import types
from chatjax.chat import thinking


def resolve(*, variables=(), can_think=True, **fields):
  request = types.Request(messages=[{'role': 'user', 'content': 'x'}], **fields)
  return thinking.resolve(request, variables=variables, can_think=can_think)


def test_nothing_asked_is_the_models_own_default():
  assert resolve() == thinking.Thinking(variables={}, budget=None)
  assert resolve(can_think=False).budget is None


def test_a_switch_in_the_template_is_used():
  off = resolve(variables={'enable_thinking'}, reasoning_effort='none')
  assert off == thinking.Thinking(
    variables={'enable_thinking': False}, budget=None
  )
  low = resolve(variables={'thinking'}, reasoning_effort='low')
  assert low.variables == {'thinking': True}
  assert low.budget == thinking.BUDGETS['low']


def test_without_a_switch_none_closes_at_once():
  assert resolve(reasoning_effort='none').budget == 0


def test_more_effort_is_more_tokens():
  budgets = [
    resolve(reasoning_effort=effort).budget
    for effort in ('minimal', 'low', 'medium', 'high')
  ]
  assert budgets == sorted(set(budgets))
  assert resolve(reasoning_effort='max').budget is None


def test_a_budget_of_ones_own_wins():
  got = resolve(reasoning_effort='high', thinking_token_budget=7)
  assert got.budget == 7


def test_levels_of_a_template_that_knows_them():
  got = resolve(
    variables={'reasoning_effort'}, can_think=False, reasoning_effort='max'
  )
  assert got.variables == {'reasoning_effort': 'high'}
  got = resolve(
    variables={'reasoning_effort'},
    reasoning_effort='low',
    thinking_token_budget=9,
  )
  assert (got.variables, got.budget) == ({'reasoning_effort': 'low'}, 9)
  with pytest.raises(types.RequestError, match='always thinks') as caught:
    resolve(
      variables={'reasoning_effort'}, can_think=False, reasoning_effort='none'
    )
  assert caught.value.param == 'reasoning_effort'


@pytest.mark.parametrize(
  ('param', 'value'),
  [('reasoning_effort', 'low'), ('thinking_token_budget', 5)],
)
def test_a_model_that_does_not_think_says_so(param, value):
  assert resolve(can_think=False, reasoning_effort='none').variables == {}
  with pytest.raises(types.RequestError, match='does not think') as caught:
    resolve(can_think=False, **{param: value})
  assert caught.value.param == param
