"""Weights of 8 bits with a scale per output.

The activations are of 8 bits too, with a scale per row, or stay floats.

An int8 x int8 -> int32 product is exact, so its result does not depend on how
many rows it is given. The float work around it is not: XLA may vectorize it
differently at another row count. So all float work runs at the program's full
row count, and only the integer product is narrowed to the live rows, fenced
off by optimization barriers that keep XLA from fusing across the border.

A product of two numbers in float8 is exact in float32, but their sum is not:
it is computed at one width, as other products of floats are.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import Any
from typing import ClassVar
from typing import Self

import jax
from jax import lax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from chatjax.nn import floats
from chatjax.nn import scheme

_MIN_SCALE = 1e-8


@dataclasses.dataclass(frozen=True)
class _Channels(scheme.Quantized):
  """`values * scale`.

  Attributes:
    values: [*out, *in], of 8 bits each.
    scale: f32[*out].
  """

  values: jax.Array
  scale: jax.Array

  kind: ClassVar[np.dtype]
  peak: ClassVar[int]  # of the values

  @property
  def shape(self) -> tuple[int, ...]:
    return self.values.shape

  @property
  def num_out_axes(self) -> int:
    return self.scale.ndim

  @classmethod
  def empty(cls, shape: tuple[int, ...], num_out_axes: int) -> Self:
    return cls(
      np.empty(shape, cls.kind), np.empty(shape[:num_out_axes], np.float32)
    )

  @classmethod
  @abc.abstractmethod
  def round(cls, x):
    """Numbers up to `peak`, in numpy or in JAX, as `kind`."""

  def put_rows(self, start: int, rows_NK: np.ndarray) -> None:
    peak_N = np.abs(np.maximum(rows_NK.max(axis=1), -rows_NK.min(axis=1)))
    scale_N = peak_N.astype(np.float32) / np.float32(self.peak)
    scale_N = np.maximum(scale_N, np.float32(_MIN_SCALE))
    place = slice(start, start + len(rows_NK))
    values_NK = self.values.reshape(-1, rows_NK.shape[1])
    values_NK[place] = self.round(rows_NK / scale_N[:, None])
    self.scale.reshape(-1)[place] = scale_N

  def matrix(self) -> Self:
    num_outputs = math.prod(self.scale.shape)
    return type(self)(
      self.values.reshape(num_outputs, -1), self.scale.reshape(num_outputs)
    )

  def dequantize(self, dtype: Any = jnp.float32) -> jax.Array:
    ones = (1,) * (self.values.ndim - self.scale.ndim)
    scale = self.scale.reshape(*self.scale.shape, *ones)
    return (self.values.astype(jnp.float32) * scale).astype(dtype)

  def round_rows(self, x_TK: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Activations as the values are, and a scale for each row: f32[T, 1]."""
    x_TK = x_TK.astype(jnp.float32)
    peak_T1 = jnp.max(jnp.abs(x_TK), axis=-1, keepdims=True)
    scale_T1 = jnp.maximum(peak_T1 / self.peak, _MIN_SCALE)
    q_TK = self.round(x_TK / scale_T1)
    return lax.optimization_barrier((q_TK, scale_T1))

  def scaled(self, y_TN: jax.Array, scale_T1: jax.Array) -> jax.Array:
    """A product of rounded rows with the values; N may be several axes."""
    ones = (1,) * self.scale.ndim
    return y_TN * scale_T1.reshape(-1, *ones) * self.scale[None]


@dataclasses.dataclass(frozen=True)
class _Integers(_Channels):
  """Up to 127."""

  kind: ClassVar[np.dtype] = np.dtype(np.int8)
  peak: ClassVar[int] = 127

  @classmethod
  def round(cls, x):
    if isinstance(x, np.ndarray):
      return np.rint(x, out=x).astype(cls.kind)
    return jnp.round(x).astype(cls.kind)

  @classmethod
  def random(
    cls, key: jax.Array, shape: tuple[int, ...], num_out_axes: int
  ) -> Self:
    fan_in = math.prod(shape[num_out_axes:])
    values = jax.random.randint(key, shape, -127, 128, jnp.int8)
    return cls(
      values, jnp.full(shape[:num_out_axes], (3 / fan_in) ** 0.5 / 127)
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Int8Tensor(_Integers):
  """A weight of integers that multiplies integers."""

  def product(self, x_TK: jax.Array, live: scheme.Live | None) -> jax.Array:
    q_TK, scale_T1 = self.round_rows(x_TK)
    is_narrow = isinstance(live, scheme.LiveRows)
    q_WK = q_TK[live.rows] if is_narrow else q_TK
    # Weights stand left: twice as fast as `x @ w.T` on a CPU.
    inner = self.values.ndim - 1
    y_NW = lax.dot_general(
        self.values, q_WK, (((inner,), (1,)), ((), ())),
        preferred_element_type=jnp.int32,
    )  # fmt: skip
    y_WN = jnp.moveaxis(y_NW, -1, 0)
    y_TN = y_WN[live.inverse] if is_narrow else y_WN
    y_TN = lax.optimization_barrier(y_TN)
    return self.scaled(y_TN.astype(jnp.float32), scale_T1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Int8Weight(_Integers):
  """A weight of integers that multiplies floats."""

  def product(self, x_TK: jax.Array, live: scheme.Live | None) -> jax.Array:
    y_TN = floats.converted_product(x_TK, self.values, _as, live, fuses=True)
    return y_TN * self.scale[None]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Float8Tensor(_Channels):
  """Floats with four bits of exponent and three of mantissa, up to 448."""

  kind: ClassVar[np.dtype] = np.dtype(ml_dtypes.float8_e4m3fn)
  peak: ClassVar[int] = 448

  @classmethod
  def round(cls, x):
    return x.astype(cls.kind)

  @classmethod
  def random(
    cls, key: jax.Array, shape: tuple[int, ...], num_out_axes: int
  ) -> Self:
    fan_in = math.prod(shape[num_out_axes:])
    values = 64 * jax.random.truncated_normal(key, -7.0, 7.0, shape)
    scale = jnp.full(shape[:num_out_axes], fan_in**-0.5 / 64)
    return cls(cls.round(values), scale)

  def product(self, x_TK: jax.Array, live: scheme.Live | None) -> jax.Array:
    q_TK, scale_T1 = self.round_rows(x_TK)
    if jax.default_backend() == 'gpu':
      y_TN = floats.product(q_TK, self.values, None)
    else:
      # XLA for a CPU has no slices of float8: it makes float16 of the whole.
      bytes_NK = lax.bitcast_convert_type(self.values, jnp.uint8)
      y_TN = floats.converted_product(
        q_TK, bytes_NK, _from_bytes, live, fuses=True
      )
    return self.scaled(y_TN, scale_T1)


def _from_bytes(values: jax.Array, dtype: Any) -> jax.Array:
  return lax.bitcast_convert_type(values, Float8Tensor.kind).astype(dtype)


def _as(values: jax.Array, dtype: Any) -> jax.Array:
  return values.astype(dtype)


INT8 = scheme.Scheme(
  storage='int8_channel', dtype='int8', weight=Int8Tensor, is_narrowed=True
)
INT8_WEIGHT = scheme.Scheme(
  storage='int8_weight', dtype='int8_weight', weight=Int8Weight
)
FLOAT8 = scheme.Scheme(storage='fp8', dtype='fp8', weight=Float8Tensor)
