"""The one generic decoder: differences between families are config fields."""

from __future__ import annotations

from flax import linen as nn
import jax
import jax.numpy as jnp

from chatjax import config as config_lib
from chatjax.nn import attention
from chatjax.nn import cache as cache_lib
from chatjax.nn import layers
from chatjax.nn import quant
from chatjax.nn import rope

_ACTIVATIONS = {
  'silu': jax.nn.silu,
  'gelu_tanh': lambda x: jax.nn.gelu(x, approximate=True),
}


class MLP(nn.Module):
  """Gated feed-forward: down(act(gate(x)) * up(x)) (arXiv:2002.05202)."""

  config: config_lib.ModelConfig
  dtype: str

  @nn.compact
  def __call__(
    self, x_TD: jax.Array, live: quant.LiveRows | None = None
  ) -> jax.Array:
    cfg = self.config
    gate_up_T2F = layers.Linear(
        out_shape=(2, cfg.mlp_dim), out_axes=('gate_up', 'mlp'),
        in_shape=(cfg.embed_dim,), in_axes=('embed',),
        dtype=self.dtype, name='gate_up',
    )(x_TD, live)  # fmt: skip
    activate = _ACTIVATIONS[cfg.activation]
    hidden_TF = activate(gate_up_T2F[:, 0]) * gate_up_T2F[:, 1]
    return layers.Linear(
        out_shape=(cfg.embed_dim,), out_axes=('embed',),
        in_shape=(cfg.mlp_dim,), in_axes=('mlp',),
        dtype=self.dtype, name='down',
    )(hidden_TF, live)  # fmt: skip


class Block(nn.Module):
  """Attention and MLP with their norms and residual connections."""

  config: config_lib.ModelConfig
  layer: int
  dtype: str

  @nn.compact
  def __call__(self, x_TD, angles, attend, cache, live=None):
    cfg = self.config

    def norm(name):
      return layers.RMSNorm(cfg.norm_eps, name=name)

    h_TD, cache = attention.Attention(cfg, self.layer, self.dtype, name='attn')(
      norm('attn_norm')(x_TD), angles, attend, cache, live
    )
    if cfg.post_norms:
      h_TD = norm('post_attn_norm')(h_TD)
    x_TD = x_TD + h_TD
    h_TD = MLP(cfg, self.dtype, name='mlp')(norm('mlp_norm')(x_TD), live)
    if cfg.post_norms:
      h_TD = norm('post_mlp_norm')(h_TD)
    return x_TD + h_TD, cache


class Transformer(nn.Module):
  """Token ids to hidden states, hidden states to logits.

  Attributes:
    config: sizes and control flow.
    dtype: of the weights: 'int8', 'bfloat16' or 'float32'.
  """

  config: config_lib.ModelConfig
  dtype: str

  def setup(self):
    cfg = self.config
    self.embed = layers.Table(cfg.vocab_size, cfg.embed_dim, self.dtype)
    self.blocks = [
      Block(cfg, layer, self.dtype, name=f'layer_{layer}')
      for layer in range(cfg.num_layers)
    ]
    self.final_norm = layers.RMSNorm(cfg.norm_eps)
    if not cfg.tie_embeddings:
      self.unembed = layers.Table(cfg.vocab_size, cfg.embed_dim, self.dtype)

  def __call__(
    self,
    tokens_T: jax.Array,
    positions_T: jax.Array,
    attend: attention.Attend,
    cache: cache_lib.Cache | None = None,
    live: quant.LiveRows | None = None,
  ) -> tuple[jax.Array, cache_lib.Cache]:
    """Runs all layers.

    Args:
      tokens_T: i32[T], of one sequence or one of each, as `attend` sees it.
      positions_T: i32[T], absolute.
      attend: how queries reach keys; see `attention`.
      cache: one entry per layer, or None for a dense forward.
      live: rows that integer products are narrowed to.

    Returns:
      Hidden states after the last norm, f32[T, D], and the new cache.
    """
    cfg = self.config
    angles = {
      theta: rope.angles(positions_T, head_dim=cfg.head_dim, theta=theta)
      for theta in {cfg.theta(layer) for layer in range(cfg.num_layers)}
    }
    x_TD = self.embed.lookup(tokens_T) * jnp.float32(cfg.embed_scale)
    caches = cache or (None,) * cfg.num_layers
    new_caches = []
    for layer, block in enumerate(self.blocks):
      x_TD, layer_cache = block(
        x_TD, angles[cfg.theta(layer)], attend, caches[layer], live
      )
      new_caches.append(layer_cache)
    return self.final_norm(x_TD), tuple(new_caches)

  def logits(
    self, x_TD: jax.Array, live: quant.LiveRows | None = None
  ) -> jax.Array:
    """Scores hidden states against the vocabulary: f32[T, V]."""
    table = self.embed if self.config.tie_embeddings else self.unembed
    return table.score(x_TD, live)

  def dense(self, tokens_T: jax.Array) -> jax.Array:
    """Logits of one whole sequence without a cache; differentiable."""
    positions_T = jnp.arange(tokens_T.shape[0])
    x_TD, _ = self(tokens_T, positions_T, attention.dense)
    return self.logits(x_TD)


def abstract_params(config: config_lib.ModelConfig, dtype: str):
  """The parameter tree as shapes and dtypes; no memory is taken."""
  model = Transformer(config, dtype)
  boxed = jax.eval_shape(
    lambda key: model.init(key, jnp.zeros(2, jnp.int32), method='dense'),
    jax.random.key(0),
  )
  return nn.unbox(boxed)['params']


def init_params(config: config_lib.ModelConfig, dtype: str, key: jax.Array):
  """Random parameters."""
  model = Transformer(config, dtype)
  boxed = model.init(key, jnp.zeros(2, jnp.int32), method='dense')
  return nn.unbox(boxed)['params']
