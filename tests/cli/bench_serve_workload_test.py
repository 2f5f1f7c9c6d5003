"""Workloads: seeded, of the sizes that were asked for, each what it says."""

import pytest

from chatjax.cli import bench_serve_workload as workload_lib
from chatjax.protocol import request as request_lib

SIZES = workload_lib.Sizes(input_len=40, output_len=16, prefix_len=100)


def make(name, count=24, seed=3):
  return workload_lib.make(name, count, SIZES, seed=seed)


def lengths(prompts):
  return [len(one.messages[-1]['content'].split()) for one in prompts]


@pytest.mark.parametrize('name', workload_lib.WORKLOADS)
def test_the_seed_decides(name):
  assert make(name) == make(name)
  assert make(name)[:3] != make(name, seed=4)[:3]
  assert len({p.messages[-1]['content'] for p in make(name)}) == 24
  assert make(name, count=0) == []


@pytest.mark.parametrize('name', workload_lib.WORKLOADS)
def test_requests_are_valid_and_of_forced_length(name):
  for prompt in make(name):
    request = request_lib.parse({**prompt.body(), 'model': 'm'}).request
    assert request.sampling.ignore_eos
    assert request.sampling.max_tokens == prompt.max_tokens
    assert request.n == prompt.n


def test_random_has_one_length():
  prompts = make('random')
  assert set(lengths(prompts)) == {40}
  assert {p.max_tokens for p in prompts} == {16}
  assert all(len(p.messages) == 1 for p in prompts)
  assert all(p.params == {'temperature': 0} for p in prompts)


def test_shared_prefix_shares_the_system_prompt_and_nothing_else():
  prompts = make('shared-prefix')
  (system,) = {p.messages[0]['content'] for p in prompts}
  assert prompts[0].messages[0]['role'] == 'system'
  assert len(system.split()) == 100
  assert set(lengths(prompts)) == {40}
  assert make('shared-prefix', seed=4)[0].messages[0]['content'] != system


def test_mixed_length_spreads_from_a_quarter_to_double():
  prompts = make('mixed-length', count=400)
  for sizes, middle in (
    (lengths(prompts), 40), ([p.max_tokens for p in prompts], 16),
  ):  # fmt: skip
    assert middle / 4 - 1 <= min(sizes) < middle / 3
    assert middle * 1.8 < max(sizes) <= middle * 2
    assert 0.55 < sum(size < middle for size in sizes) / 400 < 0.8


def test_mixed_sampling_has_every_sampling_and_seeds():
  prompts = make('mixed-sampling')
  params = [dict(p.params) for p in prompts]
  assert [one.pop('seed') for one in params] == list(range(24))
  for sampling in workload_lib.SAMPLINGS:
    assert params.count(sampling) == 24 // len(workload_lib.SAMPLINGS)
  assert params[:8] != list(workload_lib.SAMPLINGS)
