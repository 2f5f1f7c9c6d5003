"""Weights of four bits with a scale per group of inputs.

Activations stay floats. A group lies along the last axis of the inputs, and the
scales have the axes of the weight: so both are split alike over a mesh, by
whole groups.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any
from typing import Self

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from chatjax import config as config_lib
from chatjax.nn import floats
from chatjax.nn import scheme

_GROUPS = range(8, 33, 2)  # inputs that share a scale
_SCALE = np.dtype(ml_dtypes.bfloat16)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Int4Tensor(scheme.Quantized):
  """Integers from -8 to 7 times a scale, two to a byte: the halves of a group.

      group  w_0 w_1 ... w_31    byte i = (w_i + 8) | (w_(i + 16) + 8) << 4

  The largest number of a group becomes -8 whatever its sign, so a scale may be
  negative: that is a fifth less error than integers from -7 to 7.

  Attributes:
    packed: u8[*out, *in], the last axis half as long.
    scale: bf16[*out, *in], with groups in place of the last axis.
    num_out_axes: how many leading axes are outputs.
  """

  packed: jax.Array
  scale: jax.Array
  num_out_axes: int = dataclasses.field(metadata={'static': True})

  @property
  def shape(self) -> tuple[int, ...]:
    *axes, last = self.packed.shape
    return (*axes, 2 * last)

  @classmethod
  def empty(cls, shape: tuple[int, ...], num_out_axes: int) -> Self:
    packed_shape, scale_shape = _shapes(shape)
    return cls(
      np.empty(packed_shape, np.uint8),
      np.empty(scale_shape, _SCALE),
      num_out_axes,
    )

  @classmethod
  def random(
    cls, key: jax.Array, shape: tuple[int, ...], num_out_axes: int
  ) -> Self:
    packed_shape, scale_shape = _shapes(shape)
    packed = jax.random.randint(key, packed_shape, 0, 256, jnp.int32)
    fan_in = math.prod(shape[num_out_axes:])
    scale = jnp.full(scale_shape, (12 / 255 / fan_in) ** 0.5, _SCALE)
    return cls(packed.astype(jnp.uint8), scale, num_out_axes)

  def put_rows(self, start: int, rows_NK: np.ndarray) -> None:
    place = slice(start, start + len(rows_NK))
    w_NK = self.matrix()
    w_nGg = rows_NK.reshape(len(rows_NK), w_NK.scale.shape[1], -1)
    packed_nGh, scale_nG = _quantize(w_nGg)
    w_NK.packed[place] = packed_nGh.reshape(len(rows_NK), -1)
    w_NK.scale[place] = scale_nG

  def matrix(self) -> Self:
    num_outputs = math.prod(self.shape[: self.num_out_axes])
    arrays = (x.reshape(num_outputs, -1) for x in (self.packed, self.scale))
    return Int4Tensor(*arrays, 1)

  def dequantize(self, dtype: Any = jnp.float32) -> jax.Array:
    halves = self.packed.reshape(*self.scale.shape, -1)
    values = jnp.concatenate([halves & 15, halves >> 4], axis=-1)
    scale = self.scale[..., None].astype(dtype)
    return ((values.astype(dtype) - 8) * scale).reshape(self.shape)

  def product(self, x_TK: jax.Array, live: scheme.Live | None) -> jax.Array:
    return floats.converted_product(
      x_TK, self, Int4Tensor.dequantize, live, fuses=False
    )


def _shapes(
  shape: tuple[int, ...],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """Those of `packed` and `scale`; groups are as large as they can be.

  Raises:
    config.ConfigError: inputs that cannot be cut into groups.
  """
  *axes, last = shape
  group = max((g for g in _GROUPS if last % g == 0), default=None)
  if group is None:
    raise config_lib.ConfigError(
      f'The {last} inputs of a weight of shape {shape} cannot be cut into'
      f' groups of an even number from {_GROUPS[0]} to {_GROUPS[-1]}, as'
      ' int4_weight has them; choose int8, int8_weight, bfloat16 or float32.'
    )
  return (*axes, last // 2), (*axes, last // group)


def _quantize(w_nGg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Groups as u8[n, G, g / 2] and their scales bf16[n, G]."""
  high_nG, low_nG = w_nGg.max(axis=2), w_nGg.min(axis=2)
  peak_nG = np.where(high_nG > -low_nG, high_nG, low_nG)
  scale_nG = (peak_nG / np.float32(-8)).astype(_SCALE)
  # One below the normal numbers is too coarse.
  scale_nG[np.abs(scale_nG) < ml_dtypes.finfo(_SCALE).tiny] = 0
  divisor_nG = scale_nG.astype(np.float32)
  divisor_nG[divisor_nG == 0] = 1
  values = w_nGg / divisor_nG[..., None]
  np.rint(values, out=values)
  values += 8
  np.clip(values, 0, 15, out=values)
  low, high = np.split(values.astype(np.uint8), 2, axis=2)
  return low | high << 4, scale_nG


WEIGHT = scheme.Scheme(
  storage='int4_weight', dtype='int4_weight', weight=Int4Tensor
)
