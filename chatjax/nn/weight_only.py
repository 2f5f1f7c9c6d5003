"""Integer weights with a scale per group of inputs; activations stay floats.

A group lies along the last axis of the inputs, and the scales have the axes of
the weight: so both are split alike over a mesh, by whole groups.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import ClassVar
from typing import Self

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from chatjax import config as config_lib
from chatjax.nn import floats
from chatjax.nn import scheme

_LEAST_GROUP = 8
_SCALE = np.dtype(ml_dtypes.bfloat16)


@dataclasses.dataclass(frozen=True)
class _Groups(scheme.Quantized):
  """`integers * scale`.

  Attributes:
    values: [*out, *in], or with several integers in each byte of the last axis.
    scale: bf16[*out, *in] with groups in place of the last axis.
    num_out_axes: how many leading axes are outputs.
  """

  values: jax.Array
  scale: jax.Array
  num_out_axes: int = dataclasses.field(metadata={'static': True})

  kind: ClassVar[np.dtype]
  per_byte: ClassVar[int]  # integers
  group: ClassVar[int]  # inputs at most that share a scale

  @property
  def shape(self) -> tuple[int, ...]:
    *axes, last = self.values.shape
    return (*axes, last * self.per_byte)

  @classmethod
  def shapes(
    cls, shape: tuple[int, ...]
  ) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Those of `values` and `scale`.

    Raises:
      config.ConfigError: inputs that cannot be cut into groups.
    """
    *axes, last = shape
    group = max(
      (g for g in range(1, cls.group + 1)
       if last % g == 0 and g % cls.per_byte == 0), default=1,
    )  # fmt: skip
    if group < _LEAST_GROUP:
      raise config_lib.ConfigError(
        f'The {last} inputs of a weight of shape {shape} cannot be cut into'
        f' groups of {_LEAST_GROUP} to {cls.group}; choose another dtype for'
        ' this model, as int8, bfloat16 or float32.'
      )
    return (*axes, last // cls.per_byte), (*axes, last // group)

  @classmethod
  def empty(cls, shape: tuple[int, ...], num_out_axes: int) -> Self:
    values_shape, scale_shape = cls.shapes(shape)
    return cls(
      np.empty(values_shape, cls.kind),
      np.empty(scale_shape, _SCALE),
      num_out_axes,
    )

  @classmethod
  @abc.abstractmethod
  def round(cls, w_nGg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers in `kind` as they are kept, [n, any], and bf16[n, G]."""

  @abc.abstractmethod
  def integers(self) -> jax.Array:
    """The integers as f32[..., G, g]."""

  def put_rows(self, start: int, rows_NK: np.ndarray) -> None:
    place = slice(start, start + len(rows_NK))
    scale_NG = self.scale.reshape(-1, self._per_row(self.scale))
    values = self.values.reshape(-1, self._per_row(self.values))
    w_nGg = rows_NK.reshape(len(rows_NK), scale_NG.shape[1], -1)
    values[place], scale_NG[place] = self.round(w_nGg)

  def _per_row(self, x) -> int:
    return math.prod(x.shape[self.num_out_axes :])

  def matrix(self) -> Self:
    arrays = (
      x.reshape(-1, self._per_row(x)) for x in (self.values, self.scale)
    )
    return type(self)(*arrays, 1)

  def dequantize(self) -> jax.Array:
    scale = self.scale[..., None].astype(jnp.float32)
    return (self.integers() * scale).reshape(self.shape)

  def product(self, x_TK: jax.Array, live: scheme.Live | None) -> jax.Array:
    return floats.converted_product(x_TK, self, type(self).dequantize, live)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Int8Groups(_Groups):
  """Integers up to 127."""

  kind: ClassVar[np.dtype] = np.dtype(np.int8)
  per_byte: ClassVar[int] = 1
  group: ClassVar[int] = 64

  @classmethod
  def round(cls, w_nGg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    peak_nG = np.maximum(w_nGg.max(axis=2), -w_nGg.min(axis=2))
    scale_nG = _rounded(peak_nG / np.float32(127))
    values = np.rint(w_nGg / _divisor(scale_nG))
    np.clip(values, -127, 127, out=values)
    return values.astype(cls.kind).reshape(len(w_nGg), -1), scale_nG

  @classmethod
  def random(
    cls, key: jax.Array, shape: tuple[int, ...], num_out_axes: int
  ) -> Self:
    values_shape, scale_shape = cls.shapes(shape)
    values = jax.random.randint(key, values_shape, -127, 128, jnp.int8)
    fan_in = math.prod(shape[num_out_axes:])
    scale = jnp.full(scale_shape, (3 / fan_in) ** 0.5 / 127, _SCALE)
    return cls(values, scale, num_out_axes)

  def integers(self) -> jax.Array:
    x = self.values.reshape(*self.scale.shape, -1)
    return x.astype(jnp.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Int4Groups(_Groups):
  """Integers from -8 to 7, two to a byte: the halves of a group.

      group  w_0 w_1 ... w_31    byte i = (w_i + 8) | (w_(i + 16) + 8) << 4

  The largest number of a group becomes -8 whatever its sign, so a scale may be
  negative: that is a fifth less error than integers from -7 to 7.
  """

  kind: ClassVar[np.dtype] = np.dtype(np.uint8)
  per_byte: ClassVar[int] = 2
  group: ClassVar[int] = 32

  @classmethod
  def round(cls, w_nGg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    high_nG, low_nG = w_nGg.max(axis=2), w_nGg.min(axis=2)
    peak_nG = np.where(high_nG > -low_nG, high_nG, low_nG)
    scale_nG = _rounded(peak_nG / np.float32(-8))
    values = np.rint(w_nGg / _divisor(scale_nG))
    np.clip(values, -8, 7, out=values)
    values += 8
    low, high = np.split(values.astype(cls.kind), 2, axis=2)
    return (low | high << 4).reshape(len(w_nGg), -1), scale_nG

  @classmethod
  def random(
    cls, key: jax.Array, shape: tuple[int, ...], num_out_axes: int
  ) -> Self:
    values_shape, scale_shape = cls.shapes(shape)
    values = jax.random.randint(key, values_shape, 0, 256, jnp.int32)
    fan_in = math.prod(shape[num_out_axes:])
    scale = jnp.full(scale_shape, (12 / 255 / fan_in) ** 0.5, _SCALE)
    return cls(values.astype(jnp.uint8), scale, num_out_axes)

  def integers(self) -> jax.Array:
    x = self.values.reshape(*self.scale.shape, -1)
    halves = jnp.concatenate([x & 15, x >> 4], axis=-1)
    return halves.astype(jnp.float32) - 8


def _rounded(scale: np.ndarray) -> np.ndarray:
  """Scales as they are kept; too small ones are none."""
  scale = scale.astype(_SCALE)
  scale[np.abs(scale) < ml_dtypes.finfo(_SCALE).tiny] = 0
  return scale


def _divisor(scale_nG: np.ndarray) -> np.ndarray:
  scale_nG = scale_nG.astype(np.float32)
  return np.where(scale_nG == 0, 1, scale_nG)[..., None]


INT8 = scheme.Scheme(
  storage='int8_weight', dtype='int8_weight', weight=Int8Groups
)
INT4 = scheme.Scheme(
  storage='int4_weight', dtype='int4_weight', weight=Int4Groups
)
