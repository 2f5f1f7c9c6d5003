"""The sampler by itself: under jit, vmap and grad."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chatjax import types
from chatjax.sampling import keys
from chatjax.sampling import logprobs
from chatjax.sampling import measures
from chatjax.sampling import padded
from chatjax.sampling import sampler
from tests.sampling import oracle

RNG = np.random.default_rng(0)
V = 300
LOGITS = RNG.normal(size=V).astype(np.float32) * 2
LOGITS[7] = 0.0  # zeros are written anew inside
COUNTS = (RNG.integers(0, 3, V) * (RNG.random(V) < 0.2)).astype(np.int32)
KINDS = {
  'plain': {},
  'hot': {'temperature': 1.7},
  'cut': {'temperature': 0.8, 'top_k': 40, 'top_p': 0.9},
  'nucleus': {'top_p': 0.99999},
  'min_p': {'temperature': 1.2, 'min_p': 0.05},
  'penalties': {
    'presence_penalty': 0.7,
    'frequency_penalty': 0.3,
    'repetition_penalty': 1.3,
  },
}


def params_of(kind):
  return sampler.host_params(types.SamplingParams(**KINDS[kind]))


def edited(logits_V, params):
  return sampler.log_distribution(logits_V, params, counts_V=COUNTS)


log_distribution = jax.jit(sampler.log_distribution)


def reference(logits_V, params, kept_V):
  """In plain float64 terms, with the kept tokens given."""
  seen_V = COUNTS > 0
  scaled_V = jnp.where(
    logits_V > 0, logits_V / params.repetition, logits_V * params.repetition
  )
  logits_V = jnp.where(seen_V, scaled_V, logits_V)
  logits_V = logits_V - params.presence * seen_V.astype(np.float32)
  logits_V = logits_V - params.frequency * COUNTS.astype(np.float32)
  logits_V = jnp.where(kept_V, logits_V, 0.0) / params.temperature
  logits_V = jnp.where(kept_V, logits_V, -1e9)
  return jax.nn.log_softmax(logits_V)


FLOATS = 'temperature', 'presence', 'frequency', 'repetition'


def with_gradients(function):
  """One program: values, and the gradient of a weighted sum of them."""

  def along(logits_V, floats, params, kept_V, weight_V):
    values_V = function(logits_V, dataclasses.replace(params, **floats), kept_V)
    return jnp.sum(jnp.where(kept_V, values_V, 0.0) * weight_V), values_V

  return jax.jit(jax.grad(along, argnums=(0, 1), has_aux=True))


OURS = with_gradients(lambda logits_V, params, _: edited(logits_V, params))
THEIRS = with_gradients(reference)


@pytest.mark.parametrize('kind', KINDS)
def test_a_distribution_and_its_gradients(kind):
  params = params_of(kind)
  weight_V = RNG.normal(size=V).astype(np.float32)
  floats = {name: getattr(params, name) for name in FLOATS}
  every_V = np.ones(V, bool)
  _, ours_V = OURS(LOGITS, floats, params, every_V, weight_V)
  kept_V = np.asarray(ours_V) > -np.inf
  assert (not kept_V.all()) == (kind in ('cut', 'nucleus', 'min_p'))
  ours, _ = OURS(LOGITS, floats, params, kept_V, weight_V)
  theirs, theirs_V = THEIRS(LOGITS, floats, params, kept_V, weight_V)
  np.testing.assert_allclose(ours_V[kept_V], theirs_V[kept_V], atol=1e-5)
  for one, other in zip(
    jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True
  ):
    assert np.isfinite(one).all()
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_the_gradient_of_a_drawn_logprob_is_that_of_the_softmax():
  params = params_of('cut')
  key = keys.choice_key(3, 0)

  def logprob(logits_V):
    draw = sampler.sample_row(logits_V, params, key=key, step=0)
    return draw.logprob, draw.token

  (_, token), grad_V = jax.jit(jax.value_and_grad(logprob, has_aux=True))(
    LOGITS
  )
  want_V = -jax.nn.softmax(LOGITS)
  want_V = want_V.at[token].add(1)
  np.testing.assert_allclose(grad_V, want_V, atol=1e-6)


def test_the_gradient_of_the_entropy():
  @jax.jit
  def ours(logits_V):
    row = padded.row(logits_V)
    return measures.entropy(row, logprobs.log_normalizer_of(row))

  def theirs(logits_V):
    logprob_V = jax.nn.log_softmax(logits_V)
    return -jnp.sum(jnp.exp(logprob_V) * logprob_V)

  assert float(ours(LOGITS)) == pytest.approx(float(theirs(LOGITS)), rel=1e-5)
  grad = jax.jit(jax.grad(ours))
  np.testing.assert_allclose(grad(LOGITS), jax.grad(theirs)(LOGITS), atol=1e-5)
  banned = LOGITS.copy()
  banned[5] = -np.inf
  assert np.isfinite(grad(banned)).all()
  assert float(ours(np.zeros(V, np.float32))) == pytest.approx(np.log(V))


def test_ranks_break_ties_by_id():
  row_V = np.float32([1, 3, -0.0, 3, 0, -np.inf])
  rank = jax.jit(lambda t: measures.rank(padded.row(row_V), t))
  order = oracle.ranked(row_V)
  for place, token in enumerate(order, start=1):
    assert rank(np.int32(token)) == place


def test_one_program_for_all_temperatures_and_keys():
  """Under jit nothing is traced anew, and vmap gives what one by one does."""
  traced = []

  @jax.jit
  def draw(temperature, key, step):
    traced.append(None)
    params = dataclasses.replace(params_of('cut'), temperature=temperature)
    return sampler.sample_row(LOGITS, params, key=key, step=step)

  temperature_N = np.float32([0, 0.5, 1, 3])
  key_N = jax.vmap(jax.random.fold_in, (None, 0))(
    keys.request_key(5), np.arange(4)
  )
  one_by_one = [
    draw(t, keys.choice_key(5, i), np.int32(i))
    for i, t in enumerate(temperature_N)
  ]
  assert len(traced) == 1
  mapped = jax.vmap(draw)(temperature_N, key_N, np.arange(4, dtype=np.int32))
  for i, one in enumerate(one_by_one):
    assert int(one.token) == int(mapped.token[i])
    assert np.float32(one.logprob).view(np.int32) == np.asarray(mapped.logprob)[
      i
    ].view(np.int32)
  grid = jax.vmap(jax.vmap(draw, (None, 0, None)), (0, None, None))
  tokens_NN = grid(temperature_N, key_N, np.int32(0)).token
  assert len(set(tokens_NN[0].tolist())) == 1  # greedy
  assert len(set(tokens_NN[3].tolist())) > 1


def test_distributions_over_temperatures():
  temperature_N = jnp.linspace(0, 2, 5)

  def probs(temperature):
    params = dataclasses.replace(params_of('plain'), temperature=temperature)
    return jnp.exp(sampler.log_distribution(LOGITS, params))

  probs_NV = jax.jit(jax.vmap(probs))(temperature_N)
  np.testing.assert_allclose(probs_NV.sum(axis=1), 1, atol=1e-5)
  assert probs_NV[0].max() == 1
  largest = probs_NV.max(axis=1)
  assert (np.diff(largest) < 0).all()
  slope = jax.jit(jax.vmap(jax.grad(lambda t: probs(t).max())))
  slopes = slope(temperature_N[1:])
  assert (slopes < 0).all()


def test_draws_come_as_often_as_the_distribution_says():
  params = params_of('cut')
  key = keys.choice_key(1, 0)
  draw = jax.jit(jax.vmap(
    lambda step: sampler.sample_row(LOGITS, params, key=key, step=step).token
  ))  # fmt: skip
  count = 4000
  token_N = np.asarray(draw(np.arange(count, dtype=np.int32)))
  probs_V = np.exp(log_distribution(LOGITS, params))
  assert (probs_V[token_N] > 0).all()
  got_V = np.bincount(token_N, minlength=V) / count
  assert np.abs(got_V - probs_V).max() < 5 * np.sqrt(0.25 / count)


def test_the_noise_is_what_tokens_are_drawn_from():
  noise_T = keys.noise(9, 50, choice=2)
  assert ((noise_T >= 0) & (noise_T < 1)).all()
  assert len(set(noise_T)) == 50
  assert (keys.noise(9, 20, choice=2) == noise_T[:20]).all()

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(0, None))
  def draw(step, params):
    key = keys.choice_key(9, 2)
    return sampler.sample_row(LOGITS, params, key=key, step=step).token

  for kind in ('plain', 'hot', 'cut'):
    params = params_of(kind)
    probs_V = np.exp(np.float64(log_distribution(LOGITS, params)))
    after_V = np.cumsum(probs_V) / probs_V.sum()
    want_T = np.searchsorted(after_V, noise_T, 'right')
    assert draw(np.arange(50, dtype=np.int32), params).tolist() == list(want_T)
