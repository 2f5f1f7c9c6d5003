"""Attention over cache pages, by a kernel or in JAX.

All walk the pages in absolute order with one running (max, sum, accumulator),
so the bits of a position depend on its own sequence alone: a page that nobody
sees leaves all three as they were. Their bits are not each other's.
The TPU's kernel is in `ragged`.
"""

from __future__ import annotations

from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.native import kernels
from chatjax.nn import cache as cache_lib
from chatjax.nn import ragged
from chatjax.nn import sharding

# 'native' is the CPU kernel, 'ragged' the TPU's; in JAX, rows run one after
# another and dead ones are skipped ('map'), or all run at once ('vmap', for
# accelerators).
Method = Literal['native', 'ragged', 'map', 'vmap']
AT_ONCE = ('ragged', 'vmap')


def best_method(
  config: model_config.ModelConfig,
  layout: sharding.Layout | None = None,
  engine: config_lib.EngineConfig | None = None,
) -> Method:
  """What suits the devices, of what can compute a model.

  Args:
    config: the model's.
    layout: the mesh that runs it; None is the default device alone.
    engine: how it is run; None is as by default.
  """
  is_plain = not config.attention_sinks and config.attn_softcap is None
  if kernels.is_available() and is_plain and layout is None:
    return 'native'
  platform = jax.default_backend() if layout is None else layout.platform
  if platform == 'tpu':
    engine = engine or config_lib.EngineConfig()
    return 'vmap' if ragged.refusal(config, engine, layout) else 'ragged'
  return 'map' if platform == 'cpu' else 'vmap'


def native(
  q_TKGH: jax.Array,
  k_TKH: jax.Array,
  v_TKH: jax.Array,
  angles: tuple[jax.Array, jax.Array],
  cache: cache_lib.LayerCache,
  tables_RP: jax.Array,
  positions_T: jax.Array,
  live_T: jax.Array,
  *,
  scale: float,
  window: int | None,
) -> tuple[jax.Array, cache_lib.LayerCache]:
  """Rotates, writes and attends by the kernel; see `kernels.attention`."""
  scales = cache.k_scale, cache.v_scale
  out_TKGH, pages = kernels.attention(
    q_TKGH, k_TKH, v_TKH, angles, tables_RP, positions_T, live_T,
    (cache.k, cache.v, *(jnp.zeros(0) if x is None else x for x in scales)),
    scale=scale, window=window or 0,
  )  # fmt: skip
  if cache.k_scale is None:
    pages = pages[:2]
  return out_TKGH, cache_lib.LayerCache(*pages)


def of_each(
  q_BKGH: jax.Array,
  cache: cache_lib.LayerCache,
  tables_BP: jax.Array,
  positions_B: jax.Array,
  live_B: jax.Array,
  *,
  window: int | None,
  sinks_KG: jax.Array | None,
  softcap: float | None,
  method: Method,
) -> jax.Array:
  """Attention of one position of each of B sequences in JAX; see `of_one`."""

  def row(q_KGH, table_P, position):
    return of_one(
        q_KGH[None], cache, table_P, position[None], window,
        sinks_KG=sinks_KG, softcap=softcap,
    )[0]  # fmt: skip

  args = (q_BKGH, tables_BP, positions_B)
  if method == 'vmap':
    return jax.vmap(row)(*args)

  def live_row(live_and_args):
    live, row_args = live_and_args
    zeros = jnp.zeros(q_BKGH.shape[1:])
    return lax.cond(live, lambda: row(*row_args), lambda: zeros)

  return lax.map(live_row, (live_B, args))


def of_one(
  q_TKGH: jax.Array,
  cache: cache_lib.LayerCache,
  table_P: jax.Array,
  positions_T: jax.Array,
  window: int | None,
  *,
  sinks_KG: jax.Array | None = None,
  softcap: float | None = None,
) -> jax.Array:
  """Attention of T positions of one sequence in JAX: f32[T, K, G, H].

  Args:
    q_TKGH: scaled queries.
    cache: the layer's pages, with the positions written.
    table_P: i32[P], the sequence's.
    positions_T: i32[T].
    window: positions that are seen, or None for all.
    sinks_KG: logits without a value that join every softmax.
    softcap: bounds the logits, or None.
  """
  size = cache.page_size
  T, K, G, H = q_TKGH.shape
  last_position = jnp.max(positions_T)

  def block(j, carry):
    position_S = j * size + jnp.arange(size)
    k_KHS, v_KSH = _page(cache, table_P[j], position_S <= last_position)
    visible_TS = visible(positions_T, position_S, window)
    return _fold(carry, q_TKGH, k_KHS, v_KSH, visible_TS, softcap)

  first = 0
  if window is not None:
    first = jnp.maximum(jnp.min(positions_T) - window + 1, 0) // size
  last = last_position // size
  start = (
    jnp.full((K, T, G), -jnp.inf),
    jnp.zeros((K, T, G)),
    jnp.zeros((K, T, G, H)),
  )
  if sinks_KG is not None:  # seen before all keys, with a value of zero
    max_KTG = jnp.broadcast_to(sinks_KG[:, None, :], (K, T, G))
    start = max_KTG, jnp.ones((K, T, G)), start[2]
  _, sum_KTG, acc_KTGH = lax.fori_loop(first, last + 1, block, start)
  return jnp.moveaxis(acc_KTGH / sum_KTG[..., None], 0, 1)


def _page(cache, page, is_written_S) -> tuple[jax.Array, jax.Array]:
  """Keys f32[K, H, S] and values f32[K, S, H] of a page."""
  k_KHS = cache_lib.read_float(cache.k, page)
  v_KSH = cache_lib.read_float(cache.v, page)
  if cache.k_scale is not None:
    k_KHS *= cache.k_scale[page][:, None, :]
    v_KSH *= cache.v_scale[page][:, :, None]
  # Beyond the last query stands what a page's former owner left, perhaps NaN:
  # 0 * NaN would carry it into this sequence.
  return k_KHS, jnp.where(is_written_S[None, :, None], v_KSH, 0.0)


def visible(
  query_T: jax.Array, key_S: jax.Array, window: int | None
) -> jax.Array:
  """bool[T, S]: causal, and within the window if there is one."""
  visible_TS = key_S[None, :] <= query_T[:, None]
  if window is not None:
    visible_TS &= key_S[None, :] > query_T[:, None] - window
  return visible_TS


def soft_cap(x: jax.Array, cap: float) -> jax.Array:
  """Bounds logits smoothly (Gemma 2, arXiv:2408.00118)."""
  return cap * jnp.tanh(x / cap)


def _fold(carry, q_TKGH, k_KHS, v_KSH, visible_TS, softcap):
  """Adds a block of keys to a running softmax (arXiv:1805.02867).

  Args:
    carry: the largest logit so far, the sum of exp(logit - largest), and the
      same sum weighted by the values.
    q_TKGH: scaled queries.
    k_KHS: keys.
    v_KSH: values.
    visible_TS: which query sees which key.
    softcap: bounds the logits, or None.
  """
  max_KTG, sum_KTG, acc_KTGH = carry
  logits_KTGS = jnp.einsum('TKGH,KHS->KTGS', q_TKGH, k_KHS)
  if softcap is not None:
    logits_KTGS = soft_cap(logits_KTGS, softcap)
  logits_KTGS = jnp.where(visible_TS[None, :, None, :], logits_KTGS, -jnp.inf)
  new_max = jnp.maximum(max_KTG, logits_KTGS.max(axis=-1))
  # A row that has seen nothing yet keeps max = -inf: subtract 0 instead.
  shift = jnp.where(new_max == -jnp.inf, 0.0, new_max)
  weight_KTGS = jnp.exp(logits_KTGS - shift[..., None])
  decay = jnp.exp(max_KTG - shift)
  new_sum = sum_KTG * decay + weight_KTGS.sum(axis=-1)
  new_acc = acc_KTGH * decay[..., None] + jnp.einsum(
    'KTGS,KSH->KTGH', weight_KTGS, v_KSH
  )
  live = visible_TS.any(axis=-1)[None, :, None]
  return (
    jnp.where(live, new_max, max_KTG),
    jnp.where(live, new_sum, sum_KTG),
    jnp.where(live[..., None], new_acc, acc_KTGH),
  )
