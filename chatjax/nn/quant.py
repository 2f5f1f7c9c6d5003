"""The one matrix product that all layers use, for every form of a weight.

Without the native kernel an int8 weight has one scale per output channel. An
int8 x int8 -> int32 product is exact, so its result does not depend on how many
rows it is given. The float work around it is not: XLA may vectorize it
differently at another row count. So all float work runs at the program's full
row count, and only the integer product is narrowed to the live rows, fenced
off by optimization barriers that keep XLA from fusing across the border.
"""

from __future__ import annotations

import dataclasses
import math

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from chatjax.native import kernels
from chatjax.nn import grouped

_MIN_SCALE = 1e-8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QTensor:
  """A weight with one scale per output channel: `values * scale`.

  Attributes:
    values: i8[*out, *in].
    scale: f32[*out].
  """

  values: jax.Array
  scale: jax.Array

  @property
  def shape(self) -> tuple[int, ...]:
    return self.values.shape


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LiveRows:
  """Which rows of a program an integer product has to compute.

  Attributes:
    rows: i32[W], the live rows, padded by repetition.
    inverse: i32[B], where row b stands in `rows`; any value for a dead row.
  """

  rows: jax.Array
  inverse: jax.Array


# What a layer may multiply by, and which rows it has to: the live ones by
# index for XLA's product, or as bool[T] for the native one.
Weight = jax.Array | QTensor | grouped.GroupedTensor
Live = LiveRows | jax.Array

# Forms of weights that are not arrays.
QUANTIZED = ('int8_grouped', 'int8_channel')


def storage(dtype: str) -> str:
  """How weights of a dtype are kept on this machine.

  'int8' is grouped where the native kernel can run.
  """
  if dtype == 'int8':
    return 'int8_grouped' if kernels.is_available() else 'int8_channel'
  return dtype


def is_weight(x: object) -> bool:
  """Whether a node of a parameter tree is a quantized weight."""
  return isinstance(x, QTensor | grouped.GroupedTensor)


def empty(shape: tuple[int, ...], num_out_axes: int) -> QTensor:
  """A weight as numpy arrays for `put_rows` to fill."""
  return QTensor(
    np.empty(shape, np.int8), np.empty(shape[:num_out_axes], np.float32)
  )


def quantize(w: np.ndarray, num_out_axes: int) -> QTensor:
  """Quantizes a float array to int8, symmetric, one scale per output channel.

  Args:
    w: f32[*out, *in], on the host.
    num_out_axes: how many leading axes are outputs.

  Returns:
    A QTensor of numpy arrays.
  """
  made = empty(w.shape, num_out_axes)
  w_NK = w.reshape(math.prod(w.shape[:num_out_axes]), -1)
  part = max(1, 2**20 // w_NK.shape[1])  # bounds the float temporaries
  for start in range(0, w_NK.shape[0], part):
    put_rows(made, start, w_NK[start : start + part])
  return made


def put_rows(w: QTensor, start: int, rows_NK: np.ndarray) -> None:
  """Quantizes some outputs of a weight, in place.

  Args:
    w: numpy arrays, as `empty` makes them.
    start: the first of the outputs.
    rows_NK: f32[n, K].
  """
  peak_N = np.abs(np.maximum(rows_NK.max(axis=1), -rows_NK.min(axis=1)))
  scale_N = peak_N.astype(np.float32) / np.float32(127)
  scale_N = np.maximum(scale_N, np.float32(_MIN_SCALE))
  values_NK = rows_NK / scale_N[:, None]
  np.rint(values_NK, out=values_NK)
  place = slice(start, start + len(rows_NK))
  w.values.reshape(-1, rows_NK.shape[1])[place] = values_NK
  w.scale.reshape(-1)[place] = scale_N


def _quantize_rows(x_TK: jax.Array) -> tuple[jax.Array, jax.Array]:
  peak_T1 = jnp.max(jnp.abs(x_TK), axis=-1, keepdims=True)
  scale_T1 = jnp.maximum(peak_T1 / 127, _MIN_SCALE)
  return jnp.round(x_TK / scale_T1).astype(jnp.int8), scale_T1


def _int8_product(
  x_TK: jax.Array, w_NK: QTensor, live: Live | None
) -> jax.Array:
  q_TK, scale_T1 = _quantize_rows(x_TK.astype(jnp.float32))
  q_TK, scale_T1 = lax.optimization_barrier((q_TK, scale_T1))
  is_narrow = isinstance(live, LiveRows)
  q_WK = q_TK[live.rows] if is_narrow else q_TK
  # Weights stand left: twice as fast as `x @ w.T` on a CPU.
  inner = w_NK.values.ndim - 1
  y_NW = lax.dot_general(
      w_NK.values, q_WK, (((inner,), (1,)), ((), ())),
      preferred_element_type=jnp.int32,
  )  # fmt: skip
  y_WN = jnp.moveaxis(y_NW, -1, 0)
  y_TN = y_WN[live.inverse] if is_narrow else y_WN
  y_TN = lax.optimization_barrier(y_TN)
  scale_T1 = scale_T1.reshape(-1, *[1] * inner)
  return y_TN.astype(jnp.float32) * scale_T1 * w_NK.scale[None]


def _float_product(
  x_TK: jax.Array, w_NK: jax.Array, live: Live | None
) -> jax.Array:
  # A program of the engine says which rows live; a dense forward, which has to
  # have a gradient, does not.
  if isinstance(live, jax.Array) and kernels.is_available():
    x_TK = x_TK.astype(jnp.float32)
    if w_NK.dtype == jnp.bfloat16:
      # A cast there and back is one that XLA may leave out.
      x_TK = lax.reduce_precision(x_TK, exponent_bits=8, mantissa_bits=7)
    return kernels.float_product(x_TK, live, w_NK)
  return lax.dot_general(
      x_TK.astype(w_NK.dtype), w_NK, (((1,), (w_NK.ndim - 1,)), ((), ())),
      preferred_element_type=jnp.float32,
  )  # fmt: skip


def product(
  x_TK: jax.Array, w_NK: Weight, live: Live | None = None
) -> jax.Array:
  """`x @ w.T` in float32.

  Args:
    x_TK: float[T, K].
    w_NK: float[N, K] or a quantized weight of that shape. Of XLA's products,
      N may be several axes.
    live: rows that a product may be narrowed to; the others come back as
      something finite. XLA's product of floats computes all rows.

  Returns:
    f32[T, N].
  """
  if isinstance(w_NK, grouped.GroupedTensor):
    return grouped.product(x_TK, w_NK, live)
  if isinstance(w_NK, QTensor):
    return _int8_product(x_TK, w_NK, live)
  return _float_product(x_TK, w_NK, live)


def take_rows(table_VD: Weight, ids_T: jax.Array) -> jax.Array:
  """Looks rows of an embedding table up, in float32."""
  if isinstance(table_VD, grouped.GroupedTensor):
    return grouped.take_rows(table_VD, ids_T)
  if isinstance(table_VD, QTensor):
    rows_TD = table_VD.values[ids_T].astype(jnp.float32)
    return rows_TD * table_VD.scale[ids_T][:, None]
  return table_VD[ids_T].astype(jnp.float32)
