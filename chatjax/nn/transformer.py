"""The one generic decoder: differences between families are config fields."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp

from chatjax import model_config
from chatjax.nn import attention
from chatjax.nn import cache as cache_lib
from chatjax.nn import layers
from chatjax.nn import moe
from chatjax.nn import paged
from chatjax.nn import quant
from chatjax.nn import rope
from chatjax.nn import sharding
from chatjax.nn import taps as taps_lib

Params = Mapping[str, Any]

# Among the parameters of a steered model: point -> f32[D] added there.
STEERING = 'steering'


class MLP(nn.Module):
  """Gated feed-forward: down(act(gate(x)) * up(x)) (arXiv:2002.05202)."""

  config: model_config.ModelConfig
  dtype: str
  is_split: bool = False

  @nn.compact
  def __call__(
    self, x_TD: jax.Array, live: quant.Live | None = None
  ) -> jax.Array:
    cfg = self.config
    gate_up_T2F = layers.Linear(
        out_shape=(2, cfg.mlp_dim), out_axes=('gate_up', 'mlp'),
        in_shape=(cfg.embed_dim,), in_axes=('embed',),
        dtype=self.dtype, is_split=self.is_split, name='gate_up',
    )(x_TD, live)  # fmt: skip
    hidden_TF = quant.gate(self.dtype, gate_up_T2F, live, cfg.activation)
    return layers.Linear(
        out_shape=(cfg.embed_dim,), out_axes=('embed',),
        in_shape=(cfg.mlp_dim,), in_axes=('mlp',),
        dtype=self.dtype, name='down',
    )(hidden_TF, live)  # fmt: skip


class Block(nn.Module):
  """Attention and MLP with their norms and residual connections."""

  config: model_config.ModelConfig
  kind: model_config.LayerKind
  dtype: str
  layout: sharding.Layout | None = None

  @nn.compact
  def __call__(self, x_TD, angles, attend, cache, live=None, tap=None):
    cfg = self.config
    of_products = live
    if self.layout is not None:
      of_products = sharding.narrowing(live)

    def norm(name):
      return layers.RMSNorm(cfg.norm_eps, cfg.norm_offset, name=name)

    def before(name, x_TD):
      return norm(name)(x_TD) if cfg.pre_norms else x_TD

    attn = attention.Attention(
      cfg, self.kind, self.dtype, self.layout, name='attn'
    )
    h_TD, cache = attn(
      before('attn_norm', x_TD), angles, attend, cache, of_products
    )
    if cfg.post_norms:
      h_TD = norm('post_attn_norm')(h_TD)
    if tap is not None:
      h_TD = tap('attn', h_TD)
    x_TD = x_TD + h_TD
    if cfg.num_experts:
      mlp = moe.MoE(cfg, self.dtype, self.layout, name='mlp')
      h_TD = mlp(before('mlp_norm', x_TD), live)
    else:
      mlp = MLP(cfg, self.dtype, self.layout is not None, name='mlp')
      h_TD = mlp(before('mlp_norm', x_TD), of_products)
    if cfg.post_norms:
      h_TD = norm('post_mlp_norm')(h_TD)
    if tap is not None:
      h_TD = tap('mlp', h_TD)
    return x_TD + h_TD, cache


# Layers of one kind have the same shapes: jit traces them once a program.
@functools.partial(jax.jit, static_argnames='block')
def _init_block(block, key):
  position_T = jnp.zeros(1, jnp.int32)
  angles = rope.angles(
    position_T, head_dim=block.config.head_dim, theta=block.config.rope_theta
  )
  x_TD = jnp.zeros((1, block.config.embed_dim))
  return block.init(key, x_TD, angles, attention.Dense(), None)['params']


@functools.partial(jax.jit, static_argnames='block')
def _run_block(block, params, x_TD, angles, attend, cache, live):
  return block.apply({'params': params}, x_TD, angles, attend, cache, live)


def _run_tapped(taps, layer, block, params, x_TD, angles, attend, *args):
  attend, tap = taps.attend(layer, attend), taps.inside(layer)
  if tap is None and not taps.watches(layer):
    return _run_block(block, params, x_TD, angles, attend, *args)
  # Not through jit: arrays that are seen could not leave it.
  return block.apply({'params': params}, x_TD, angles, attend, *args, tap)


@dataclasses.dataclass(frozen=True)
class Transformer:
  """Token ids to hidden states, hidden states to logits.

  Flax modules make the parts; what joins them is a pure function of the
  parameters `{'embed', 'layer_0', ..., 'final_norm'[, 'unembed']}`.

  Attributes:
    config: sizes and control flow.
    dtype: of the weights, as `quant.storage` says.
    layout: the mesh that runs it; None is one device.
  """

  config: model_config.ModelConfig
  dtype: str
  layout: sharding.Layout | None = None

  @property
  def _table(self) -> layers.Table:
    cfg = self.config
    return layers.Table(cfg.vocab_size, cfg.embed_dim, self.dtype, self.layout)

  @property
  def _final_norm(self) -> layers.RMSNorm:
    return layers.RMSNorm(self.config.norm_eps, self.config.norm_offset)

  def _block(self, kind: model_config.LayerKind) -> Block:
    return Block(self.config, kind, self.dtype, self.layout)

  def _angles(self, positions_T: jax.Array) -> Mapping[Any, Any]:
    cfg = self.config
    return {
      kind: rope.angles(
          positions_T, head_dim=cfg.head_dim, theta=cfg.theta(kind),
          scaling=cfg.scaling(kind), rotary_dim=cfg.rotary_dim,
      )
      for kind in set(cfg.layer_kinds)
    }  # fmt: skip

  def init_boxed(self, key: jax.Array) -> Params:
    """Random parameters, boxed with the names of their logical axes."""
    cfg = self.config
    keys = iter(jax.random.split(key, cfg.num_layers + 3))
    tokens_T, x_TD = jnp.zeros(1, jnp.int32), jnp.zeros((1, cfg.embed_dim))

    def table():
      return self._table.init(next(keys), tokens_T, method='lookup')['params']

    params = {'embed': table()}
    for layer, kind in enumerate(cfg.layer_kinds):
      params[f'layer_{layer}'] = _init_block(self._block(kind), next(keys))
    params['final_norm'] = self._final_norm.init(next(keys), x_TD)['params']
    if not cfg.tie_embeddings:
      params['unembed'] = table()
    return params

  def init(self, key: jax.Array) -> Params:
    """Random parameters."""
    return nn.unbox(self.init_boxed(key))

  def abstract_params(self) -> Params:
    """Shapes and dtypes of the parameters; takes no memory."""
    return nn.unbox(jax.eval_shape(self.init_boxed, jax.random.key(0)))

  def hidden(
    self,
    params: Params,
    tokens_T: jax.Array,
    positions_T: jax.Array,
    attend: Mapping[model_config.LayerKind, attention.Attend],
    cache: cache_lib.Cache | None = None,
    live: quant.Live | None = None,
    taps: taps_lib.Taps | None = None,
  ) -> tuple[jax.Array, cache_lib.Cache]:
    """Runs all layers.

    Args:
      params: the weights.
      tokens_T: i32[T], of one sequence or one of each, as `attend` sees it.
      positions_T: i32[T], absolute.
      attend: how queries of each kind of layer reach keys; see `attention`.
      cache: one entry per layer, or None for a dense forward.
      live: rows that products are narrowed to.
      taps: what is read and added on the way.

    Returns:
      Hidden states after the last norm, f32[T, D], and the new cache.
    """
    cfg = self.config
    chex.assert_rank(tokens_T, 1)
    chex.assert_equal_shape([tokens_T, positions_T])
    if taps is None:
      taps = taps_lib.Taps(add=params.get(STEERING, {}))
    angles = self._angles(positions_T)
    x_TD = self._table.apply(
      {'params': params['embed']}, tokens_T, method='lookup'
    ) * jnp.float32(cfg.embed_scale)
    x_TD = taps.at('embed', x_TD)
    unrotated = rope.no_angles(*positions_T.shape, cfg.head_dim)
    rotates = cfg.rope_layers or (True,) * cfg.num_layers
    caches = cache or (None,) * cfg.num_layers
    new_caches = []
    for layer, kind in enumerate(cfg.layer_kinds):
      x_TD, layer_cache = _run_tapped(
          taps, layer, self._block(kind), params[f'layer_{layer}'], x_TD,
          angles[kind] if rotates[layer] else unrotated, attend[kind],
          caches[layer], live,
      )  # fmt: skip
      x_TD = taps.at(f'layer_{layer}', x_TD)
      new_caches.append(layer_cache)
    x_TD = taps.at('final_norm', self.norm(params, x_TD))
    return x_TD, tuple(new_caches)

  def norm(self, params: Params, x_TD: jax.Array) -> jax.Array:
    """The last norm, after which hidden states are scored."""
    return self._final_norm.apply({'params': params['final_norm']}, x_TD)

  def logits(
    self,
    params: Params,
    x_TD: jax.Array,
    live: quant.Live | None = None,
  ) -> jax.Array:
    """Scores hidden states against the vocabulary: f32[T, V]."""
    name = 'embed' if self.config.tie_embeddings else 'unembed'
    if self.layout is not None:
      live = sharding.narrowing(live)
    logits_TV = self._table.apply(
      {'params': params[name]},
      x_TD,
      live,
      method='score',
    )
    cap = self.config.final_softcap
    return logits_TV if cap is None else paged.soft_cap(logits_TV, cap)

  def dense(
    self,
    params: Params,
    tokens_T: jax.Array,
    taps: taps_lib.Taps | None = None,
  ) -> jax.Array:
    """Logits f32[T, V] of a whole sequence; no cache; differentiable."""
    positions_T = jnp.arange(tokens_T.shape[0])
    attend = dict.fromkeys(self.config.kinds, attention.Dense())
    x_TD, _ = self.hidden(params, tokens_T, positions_T, attend, taps=taps)
    return self.logits(params, x_TD)
