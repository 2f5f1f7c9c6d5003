"""Grouped-query attention, dense or over cache pages.

The Attention module is handed one of three ways to the keys (`Dense`, `Chunk`,
`Rows`); the projections are shared.
"""

from __future__ import annotations

import dataclasses
from typing import Literal
from typing import Protocol

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from chatjax import config as config_lib
from chatjax.nn import cache as cache_lib
from chatjax.nn import layers
from chatjax.nn import quant
from chatjax.nn import rope


class Attend(Protocol):
  """How queries reach keys. Implementations are pytrees of what they need."""

  def __call__(
    self,
    q_TKGH: jax.Array,
    k_TKH: jax.Array,
    v_TKH: jax.Array,
    cache: cache_lib.LayerCache | None,
    window: int | None,
  ) -> tuple[jax.Array, cache_lib.LayerCache | None]:
    """Attends with scaled queries; `window` None sees all positions."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense:
  """Causal attention within one sequence; no cache; differentiable."""

  def __call__(self, q_TKGH, k_TKH, v_TKH, cache, window):
    logits_KGTS = jnp.einsum('TKGH,SKH->KGTS', q_TKGH, k_TKH)
    position = jnp.arange(q_TKGH.shape[0])
    visible_TS = _visible(position, position, window)
    logits_KGTS = jnp.where(visible_TS[None, None], logits_KGTS, -jnp.inf)
    probs_KGTS = jax.nn.softmax(logits_KGTS, axis=-1)
    return jnp.einsum('KGTS,SKH->TKGH', probs_KGTS, v_TKH), cache


def _visible(query_T, key_S, window):
  """bool[T, S]: causal, and within the window if there is one."""
  visible_TS = key_S[None, :] <= query_T[:, None]
  if window is not None:
    visible_TS &= key_S[None, :] > query_T[:, None] - window
  return visible_TS


def over_pages(
  q_TKGH: jax.Array,
  cache: cache_lib.LayerCache,
  table_P: jax.Array,
  positions_T: jax.Array,
  window: int | None,
) -> jax.Array:
  """Attention of T positions of one sequence over its pages.

  Walks the pages in absolute order with one running (max, sum, accumulator),
  so the bits depend on the sequence alone: a page that nobody sees leaves
  all three as they were.

  Returns:
    f32[T, K, G, H].
  """
  size = cache.page_size
  T, K, G, H = q_TKGH.shape
  last_position = jnp.max(positions_T)

  def block(j, carry):
    k_SKH = cache.k[table_P[j]].astype(jnp.float32)
    v_SKH = cache.v[table_P[j]].astype(jnp.float32)
    position_S = j * size + jnp.arange(size)
    # Beyond the last query stands what a page's former owner left, perhaps
    # NaN: 0 * NaN would carry it into this sequence.
    is_written_S = position_S <= last_position
    v_SKH = jnp.where(is_written_S[:, None, None], v_SKH, 0.0)
    visible_TS = _visible(positions_T, position_S, window)
    return _fold(carry, q_TKGH, k_SKH, v_SKH, visible_TS)

  first = 0
  if window is not None:
    first = jnp.maximum(jnp.min(positions_T) - window + 1, 0) // size
  last = last_position // size
  start = (
    jnp.full((K, T, G), -jnp.inf),
    jnp.zeros((K, T, G)),
    jnp.zeros((K, T, G, H)),
  )
  _, sum_KTG, acc_KTGH = lax.fori_loop(first, last + 1, block, start)
  return jnp.moveaxis(acc_KTGH / sum_KTG[..., None], 0, 1)


def _fold(carry, q_TKGH, k_SKH, v_SKH, visible_TS):
  """Adds a block of keys to a running softmax (arXiv:1805.02867).

  Args:
    carry: the largest logit so far, the sum of exp(logit - largest), and the
      same sum weighted by the values.
    q_TKGH: scaled queries.
    k_SKH: keys.
    v_SKH: values.
    visible_TS: which query sees which key.
  """
  max_KTG, sum_KTG, acc_KTGH = carry
  logits_KTGS = jnp.einsum('TKGH,SKH->KTGS', q_TKGH, k_SKH)
  logits_KTGS = jnp.where(visible_TS[None, :, None, :], logits_KTGS, -jnp.inf)
  new_max = jnp.maximum(max_KTG, logits_KTGS.max(axis=-1))
  # A row that has seen nothing yet keeps max = -inf: subtract 0 instead.
  shift = jnp.where(new_max == -jnp.inf, 0.0, new_max)
  weight_KTGS = jnp.exp(logits_KTGS - shift[..., None])
  decay = jnp.exp(max_KTG - shift)
  new_sum = sum_KTG * decay + weight_KTGS.sum(axis=-1)
  new_acc = acc_KTGH * decay[..., None] + jnp.einsum(
    'KTGS,SKH->KTGH', weight_KTGS, v_SKH
  )
  live = visible_TS.any(axis=-1)[None, :, None]
  return (
    jnp.where(live, new_max, max_KTG),
    jnp.where(live, new_sum, sum_KTG),
    jnp.where(live[..., None], new_acc, acc_KTGH),
  )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Chunk:
  """Prefill: T consecutive positions of one sequence, whole pages.

  Attributes:
    table_P: i32[P], the sequence's pages.
    positions_T: i32[T]; the first is a multiple of T.
  """

  table_P: jax.Array
  positions_T: jax.Array

  def __call__(self, q_TKGH, k_TKH, v_TKH, cache, window):
    size = cache.page_size
    pages_J = lax.dynamic_slice_in_dim(
      self.table_P, self.positions_T[0] // size, k_TKH.shape[0] // size
    )
    cache = cache_lib.write_chunk(cache, k_TKH, v_TKH, pages_J)
    out = over_pages(q_TKGH, cache, self.table_P, self.positions_T, window)
    return out, cache


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
  """Decode: one position of each of B sequences.

  All rows write first, then attend; so consecutive positions of one sequence
  may stand in one step.

  Attributes:
    tables_BP: i32[B, P].
    positions_B: i32[B].
    live_B: bool[B]; a dead row's output is zeros.
    batching: 'map' runs row after row and skips dead ones (best on a CPU),
      'vmap' runs all at once.
  """

  tables_BP: jax.Array
  positions_B: jax.Array
  live_B: jax.Array
  batching: Literal['map', 'vmap'] = dataclasses.field(
    default='map', metadata={'static': True}
  )

  def __call__(self, q_BKGH, k_BKH, v_BKH, cache, window):
    size = cache.page_size
    page_index_B = self.positions_B // size
    page_B = jnp.take_along_axis(self.tables_BP, page_index_B[:, None], axis=1)[
      :, 0
    ]
    page_B = jnp.where(self.live_B, page_B, cache_lib.TRASH_PAGE)
    cache = cache_lib.write_rows(
      cache, k_BKH, v_BKH, page_B, self.positions_B % size
    )

    def row(q_KGH, table_P, position):
      return over_pages(q_KGH[None], cache, table_P, position[None], window)[0]

    args = (q_BKGH, self.tables_BP, self.positions_B)
    if self.batching == 'vmap':
      return jax.vmap(row)(*args), cache

    def live_row(live_and_args):
      live, row_args = live_and_args
      zeros = jnp.zeros(q_BKGH.shape[1:])
      return lax.cond(live, lambda: row(*row_args), lambda: zeros)

    return lax.map(live_row, (self.live_B, args)), cache


class Attention(nn.Module):
  """Projections, rotary embedding and the attention that it is handed."""

  config: config_lib.ModelConfig
  kind: config_lib.LayerKind
  dtype: str

  @nn.compact
  def __call__(
    self,
    x_TD: jax.Array,
    angles: tuple[jax.Array, jax.Array],
    attend: Attend,
    cache: cache_lib.LayerCache | None,
    live: quant.Live | None = None,
  ) -> tuple[jax.Array, cache_lib.LayerCache | None]:
    cfg = self.config
    K, G, H = cfg.num_kv_heads, cfg.q_per_kv, cfg.head_dim
    # Rows of one key/value head stand together (its G queries, key, value),
    # so a mesh can split the fused weight by head.
    qkv = layers.Linear(
        out_shape=(K, G + 2, H), out_axes=('kv_heads', 'q_per_kv', 'head_dim'),
        in_shape=(cfg.embed_dim,), in_axes=('embed',),
        dtype=self.dtype, use_bias=cfg.qkv_bias, name='qkv',
    )(x_TD, live)  # fmt: skip
    T = x_TD.shape[0]
    q_TNH = qkv[:, :, :G].reshape(T, K * G, H)
    k_TKH, v_TKH = qkv[:, :, G], qkv[:, :, G + 1]
    if cfg.qk_norm:
      q_TNH = layers.RMSNorm(cfg.norm_eps, name='q_norm')(q_TNH)
      k_TKH = layers.RMSNorm(cfg.norm_eps, name='k_norm')(k_TKH)
    q_TNH = rope.apply(q_TNH, *angles) * cfg.q_scale
    k_TKH = rope.apply(k_TKH, *angles)
    o_TKGH, cache = attend(
      q_TNH.reshape(T, K, G, H), k_TKH, v_TKH, cache, cfg.window(self.kind)
    )
    out_TD = layers.Linear(
        out_shape=(cfg.embed_dim,), out_axes=('embed',),
        in_shape=(K, G, H), in_axes=('kv_heads', 'q_per_kv', 'head_dim'),
        dtype=self.dtype, name='out',
    )(o_TKGH, live)  # fmt: skip
    return out_TD, cache
