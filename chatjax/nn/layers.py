"""The small layers: linear, RMS norm, token embedding.

Activations are float32 between layers; a product casts its input to the
dtype of its weight (or to int8).
"""

from __future__ import annotations

import math

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from chatjax.nn import param
from chatjax.nn import quant
from chatjax.nn import sharding


class Linear(nn.Module):
  """A linear map between grouped axes.

  Attributes:
    out_shape, out_axes: sizes and logical names of the outputs.
    in_shape, in_axes: the same of the contracted inputs.
    dtype: how the weight is kept; see `param.ParamSpec`.
    is_split: an output axis that is not the first is split over a mesh. The
      partitioner would gather the weight to make a matrix of it.
  """

  out_shape: tuple[int, ...]
  out_axes: tuple[str, ...]
  in_shape: tuple[int, ...]
  in_axes: tuple[str, ...]
  dtype: str
  use_bias: bool = False
  is_split: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, live: quant.Live | None = None) -> jax.Array:
    """Maps float[T, *in_shape] to f32[T, *out_shape]."""
    spec = param.ParamSpec(
      shape=self.out_shape + self.in_shape,
      axes=self.out_axes + self.in_axes,
      num_out_axes=len(self.out_shape),
      dtype=self.dtype,
    )
    w = param.declare(self, 'w', spec)
    x_TK = x.reshape(x.shape[0], math.prod(self.in_shape))
    if not self.is_split:
      w = quant.matrix(w, math.prod(self.out_shape))
    y = quant.product(x_TK, w, live)
    y = y.reshape(x.shape[0], *self.out_shape)
    if self.use_bias:
      bias_spec = param.ParamSpec(
        shape=self.out_shape, axes=self.out_axes, fill=0.0
      )
      y = y + param.declare(self, 'b', bias_spec)[None]
    return y


class RMSNorm(nn.Module):
  """Root-mean-square norm over the last axis, in float32.

  Attributes:
    eps: added to the mean square.
    offset: added to the factor.
  """

  eps: float
  offset: float = 0.0

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    axis = 'head_dim' if x.ndim == 3 else 'embed'
    w_D = param.declare(
        self, 'w',
        param.ParamSpec(shape=x.shape[-1:], axes=(axis,), fill=1.0),
    )  # fmt: skip
    x = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    if self.offset:
      w_D = w_D + self.offset
    w = w_D.reshape((1,) * (x.ndim - 1) + w_D.shape)
    return x * lax.rsqrt(mean_square + self.eps) * w


class Table(nn.Module):
  """A [vocabulary, embed] table: looks ids up, or scores hidden states."""

  vocab_size: int
  embed_dim: int
  dtype: str
  layout: sharding.Layout | None = None

  def setup(self):
    spec = param.ParamSpec(
      shape=(self.vocab_size, self.embed_dim),
      axes=('vocab', 'embed'),
      dtype=self.dtype,
    )
    self.w = param.declare(self, 'w', spec)

  def lookup(self, ids_T: jax.Array) -> jax.Array:
    """Returns f32[T, D]."""
    if self.layout is None:
      return quant.take_rows(self.w, ids_T)
    return self.layout.take_rows(self.w, ids_T)

  def score(self, x_TD: jax.Array, live: quant.Live | None = None) -> jax.Array:
    """Returns logits f32[T, V]."""
    logits_TV = quant.product(x_TD, self.w, live)
    if self.layout is None:
      return logits_TV
    return self.layout.by_vocabulary(logits_TV)
