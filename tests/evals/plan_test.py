"""Which seeds and which fields items are asked with."""

import pytest

from chatjax.evals import plan as plan_lib


def test_no_two_items_share_a_seed():
  plan = plan_lib.Plan(seeds=(1, 2), request={'temperature': 1.0})
  one, other = plan.seeds_of('a'), plan.seeds_of('b')
  assert len({*one, *other}) == 4
  # Stable: the second run of a comparison draws with the same noise.
  assert one == tuple(plan_lib.item_seed(seed, 'a') for seed in (1, 2))
  assert 'for each of the seeds given' in plan.seed_rule


def test_one_seed_given_is_that_of_the_run():
  assert plan_lib.Plan(seeds=(7,)).seeds_of('a') == (
    plan_lib.Plan(seed=7).seeds_of('a')
  )


def test_a_limit_of_an_item_goes_before_whatever_its_name():
  names = 'max_tokens', 'max_completion_tokens'
  for run in names:
    for item in names:
      fields = plan_lib.Plan(request={run: 9}).fields({item: 5})
      assert fields == {'temperature': 0.0, item: 5}
    assert plan_lib.Plan(request={run: 9}).fields({})[run] == 9
  assert plan_lib.Plan().fields({})['max_tokens'] == 512


def test_no_k_is_refused():
  with pytest.raises(plan_lib.PlanError, match='k is empty'):
    plan_lib.Plan(ks=())
