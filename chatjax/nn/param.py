"""One declaration per parameter: shape, logical axes, quantization.

The same `ParamSpec` gives the random initialisation and, through
`jax.eval_shape`, the abstract tree that checkpoints are restored into.
"""

from __future__ import annotations

import dataclasses
import math

from flax import linen as nn
import jax
import jax.numpy as jnp

from chatjax.nn import quant


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParamSpec:
  """A parameter before it has a value.

  Attributes:
    shape: outputs first, inputs last; a product contracts the inputs.
    axes: logical axis name per dimension.
    num_out_axes: leading axes that are outputs; the rest are inputs.
    dtype: a storage of `quant.SCHEMES` makes a weight of that, anything else an
      array of that dtype.
    fill: initial value of every element; None draws from N(0, 1/fan_in).
  """

  shape: tuple[int, ...]
  axes: tuple[str, ...]
  num_out_axes: int = 1
  dtype: str = 'float32'
  fill: float | None = None

  def init(self, key: jax.Array) -> quant.Weight:
    """Draws the parameter."""
    if self.fill is not None:
      return jnp.full(self.shape, self.fill, self.dtype)
    if self.dtype in quant.SCHEMES:
      weight = quant.SCHEMES[self.dtype].weight
      return weight.random(key, self.shape, self.num_out_axes)
    stddev = math.prod(self.shape[self.num_out_axes :]) ** -0.5
    draw = jax.random.normal(key, self.shape, jnp.float32) * stddev
    return draw.astype(self.dtype)


def declare(module: nn.Module, name: str, spec: ParamSpec) -> quant.Weight:
  """Declares a parameter of `module`; its logical axes travel in a box."""
  return module.param(name, nn.with_logical_partitioning(spec.init, spec.axes))
