"""Weights in int8 with a scale per group of inputs, packed for the CPU kernel.

Ten times closer to float than one scale per channel, since the activations
have a scale per group too: a single large one no longer drowns a whole row.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np

from chatjax.native import kernels
from chatjax.nn import gate as gate_lib
from chatjax.nn import scheme

_GROUP, _BLOCK = kernels.GROUP, kernels.BLOCK
_LANES = 4  # inputs that stand together in a packed block
_OFFSET = 128  # packed weights are unsigned


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GroupedTensor(scheme.Quantized):
  """A weight [*out, *in] in the order in which the kernel reads it.

  Both sides are padded by zeros, the N outputs to blocks of 32, the K inputs
  to groups of 64.

  Attributes:
    packed: u8[blocks, groups * 16, 32, 4], the integers plus 128.
    scale: f32[blocks, groups, 32].
    shape: of the weight.
    num_out_axes: how many of its leading axes are outputs.
  """

  packed: jax.Array
  scale: jax.Array
  shape: tuple[int, ...] = dataclasses.field(metadata={'static': True})
  num_out_axes: int = dataclasses.field(metadata={'static': True})

  @classmethod
  def empty(cls, shape: tuple[int, ...], num_out_axes: int) -> Self:
    """A weight of zeros."""
    packed_shape, scale_shape = packed_shapes(shape, num_out_axes)
    return cls(
      np.full(packed_shape, _OFFSET, np.uint8),
      np.zeros(scale_shape, np.float32),
      tuple(shape),
      num_out_axes,
    )

  @classmethod
  def random(
    cls, key: jax.Array, shape: tuple[int, ...], num_out_axes: int
  ) -> Self:
    """Uniform integers."""
    packed_shape, scale_shape = packed_shapes(shape, num_out_axes)
    fan_in = math.prod(shape[num_out_axes:])
    packed = jax.random.randint(key, packed_shape, 1, 256, jnp.int32)
    scale = jnp.full(scale_shape, (3 / fan_in) ** 0.5 / 127, jnp.float32)
    return cls(packed.astype(jnp.uint8), scale, shape, num_out_axes)

  def put_rows(self, start: int, rows_NK: np.ndarray) -> None:
    values, scale = _quantize_rows(rows_NK)
    # Seen with a row in one piece; blocks and rows cannot be merged.
    packed_bNqk = self.packed.transpose(0, 2, 1, 3)
    scale_bNG = self.scale.transpose(0, 2, 1)
    done = 0
    while done < len(values):
      block, row = divmod(start + done, _BLOCK)
      if row == 0 and (whole := (len(values) - done) // _BLOCK):
        count = whole * _BLOCK
        place = (slice(block, block + whole),)
      else:
        count = min(_BLOCK - row, len(values) - done)
        place = (block, slice(row, row + count))
      for into, rows in ((packed_bNqk, values), (scale_bNG, scale)):
        into[place] = rows[done : done + count].reshape(into[place].shape)
      done += count

  def matrix(self) -> Self:
    """It is packed as one."""
    num_outputs = math.prod(self.shape[: self.num_out_axes])
    num_inputs = math.prod(self.shape[self.num_out_axes :])
    return dataclasses.replace(
      self, shape=(num_outputs, num_inputs), num_out_axes=1
    )

  def part(self, index: jax.Array, count: int) -> Self:
    """As a matrix; a part must be whole blocks."""
    num_outputs, num_inputs = self.matrix().shape
    return dataclasses.replace(
      super().part(index, count),
      shape=(num_outputs // count, num_inputs),
      num_out_axes=1,
    )

  def dequantize(self, dtype: Any = jnp.float32) -> jax.Array:
    w_NK = self.matrix()
    rows_NK = w_NK.take_rows(jnp.arange(w_NK.shape[0]))
    return rows_NK.reshape(self.shape).astype(dtype)

  def take_rows(self, ids_T: jax.Array) -> jax.Array:
    block_T, row_T = ids_T // _BLOCK, ids_T % _BLOCK
    values = self.packed[block_T, :, row_T].astype(jnp.float32) - _OFFSET
    scale_TG = self.scale[block_T, :, row_T]
    rows_TGk = values.reshape(*scale_TG.shape, _GROUP) * scale_TG[..., None]
    rows_TD = rows_TGk.reshape(ids_T.shape[0], -1)
    return rows_TD[:, : self.shape[1]]

  def product(self, x_TK: jax.Array, live_T: jax.Array | None) -> jax.Array:
    """Rows that are not live come back as zeros."""
    if live_T is None:
      live_T = jnp.ones(x_TK.shape[0], bool)
    return kernels.int8_product(
      x_TK.astype(jnp.float32), live_T, self.packed, self.scale,
      num_outputs=self.shape[0],
    )  # fmt: skip


def packed_shapes(
  shape: tuple[int, ...], num_out_axes: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """Shapes of `packed` and `scale` for a weight."""
  blocks = -(-math.prod(shape[:num_out_axes]) // _BLOCK)
  groups = -(-math.prod(shape[num_out_axes:]) // _GROUP)
  quads = groups * _GROUP // _LANES
  return (blocks, quads, _BLOCK, _LANES), (blocks, groups, _BLOCK)


def _quantize_rows(w_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Rows as u8[N, quads, 4] and their scales f32[N, G]."""
  groups = -(-w_NK.shape[1] // _GROUP)
  padding = ((0, 0), (0, groups * _GROUP - w_NK.shape[1]))
  w_NGk = np.pad(w_NK, padding) if padding[1][1] else w_NK
  w_NGk = w_NGk.reshape(-1, groups, _GROUP)
  peak_NG = np.maximum(w_NGk.max(axis=2), -w_NGk.min(axis=2))
  scale_NG = np.abs(peak_NG).astype(np.float32) / np.float32(127)
  # A scale below the normal numbers is too coarse to keep |value| <= 127.
  scale_NG[scale_NG < np.finfo(np.float32).tiny] = 0
  divisor_NG = np.where(scale_NG == 0, 1, scale_NG)
  values = w_NGk / divisor_NG[..., None]
  np.rint(values, out=values)
  values += _OFFSET
  return values.astype(np.uint8).reshape(len(w_NK), -1, _LANES), scale_NG


def _gate(
  x_T2F: jax.Array, live_T: jax.Array | None, activation: str
) -> jax.Array:
  """By the kernel, if it has the activation."""
  if activation not in gate_lib.NATIVE:
    return gate_lib.apply(x_T2F, activation)
  if live_T is None:
    live_T = jnp.ones(x_T2F.shape[0], bool)
  return kernels.gate(x_T2F, live_T, activation=activation)


INT8 = scheme.Scheme(
  storage='int8_grouped',
  dtype='int8',
  weight=GroupedTensor,
  # The kernels are opaque to the partitioner of a mesh.
  serves=lambda is_mesh: not is_mesh and kernels.is_available(),
  block=_BLOCK,
  gate=_gate,
)
