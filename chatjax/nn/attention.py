"""Grouped-query attention, dense or over cache pages.

The Attention module is handed one of three ways to the keys (`Dense`, `Chunk`,
`Rows`); the projections are shared.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Protocol

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from chatjax import model_config
from chatjax.nn import cache as cache_lib
from chatjax.nn import layers
from chatjax.nn import paged
from chatjax.nn import param
from chatjax.nn import quant
from chatjax.nn import ragged
from chatjax.nn import rope
from chatjax.nn import sharding


@dataclasses.dataclass(frozen=True)
class Heads:
  """Projections of some positions, before their rotation.

  Attributes:
    q_TKGH: queries.
    k_TKH: keys.
    v_TKH: values.
    angles: what `rope.angles` gave for the positions.
    scale: factor on queries.
    sinks_KG: logits without a value that join every softmax, or None.
    softcap: bounds the logits, or None.
    layout: the mesh that runs them; None is one device.
  """

  q_TKGH: jax.Array
  k_TKH: jax.Array
  v_TKH: jax.Array
  angles: tuple[jax.Array, jax.Array]
  scale: float
  sinks_KG: jax.Array | None = None
  softcap: float | None = None
  layout: sharding.Layout | None = None

  def rotated(self) -> tuple[jax.Array, jax.Array]:
    """Scaled queries and keys, as they meet."""
    T, K, G, H = self.q_TKGH.shape
    q_TNH = rope.apply(self.q_TKGH.reshape(T, K * G, H), *self.angles)
    k_TKH = rope.apply(self.k_TKH, *self.angles)
    if self.layout is not None:
      k_TKH = self.layout.for_pages(k_TKH)
    return (q_TNH * self.scale).reshape(T, K, G, H), k_TKH


class Attend(Protocol):
  """How queries reach keys. Implementations are pytrees of what they need."""

  def __call__(
    self,
    heads: Heads,
    cache: cache_lib.Layer | None,
    window: int | None,
  ) -> tuple[jax.Array, cache_lib.Layer | None]:
    """Returns f32[T, K, G, H]; `window` None sees all positions."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense:
  """Causal attention within one sequence; no cache; differentiable."""

  def __call__(self, heads, cache, window):
    return mix(probabilities(heads, window), heads), cache


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Chunk:
  """Prefill: T consecutive positions of one sequence, whole pages.

  Attributes:
    table_P: i32[P], the sequence's pages.
    positions_T: i32[T]; the first is a multiple of T.
    live_T: bool[T], positions before the padding.
    method: see `paged.Method`.
  """

  table_P: jax.Array
  positions_T: jax.Array
  live_T: jax.Array
  method: paged.Method = dataclasses.field(
    default='map', metadata={'static': True}
  )

  def __call__(self, heads, cache, window):
    if self.method == 'native':
      tables_1P = self.table_P[None]
      return _native(
        heads, cache, tables_1P, self.positions_T, self.live_T, window
      )
    q_TKGH, k_TKH = heads.rotated()
    if self.method == 'ragged':
      return ragged.of_chunk(
          q_TKGH, k_TKH, heads.v_TKH, cache, self.table_P,
          self.positions_T[0], self.live_T,
          window=window, softcap=heads.softcap, layout=heads.layout,
      )  # fmt: skip
    size = cache.page_size
    pages_J = lax.dynamic_slice_in_dim(
      self.table_P, self.positions_T[0] // size, k_TKH.shape[0] // size
    )
    cache = cache_lib.write_chunk(cache, k_TKH, heads.v_TKH, pages_J)
    out_TKGH = paged.of_one(
      q_TKGH,
      cache,
      self.table_P,
      self.positions_T,
      window,
      sinks_KG=heads.sinks_KG,
      softcap=heads.softcap,
    )
    return out_TKGH, cache


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
  """Decode: one position of each of B sequences.

  All rows write first, then attend; so consecutive positions of one sequence
  may stand in one step.

  Attributes:
    tables_BP: i32[B, P].
    positions_B: i32[B].
    live_B: bool[B]; a dead row's output is not to be used.
    method: see `paged.Method`.
  """

  tables_BP: jax.Array
  positions_B: jax.Array
  live_B: jax.Array
  method: paged.Method = dataclasses.field(
    default='map', metadata={'static': True}
  )

  def __call__(self, heads, cache, window):
    if self.method == 'native':
      return _native(
        heads, cache, self.tables_BP, self.positions_B, self.live_B, window
      )
    q_BKGH, k_BKH = heads.rotated()
    if self.method == 'ragged':
      return ragged.of_rows(
          q_BKGH, k_BKH, heads.v_TKH, cache, self.tables_BP,
          self.positions_B, self.live_B,
          window=window, softcap=heads.softcap, layout=heads.layout,
      )  # fmt: skip
    size = cache.page_size
    page_B = cache_lib.page_of_rows(
      self.tables_BP, self.positions_B, self.live_B, size
    )
    cache = cache_lib.write_rows(
      cache, k_BKH, heads.v_TKH, page_B, self.positions_B % size
    )
    out_BKGH = paged.of_each(
        q_BKGH, cache, self.tables_BP, self.positions_B, self.live_B,
        window=window, sinks_KG=heads.sinks_KG, softcap=heads.softcap,
        method=self.method,
    )  # fmt: skip
    return out_BKGH, cache


def probabilities(heads: Heads, window: int | None) -> jax.Array:
  """How much each position attends to each: f32[K, G, T, S].

  Rows add up to one, or to less where sinks take a part.
  """
  q_TKGH, k_TKH = heads.rotated()
  logits_KGTS = jnp.einsum('TKGH,SKH->KGTS', q_TKGH, k_TKH)
  if heads.softcap is not None:
    logits_KGTS = paged.soft_cap(logits_KGTS, heads.softcap)
  position = jnp.arange(q_TKGH.shape[0])
  visible_TS = paged.visible(position, position, window)
  logits_KGTS = jnp.where(visible_TS[None, None], logits_KGTS, -jnp.inf)
  if heads.sinks_KG is None:
    return jax.nn.softmax(logits_KGTS, axis=-1)
  return _softmax_with_sinks(logits_KGTS, heads.sinks_KG)


def mix(probs_KGTS: jax.Array, heads: Heads) -> jax.Array:
  """The values that positions attend to: f32[T, K, G, H]."""
  return jnp.einsum('KGTS,SKH->TKGH', probs_KGTS, heads.v_TKH)


def _softmax_with_sinks(logits_KGTS, sinks_KG):
  K, G, T, _ = logits_KGTS.shape
  sinks_KGT1 = jnp.broadcast_to(sinks_KG[:, :, None, None], (K, G, T, 1))
  every = jnp.concatenate([sinks_KGT1, logits_KGTS], axis=-1)
  return jax.nn.softmax(every, axis=-1)[..., 1:]


def _native(heads, cache, tables_RP, positions_T, live_T, window):
  is_plain = heads.sinks_KG is None and heads.softcap is None
  assert is_plain, 'the kernel cannot do this: see best_method'
  return paged.native(
      heads.q_TKGH, heads.k_TKH, heads.v_TKH, heads.angles, cache,
      tables_RP, positions_T, live_T, scale=heads.scale, window=window,
  )  # fmt: skip


class Attention(nn.Module):
  """Projections, rotary embedding and the attention that it is handed."""

  config: model_config.ModelConfig
  kind: model_config.LayerKind
  dtype: str
  layout: sharding.Layout | None = None

  @nn.compact
  def __call__(
    self,
    x_TD: jax.Array,
    angles: tuple[jax.Array, jax.Array],
    attend: Attend,
    cache: cache_lib.Layer | None,
    live: quant.Live | None = None,
  ) -> tuple[jax.Array, cache_lib.Layer | None]:
    cfg = self.config
    K, G, H = cfg.num_kv_heads, cfg.q_per_kv, cfg.head_dim
    # Rows of one key/value head stand together (its G queries, key, value),
    # so a mesh can split the fused weight by head.
    qkv = layers.Linear(
        out_shape=(K, G + 2, H), out_axes=('kv_heads', 'qkv', 'head_dim'),
        in_shape=(cfg.embed_dim,), in_axes=('embed',),
        dtype=self.dtype, use_bias=cfg.qkv_bias, name='qkv',
    )(x_TD, live)  # fmt: skip
    T = x_TD.shape[0]
    q_TNH = qkv[:, :, :G].reshape(T, K * G, H)
    k_TKH, v_TKH = qkv[:, :, G], qkv[:, :, G + 1]
    if cfg.qk_norm:
      norm = functools.partial(layers.RMSNorm, cfg.norm_eps, cfg.norm_offset)
      q_TNH, k_TKH = norm(name='q_norm')(q_TNH), norm(name='k_norm')(k_TKH)
    if cfg.qk_norm_whole:
      q_TNH, k_TKH = (
        layers.RMSNorm(cfg.norm_eps, name=name)(x.reshape(T, -1)).reshape(
          x.shape
        )
        for name, x in (('q_norm', q_TNH), ('k_norm', k_TKH))
      )
    if cfg.rotary_dim:
      order_H = rope.partial_order(H, cfg.rotary_dim)
      q_TNH, k_TKH = q_TNH[:, :, order_H], k_TKH[:, :, order_H]
    if self.layout is not None:
      v_TKH = self.layout.for_pages(v_TKH)
    q_TKGH = q_TNH.reshape(T, K, G, H)
    sinks_KG = None
    if cfg.attention_sinks:
      spec = param.ParamSpec(shape=(K, G), axes=('kv_heads', 'q_per_kv'))
      sinks_KG = param.declare(self, 'sinks', spec)
    heads = Heads(
        q_TKGH, k_TKH, v_TKH, angles, cfg.q_scale, sinks_KG, cfg.attn_softcap,
        self.layout,
    )  # fmt: skip
    o_TKGH, cache = attend(heads, cache, cfg.window(self.kind))
    if self.layout is not None:
      cache = self.layout.pages(cache)
    out_TD = layers.Linear(
        out_shape=(cfg.embed_dim,), out_axes=('embed',),
        in_shape=(K, G, H), in_axes=('kv_heads', 'q_per_kv', 'head_dim'),
        dtype=self.dtype, use_bias=cfg.out_bias, name='out',
    )(o_TKGH, live)  # fmt: skip
    return out_TD, cache
