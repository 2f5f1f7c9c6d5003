"""Routing, and what a row gets whoever else is there."""

import dataclasses
import functools

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chatjax import config as config_lib
from chatjax.native import kernels
from chatjax.nn import gate
from chatjax.nn import moe
from chatjax.nn import quant
from chatjax.testing import tiny

B = 8
NATIVE = pytest.mark.skipif(
  not kernels.is_available(), reason='the native kernels were not built'
)
STORAGES = [
  *('float32', 'bfloat16'),
  *(pytest.param(x, marks=NATIVE if x == 'int8_grouped' else ())
    for x in quant.SCHEMES),
]  # fmt: skip

# Those whose activations are rounded too; the oracle's are not.
TOLERANCES = {
  'bfloat16': 0.02, 'int8_channel': 0.05, 'int8_grouped': 0.05, 'fp8': 0.1
}  # fmt: skip


def oracle_route(logits_TX, num_taken, norm):
  weight_TX = np.zeros(logits_TX.shape)
  for logits_X, weight_X in zip(logits_TX, weight_TX, strict=True):
    order = sorted(range(len(logits_X)), key=lambda x: (-logits_X[x], x))
    probs_X = np.exp(logits_X - logits_X.max())
    probs_X /= probs_X.sum()
    weight_X[order[:num_taken]] = probs_X[order[:num_taken]]
    if norm:
      weight_X /= weight_X.sum()
  return weight_TX


# Few values, so that many are equal.
@settings(max_examples=20, deadline=None)
@given(
  values=st.lists(st.integers(-3, 3), min_size=12, max_size=12),
  num_taken=st.integers(1, 6),
  norm=st.booleans(),
)
def test_route_takes_the_largest_and_of_equal_ones_the_first(
  values, num_taken, norm
):
  logits_TX = np.asarray(values, np.float32).reshape(2, 6)
  taken_TX, weight_TX = moe.route(jnp.asarray(logits_TX), num_taken, norm=norm)
  want_TX = oracle_route(logits_TX.astype(np.float64), num_taken, norm)
  np.testing.assert_array_equal(taken_TX, want_TX > 0)
  np.testing.assert_allclose(weight_TX, want_TX, rtol=1e-5)


def test_only_wanted_experts_are_walked_and_in_order():
  taken_TX = np.zeros((4, 6), bool)
  taken_TX[0, [5, 2]] = taken_TX[1, [2, 3]] = taken_TX[3, [0, 4]] = True
  live_T = jnp.asarray([True, True, True, False])
  seen = []

  def expert(x, mine_T):
    jax.debug.callback(
      lambda x, mine: seen.append((int(x), list(mine.nonzero()[0]))),
      x, mine_T, ordered=True,
    )  # fmt: skip
    return jnp.full((4, 3), 10.0) ** x.astype(jnp.float32)

  weight_TX = jnp.asarray(taken_TX, jnp.float32) * 0.5
  with jax.default_device(jax.devices()[0]):
    sum_TD = moe.walk(jnp.asarray(taken_TX), weight_TX, live_T, expert, 3)
    jax.effects_barrier()
  assert seen == [(2, [0, 1]), (3, [1]), (5, [0])]
  np.testing.assert_allclose(sum_TD[:2, 0], [50050, 550])


def weight(rng, dtype, shape, num_out_axes):
  """A random weight in some form."""
  w = rng.normal(size=shape).astype(np.float32) * shape[-1] ** -0.5
  if dtype in quant.SCHEMES:
    return quant.SCHEMES[dtype].weight.quantize(w, num_out_axes)
  return w.astype(dtype)


def new_params(cfg, dtype):
  rng = np.random.default_rng(3)
  X, F, D = cfg.num_experts, cfg.moe_dim, cfg.embed_dim
  params = {
    'router': {'w': weight(rng, 'float32', (X, D), 1)},
    'gate_up': {'w': weight(rng, dtype, (2 * X, F, D), 2)},
    'down': {'w': weight(rng, dtype, (X, D, F), 2)},
  }
  if cfg.moe_bias:
    for part in params.values():
      shape = part['w'].shape[:-1]
      part['b'] = rng.normal(size=shape).astype(np.float32)
  return params


@functools.cache
def made(dtype, family='mixtral'):
  cfg = tiny.CONFIGS[family]
  layer, params = moe.MoE(cfg, dtype), new_params(cfg, dtype)
  run = jax.jit(lambda x, live: layer.apply({'params': params}, x, live))
  return cfg, params, run


def rows(seed=0, n=B):
  return np.random.default_rng(seed).normal(size=(n, 32)).astype(np.float32)


def plain(w):
  """A weight as a float array, whatever its form."""
  if quant.is_weight(w):
    return np.asarray(jax.tree.map(jnp.asarray, w).dequantize())
  return np.asarray(w, np.float32)


def gated(halves_2F, activation):
  gate_F, up_F = halves_2F
  if activation == 'silu':
    return gate_F / (1 + np.exp(-gate_F)) * up_F
  gate_F, up_F = np.minimum(gate_F, 7), np.clip(up_F, -7, 7)
  return gate_F / (1 + np.exp(-1.702 * gate_F)) * (up_F + 1)


def oracle(cfg, params, x_TD):
  """One position after another, one expert after another."""

  def linear(name, part, x_K):
    y = plain(params[name]['w'])[part] @ x_K
    return y + params[name]['b'][part] if cfg.moe_bias else y

  out_TD = np.zeros_like(x_TD)
  for out_D, x_D in zip(out_TD, x_TD, strict=True):
    logits_X = linear('router', slice(None), x_D)
    (weight_X,) = oracle_route(
      logits_X[None], cfg.experts_per_token, cfg.norm_topk
    )
    for x in weight_X.nonzero()[0]:
      halves_2F = linear('gate_up', slice(2 * x, 2 * x + 2), x_D)
      out_D += weight_X[x] * linear('down', x, gated(halves_2F, cfg.activation))
  return out_TD


@pytest.mark.parametrize('family', ['mixtral', 'gpt_oss'])
@pytest.mark.parametrize('dtype', STORAGES)
def test_layer_equals_the_sum_of_its_experts(dtype, family):
  cfg, params, run = made(dtype, family)
  x_TD = rows()
  want_TD = oracle(cfg, params, x_TD)
  tolerance = TOLERANCES.get(dtype, 1e-5)
  for live in (None, jnp.ones(B, bool)):
    np.testing.assert_allclose(
      run(x_TD, live), want_TD, atol=tolerance * np.abs(want_TD).max()
    )


def alone(dtype, slot):
  """What a layer is told if one row lives."""
  if dtype != 'int8_channel':
    return jnp.arange(B) == slot
  return quant.LiveRows(jnp.full(2, slot, jnp.int32), jnp.zeros(B, jnp.int32))


def everyone(dtype):
  if dtype != 'int8_channel':
    return jnp.ones(B, bool)
  return quant.LiveRows(*(jnp.arange(B, dtype=jnp.int32),) * 2)


@pytest.mark.parametrize('family', ['mixtral', 'gpt_oss'])
@pytest.mark.parametrize('dtype', STORAGES)
def test_d6_a_row_has_its_bits_alone_and_in_every_crowd(dtype, family):
  _, _, run = made(dtype, family)
  x_BD = rows()
  crowd_BD = np.asarray(run(x_BD, everyone(dtype)))
  for slot in range(B):
    mates_BD = rows(seed=slot + 1)
    mates_BD[slot] = x_BD[slot]
    for live in (alone(dtype, slot), everyone(dtype)):
      got_BD = np.asarray(run(mates_BD, live))
      assert got_BD[slot].tobytes() == crowd_BD[slot].tobytes()
  other = (np.arange(B) + 3) % B
  moved_BD = np.asarray(run(x_BD[other], everyone(dtype)))
  assert moved_BD.tobytes() == crowd_BD[other].tobytes()


def test_of_equal_experts_the_first_is_taken():
  """Every router row is there twice; what follows the second is poisoned."""
  cfg = dataclasses.replace(
    tiny.CONFIGS['mixtral'], num_experts=4, experts_per_token=1
  )
  params = new_params(cfg, 'float32')
  params['router']['w'][2:] = params['router']['w'][:2]
  params['down']['w'][2:] = np.nan
  layer = moe.MoE(cfg, 'float32')
  out_BD = layer.apply({'params': params}, rows(), jnp.ones(B, bool))
  assert np.isfinite(out_BD).all()


def test_the_gate_of_gpt_oss_is_clamped():
  x_T2F = jnp.asarray([[[9.0, -9.0, 2.0], [-9.0, 9.0, 0.5]]])
  (got_F,) = gate.apply(x_T2F, 'clamped_swiglu')
  swish = lambda x: x / (1 + np.exp(-1.702 * x))
  want_F = [swish(7) * -6, swish(-9) * 8, swish(2) * 1.5]
  np.testing.assert_allclose(got_F, want_F, rtol=1e-5)


def test_experts_that_cannot_be_packed_are_refused():
  cfg = dataclasses.replace(tiny.CONFIGS['mixtral'], moe_dim=40)
  with pytest.raises(config_lib.ConfigError, match='twice moe_dim is 80'):
    moe.MoE(cfg, 'int8_grouped').init(jax.random.key(0), jnp.zeros((1, 32)))


@pytest.mark.parametrize(('fields', 'message'), [
    ({'num_experts': 4}, 'experts_per_token=0 must be positive'),
    ({'num_experts': 4, 'experts_per_token': 5, 'moe_dim': 8},
     'experts_per_token=5 is over num_experts=4'),
    ({'moe_dim': 8}, 'moe_dim=8 needs num_experts'),
    ({'activation': 'clamped_swiglu'}, 'needs num_experts'),
])  # fmt: skip
def test_configs_that_cannot_be_right_are_refused(fields, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    dataclasses.replace(tiny.CONFIGS['llama'], **fields)
