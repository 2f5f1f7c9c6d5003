"""The decoder's programs agree with its dense forward, and with themselves."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chatjax import model_config
from chatjax.native import kernels
from chatjax.nn import attention
from chatjax.nn import cache as cache_lib
from chatjax.nn import paged
from chatjax.nn import quant
from chatjax.nn import transformer
from chatjax.testing import tiny

PAGE, CHUNK = 8, 16
TABLE = np.asarray([3, 1, 4, 2, 5, 6, 7, 8], np.int32)
FAMILIES = sorted(tiny.CONFIGS)


def new_cache(cfg, dtype='float32'):
  return cache_lib.init(
    pages_of_layer=[12] * cfg.num_layers,
    page_size=PAGE,
    num_kv_heads=cfg.num_kv_heads,
    head_dim=cfg.head_dim,
    dtype=dtype,
  )


# tests/models holds all families to transformers; here, what differs most.
@pytest.fixture(
  params=[
    pytest.param(x, marks=() if x == 'gemma3' else pytest.mark.slow)
    for x in FAMILIES
  ]
)
def family(request):
  return request.param


@functools.cache
def made(family, dtype):
  """A tiny model and its parameters."""
  model = transformer.Transformer(tiny.CONFIGS[family], dtype)
  return model, jax.jit(model.init)(jax.random.key(0))


def for_all(cfg, attend):
  """The same way to the keys for every kind of layer."""
  return dict.fromkeys(cfg.kinds, attend)


def random_ids(n, seed=1):
  return np.random.default_rng(seed).integers(0, 259, n).astype(np.int32)


def by_programs(
  model, params, ids, num_prefill, method='map', cache_dtype='float32'
):
  """Logits of every position: chunks first, then one decode row."""
  cache, out = new_cache(model.config, cache_dtype), []
  if method == 'native':
    method = paged.best_method(model.config)
  for start in range(0, num_prefill, CHUNK):
    positions = jnp.arange(start, start + CHUNK)
    live = jnp.ones(CHUNK, bool)
    attend = attention.Chunk(jnp.asarray(TABLE), positions, live, method)
    x, cache = model.hidden(
        params, jnp.asarray(ids[start : start + CHUNK]), positions,
        for_all(model.config, attend), cache,
    )  # fmt: skip
    out.append(model.logits(params, x))
  tables = jnp.stack([jnp.zeros_like(TABLE), jnp.asarray(TABLE)])
  for position in range(num_prefill, len(ids)):
    positions = jnp.asarray([0, position], jnp.int32)
    attend = attention.Rows(
      tables, positions, jnp.asarray([False, True]), method
    )
    tokens = jnp.asarray([7, ids[position]])
    x, cache = model.hidden(
      params, tokens, positions, for_all(model.config, attend), cache
    )
    out.append(model.logits(params, x)[1:])
  return np.concatenate(out)


NATIVE = pytest.mark.skipif(
  not kernels.is_available(), reason='the native kernels were not built'
)
METHODS = ['map', 'vmap', pytest.param('native', marks=NATIVE)]


# A way to the keys and a form of weights do not know of each other.
@pytest.mark.parametrize(('method', 'dtype'), [
    ('map', 'int8_channel'),
    pytest.param('vmap', 'float32', marks=pytest.mark.slow),
    pytest.param('native', 'float32', marks=(NATIVE, pytest.mark.slow)),
    pytest.param('native', 'int8_grouped', marks=NATIVE),
])  # fmt: skip
def test_programs_equal_dense_forward(family, method, dtype):
  model, params = made(family, dtype)
  ids = random_ids(50)
  dense = np.asarray(model.dense(params, jnp.asarray(ids)))
  ours = by_programs(model, params, ids, 32, method)
  # Integer products amplify a rounding that flips.
  tolerance = 1e-5 if dtype == 'float32' else 0.05
  np.testing.assert_allclose(ours, dense, atol=tolerance * np.abs(dense).max())


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize(
  ('cache_dtype', 'tolerance'), [('bfloat16', 0.02), ('int8', 0.04)]
)
def test_small_caches_are_close(method, cache_dtype, tolerance):
  model, params = made('gemma3', 'float32')
  ids = random_ids(50)
  want = by_programs(model, params, ids, 32, method)
  ours = by_programs(model, params, ids, 32, method, cache_dtype)
  error = np.abs(ours - want).max() / np.abs(want).max()
  assert 1e-4 < error < tolerance


def test_bfloat16_is_close_to_float32(family):
  cfg = tiny.CONFIGS[family]
  exact, params = made(family, 'float32')
  abstract = transformer.Transformer(cfg, 'bfloat16').abstract_params()
  rounded = jax.tree.map(lambda x, a: x.astype(a.dtype), params, abstract)
  ids = jnp.asarray(random_ids(40))
  ours = transformer.Transformer(cfg, 'bfloat16').dense(rounded, ids)
  want = exact.dense(params, ids)
  assert ours.dtype == jnp.float32
  error_T = np.abs(ours - want).max(axis=1)
  # A rounding may name another expert, which is not close.
  assert error_T.max() > 1e-4
  assert (np.median if cfg.num_experts else np.max)(error_T) < 0.2


def test_future_tokens_do_not_matter(family):
  model, params = made(family, 'float32')
  ids = random_ids(40)
  other = ids.copy()
  other[25:] = random_ids(15, seed=2)
  a, b = (np.asarray(model.dense(params, jnp.asarray(x))) for x in (ids, other))
  np.testing.assert_array_equal(a[:25], b[:25])
  assert np.abs(a[25:] - b[25:]).max() > 0.1


def test_window_hides_what_is_older():
  cfg = dataclasses.replace(
    tiny.CONFIGS['gemma3'],
    num_layers=1,
    layer_kinds=(model_config.LayerKind.LOCAL,),
  )
  model = transformer.Transformer(cfg, 'float32')
  params = model.init(jax.random.key(0))
  ids = random_ids(45)
  other = ids.copy()
  other[:10] = random_ids(10, seed=2)
  a, b = (by_programs(model, params, x, 32) for x in (ids, other))
  np.testing.assert_array_equal(a[29:], b[29:])
  assert np.abs(a[28] - b[28]).max() > 1e-4


def test_live_rows_narrow_only_the_integer_product(family):
  """A row's bits: alone at width 2, anywhere, in a crowd at full width."""
  model, params = made(family, 'int8_channel')
  B = 8

  @jax.jit
  def step(tokens_B, live_B, live):
    positions_B = jnp.zeros(B, jnp.int32)
    tables_BP = jnp.arange(1, B + 1, dtype=jnp.int32)[:, None]
    attend = attention.Rows(tables_BP, positions_B, live_B)
    cache = new_cache(model.config)
    x, _ = model.hidden(
        params, tokens_B, positions_B, for_all(model.config, attend), cache,
        live,
    )  # fmt: skip
    return model.logits(params, x, live)

  tokens = random_ids(B)
  full = quant.LiveRows(np.arange(B, dtype=np.int32), np.arange(B))
  crowd = np.asarray(step(tokens, np.ones(B, bool), full))
  for slot in range(B):
    rows = np.asarray([slot, slot], np.int32)
    narrow = quant.LiveRows(rows, np.zeros(B, np.int64))
    alone = step(tokens, np.arange(B) == slot, narrow)
    np.testing.assert_array_equal(
      np.asarray(alone)[slot].view(np.int32), crowd[slot].view(np.int32)
    )


def test_dense_forward_has_a_gradient(family):
  model, params = made(family, 'float32')
  ids = jnp.asarray(random_ids(12))

  def loss(params):
    logits = model.dense(params, ids[:-1])
    picked = jnp.take_along_axis(
      jax.nn.log_softmax(logits), ids[1:, None], axis=1
    )
    return -picked.mean()

  grads = jax.grad(loss)(params)
  path = 'layer_0', 'attn', 'qkv', 'w'
  step, g = 1e-2, grads
  for name in path:
    g = g[name]
  norm2 = float(sum(jnp.vdot(x, x) for x in jax.tree.leaves(grads)))
  moved = jax.tree.map(lambda p, g: p - step * g, params, grads)
  drop = float(loss(params) - loss(moved))
  assert float(jnp.abs(g).max()) > 0
  assert 0.5 * step * norm2 < drop < 1.5 * step * norm2


def test_logical_axes_name_every_dimension(family):
  model = transformer.Transformer(tiny.CONFIGS[family], 'int8_channel')
  boxed = jax.eval_shape(model.init_boxed, jax.random.key(0))
  boxes = jax.tree.leaves(boxed, is_leaf=lambda x: hasattr(x, 'names'))
  for box in boxes:
    assert len(box.names) == len(box.value.shape)
