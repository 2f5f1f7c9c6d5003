"""The draw of a row: against the oracle, and its promises."""

import dataclasses

from hypothesis import assume
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from chatjax import types
from chatjax.sampling import keys
from chatjax.sampling import logprobs
from chatjax.sampling import padded
from chatjax.sampling import processors
from chatjax.sampling import sampler
from tests.sampling import oracle

V = 5000
EPS = 1e-6


def params(**kwargs):
  return sampler.host_params(types.SamplingParams(**kwargs))


def key_words(seed, choice=0):
  return np.asarray(jax.random.key_data(keys.choice_key(seed, choice)))


def neutral_row(vocab_size=V):
  return {
    'counts_V': np.zeros(vocab_size, np.int32),
    'in_prompt_V': np.zeros(vocab_size, bool),
    'bias_V': np.zeros(vocab_size, np.float32),
    'allowed_V': np.ones(vocab_size, bool),
    'stop_ids': np.full(4, -1, np.int32),
  }


@jax.jit
def sample_row(logits_V, params, key, step, row):
  return sampler.sample_row(logits_V, params, key=key, step=step, **row)


def draw(logits_V, *, seed=5, choice=0, step=0, row=None, **kwargs):
  logits_V = np.asarray(logits_V, np.float32)
  row = neutral_row(len(logits_V)) | (row or {})
  return sample_row(
    logits_V, params(**kwargs), key_words(seed, choice), np.int32(step), row
  )


def random_row(seed=0, spread=3.0):
  rng = np.random.default_rng(seed)
  return (rng.normal(size=V) * spread).astype(np.float32)


def is_ambiguous(x_V, weight_V, keep, p, words):
  """Whether float32 weights may honestly give another token."""
  mass_V = np.where(np.isin(np.arange(V), list(keep)), weight_V, 0)
  ends_V = np.cumsum(mass_V) / mass_V.sum()
  u = (int(words[0]) * 2**32 + int(words[1])) / 2**64
  is_near_end = np.abs(ends_V - u).min() < EPS
  if p.top_p >= 1:
    return is_near_end
  ids = oracle.ranked(x_V)[: p.top_k or V]
  shares = np.cumsum(weight_V[ids]) / weight_V[ids].sum()
  return is_near_end or np.abs(shares - p.top_p).min() < EPS


@st.composite
def cases(draw):
  rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
  pick = lambda *values: draw(st.sampled_from(values))
  size = pick(1, 2, 300, 5000)
  row_V = (rng.normal(size=V) * pick(0.1, 1.0, 5.0)).astype(np.float32)
  row_V = np.round(row_V * 4) / 4 if pick(True, False) else row_V
  row_V[size:] = -np.inf
  # Products of these are exact, so a fused multiply-add changes nothing.
  p = types.SamplingParams(
    temperature=pick(1e-6, 0.01, 0.7, 1.0, 2.0),
    top_k=pick(0, 1, 40, 300, 6000),
    top_p=pick(0.0, 0.3, 0.9, 1.0),
    min_p=pick(0.0, 0.03, 0.6),
    presence_penalty=pick(-2.0, 0.0, 0.5),
    frequency_penalty=pick(0.0, 0.25, 2.0),
    repetition_penalty=pick(1.0, 2.0, 0.5),
    min_tokens=pick(0, 3),
  )
  row = neutral_row() | {
    'counts_V': rng.poisson(0.3, V).astype(np.int32),
    'in_prompt_V': rng.random(V) < 0.2,
    'allowed_V': rng.random(V) < pick(0.6, 1.0),
    'stop_ids': np.int32([0, size - 1, -1, -1]),
  }
  row['bias_V'][rng.integers(0, size, 8)] = pick(0, 3, -3, 100)
  row['bias_V'][rng.integers(0, size)] = pick(0, -np.inf)
  return row_V, p, row, pick(*range(5))


@settings(max_examples=120, deadline=None)
@given(cases())
def test_draws_equal_the_oracle(case):
  row_V, wanted, row, step = case
  p = sampler.host_params(wanted)
  x_V = oracle.processed(row_V, p, step=step, **row)
  assume(x_V.max() > -np.inf)
  weight_V = oracle.weights(x_V, p.temperature)
  keep = oracle.kept(x_V, weight_V, p.top_k, p.top_p, p.min_p)
  key = key_words(9)
  words = np.asarray(keys.uniform_words(keys.token_key(key, step)))
  assume(not is_ambiguous(x_V, weight_V, keep, p, words))
  got = sample_row(row_V, p, key, np.int32(step), row)
  assert int(got.token) == oracle.draw(weight_V, keep, words)
  want = row_V[got.token] - oracle.log_normalizer(row_V)
  np.testing.assert_allclose(got.logprob, want, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize('vocab_size', [1, 8193])
def test_every_vocabulary_size(vocab_size):
  row_V = np.random.default_rng(3).normal(size=vocab_size)
  row_V = row_V.astype(np.float32)
  words = np.asarray(keys.uniform_words(keys.token_key(key_words(5), 0)))
  weight_V = oracle.weights(row_V, 1.0)
  for top_k in (0, 30):
    keep = oracle.kept(row_V, weight_V, top_k, 1.0, 0.0)
    got = draw(row_V, top_k=top_k)
    assert int(got.token) == oracle.draw(weight_V, keep, words)


def test_temperature_0_is_the_lowest_of_the_best_ids():
  row_V = random_row()
  row_V[[77, 4000]] = 50.0
  got = draw(row_V, temperature=0, top_k=3, top_p=0.1)
  assert int(got.token) == 77


def test_minus_zero_ties_with_zero():
  # No bias: adding 0.0 would already turn -0.0 into 0.0.
  zeros = np.float32([-0.0, 0.0, -0.0, -1.0])
  bare = jax.jit(sampler.sample_row)
  for kwargs in ({'temperature': 0}, {'top_k': 1}, {'top_p': 0.0}):
    p = params(**kwargs)
    draws = [bare(zeros, p, key=key_words(5), step=t) for t in range(8)]
    assert {int(one.token) for one in draws} == {0}


@pytest.mark.parametrize('temperature', [1e-45, 1e-30, 1e-6])
def test_tiny_temperatures_draw_among_the_best(temperature):
  row_V = random_row(spread=30.0)
  row_V[[77, 4000]] = 300.0
  draws = {
    int(draw(row_V, temperature=temperature, step=t).token) for t in range(12)
  }
  assert draws == {77, 4000}


def test_d5_all_64_bits_of_a_seed_change_the_tokens():
  flat_V = np.zeros(V, np.float32)
  seeds = (5, 5 + 2**32, -1, 2**63 - 1)
  tokens = {
    tuple(int(draw(flat_V, seed=s, step=t).token) for t in range(3))
    for s in seeds
  }
  assert len(tokens) == len(seeds)


def test_n2_choice_1_shares_nothing_with_choice_0_of_the_next_seed():
  flat_V = np.zeros(V, np.float32)
  one = [int(draw(flat_V, seed=8, choice=1, step=t).token) for t in range(8)]
  two = [int(draw(flat_V, seed=9, choice=0, step=t).token) for t in range(8)]
  assert not any(a == b for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
  ('kwargs', 'falls_back'),
  [
    ({'top_k': 256}, False),
    ({'top_k': 257}, True),
    ({'top_p': 0.95}, True),
    ({'top_p': 0.95, 'top_k': 200}, False),
    ({'min_p': 0.5}, False),
    ({}, False),
    ({'temperature': 0, 'top_p': 0.95}, False),
  ],
)
def test_the_fallback_is_taken_where_candidates_do_not_reach(
  kwargs, falls_back
):
  assert bool(draw(random_row(spread=0.1), **kwargs).fell_back) == falls_back


@pytest.mark.parametrize(
  'kwargs',
  [
    {},
    {'temperature': 0.6},
    {'top_k': 5},
    {'top_p': 0.8},
    {'min_p': 0.1, 'temperature': 1.7},
  ],
)
def test_frequencies_are_the_probabilities(kwargs):
  n, vocab_size = 4000, 40
  row_V = np.random.default_rng(4).normal(size=vocab_size).astype(np.float32)
  p = params(**kwargs)
  key = keys.choice_key(123, 0)
  token_N = jax.jit(
    lambda t_N: jax.vmap(
      lambda t: sampler.sample_row(row_V, p, key=key, step=t).token
    )(t_N)
  )(jnp.arange(n))
  weight_V = oracle.weights(row_V, p.temperature)
  keep = sorted(oracle.kept(row_V, weight_V, p.top_k, p.top_p, p.min_p))
  counts_V = np.bincount(token_N, minlength=vocab_size)
  assert counts_V[keep].sum() == n
  expected = n * weight_V[keep] / weight_V[keep].sum()
  # Rare tokens are pooled, as the test wants five expected draws or more.
  rare = expected < 5
  pool = lambda x: np.append(x[~rare], x[rare].sum())
  chi2 = ((pool(counts_V[keep]) - pool(expected)) ** 2) / np.maximum(
    pool(expected), 1e-9
  )
  degrees = max(1, (~rare).sum() - (not rare.any()))
  assert chi2.sum() < scipy.stats.chi2.isf(1e-4, degrees)


MIXED = [
  {'temperature': 0.0},
  {},
  {'temperature': 0.3, 'top_k': 40, 'top_p': 0.95},
  {'temperature': 2.0, 'top_p': 0.9},
  {'top_k': 700, 'top_p': 0.5, 'min_p': 0.01},
  {'repetition_penalty': 1.3, 'frequency_penalty': 0.7, 'min_tokens': 9},
  {'presence_penalty': 1.1, 'temperature': 0.77, 'min_p': 0.2},
]


def test_a_row_alone_is_the_row_in_a_crowd_bit_for_bit():
  rng = np.random.default_rng(5)
  B = len(MIXED)
  rows_B = [
    neutral_row()
    | {
      'counts_V': rng.poisson(0.3, V).astype(np.int32),
      'in_prompt_V': rng.random(V) < 0.2,
      'stop_ids': np.int32([3, 17, -1, -1]),
    }
    for _ in range(B)
  ]
  logits_BV = np.stack([random_row(b, 1.5) for b in range(B)])
  params_B = [params(**kwargs) for kwargs in MIXED]
  key_B = np.stack([key_words(b) for b in range(B)])
  step_B = np.arange(B, dtype=np.int32)
  stack = lambda trees: jax.tree.map(lambda *x: np.stack(x), *trees)
  crowd = logits_BV, stack(params_B), key_B, step_B, stack(rows_B)

  def row(args):
    logits_V, p, key, step, row = args
    got = sampler.sample_row(logits_V, p, key=key, step=step, **row)
    top = logprobs.top_row(padded.row(logits_V), got.log_z, step % 2 == 0)
    return got, top

  alone_B = [jax.tree.map(lambda x, b=b: x[b : b + 1], crowd) for b in range(B)]
  one_by_one = jax.jit(lambda args: lax.map(row, args))
  alone = [jax.tree.map(lambda x: x[0], one_by_one(args)) for args in alone_B]
  mapped = jax.jit(lambda args: lax.map(row, args))(crowd)
  vmapped = jax.jit(jax.vmap(row))(crowd)
  bits = lambda tree: [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]
  assert bits(stack(alone)) == bits(mapped)
  assert bits(mapped) == bits(vmapped)
  assert mapped[0].fell_back.any()
  assert not mapped[0].fell_back.all()


def test_top_logprobs_hold_the_very_bits_of_the_drawn_token():
  row_V = random_row(8)
  got = draw(row_V, temperature=0)
  ids, top = logprobs.top_row(padded.row(row_V), got.log_z, True)
  assert int(ids[0]) == int(got.token)
  assert top[0].tobytes() == got.logprob.tobytes()


def test_new_values_do_not_trace_again():
  traces = []

  @jax.jit
  def counted(logits_V, p, key, step):
    traces.append(1)
    return sampler.sample_row(logits_V, p, key=key, step=step).token

  for kwargs in MIXED:
    counted(random_row(), params(**kwargs), key_words(1), np.int32(2))
  assert len(traces) == 1


@pytest.mark.parametrize('bad', [np.nan, -np.nan, np.inf])
@pytest.mark.parametrize('kwargs', [{}, {'temperature': 0}, {'top_p': 0.9}])
def test_a_broken_row_is_reported_not_drawn(bad, kwargs):
  row_V = random_row()
  row_V[1234] = bad
  got = draw(row_V, **kwargs)
  assert np.isnan(got.logprob)
  assert 0 <= int(got.token) < V


@pytest.mark.parametrize('kwargs', [{}, {'temperature': 0}, {'top_k': 3}])
def test_a_row_with_nothing_allowed_is_reported(kwargs):
  row = {'allowed_V': np.zeros(V, bool)}
  got = draw(random_row(), row=row, **kwargs)
  assert np.isnan(got.logprob)
  assert 0 <= int(got.token) < V


def test_banned_and_masked_tokens_are_never_drawn():
  row_V = random_row(spread=0.1)
  row = {
    'bias_V': processors.bias_row({i: -100 for i in range(0, V, 2)}, V),
    'allowed_V': np.arange(V) % 3 == 0,
  }
  for t in range(20):
    token = int(draw(row_V, row=row, step=t).token)
    assert token % 2 == 1
    assert token % 3 == 0


def test_a_batch_with_steps_left_out_is_the_same_draw():
  row_V = random_row()
  bare = jax.jit(sampler.sample)(
    row_V[None],
    jax.tree.map(lambda x: x[None], params(top_p=0.9)),
    key=key_words(5)[None],
    step=np.zeros(1, np.int32),
  )
  whole = draw(row_V, top_p=0.9)
  assert bare.token.tolist() == [int(whole.token)]
  assert bare.logprob.tobytes() == whole.logprob.tobytes()


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('temperature', -0.1),
    ('temperature', float('nan')),
    ('temperature', float('inf')),
    ('top_p', 1.5),
    ('min_p', -0.5),
    ('top_k', -1),
    ('repetition_penalty', 0.0),
    ('presence_penalty', 2.5),
    ('frequency_penalty', -3.0),
    ('min_tokens', -1),
  ],
)
def test_values_outside_their_range_are_refused(name, value):
  with pytest.raises(types.RequestError) as caught:
    params(**{name: value})
  assert caught.value.param == name


def test_host_params_have_the_documented_dtypes():
  got = dataclasses.asdict(params(top_k=10**30))
  dtypes = {name: value.dtype.name for name, value in got.items()}
  want = dict.fromkeys(dtypes, 'float32') | {
    'top_k': 'int32', 'min_tokens': 'int32',
  }  # fmt: skip
  assert dtypes == want
