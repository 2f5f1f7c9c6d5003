"""Weights in int8 with a scale per group of inputs, packed for the CPU kernel.

Ten times closer to float than one scale per channel, since the activations
have a scale per group too: a single large one no longer drowns a whole row.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from chatjax.native import kernels

_GROUP, _BLOCK = kernels.GROUP, kernels.BLOCK
_LANES = 4  # inputs that stand together in a packed block
_OFFSET = 128  # packed weights are unsigned


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GroupedTensor:
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

  @property
  def num_outputs(self) -> int:
    return math.prod(self.shape[: self.num_out_axes])


def packed_shapes(
  shape: tuple[int, ...], num_out_axes: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """Shapes of `packed` and `scale` for a weight."""
  blocks = -(-math.prod(shape[:num_out_axes]) // _BLOCK)
  groups = -(-math.prod(shape[num_out_axes:]) // _GROUP)
  quads = groups * _GROUP // _LANES
  return (blocks, quads, _BLOCK, _LANES), (blocks, groups, _BLOCK)


def empty(shape: tuple[int, ...], num_out_axes: int) -> GroupedTensor:
  """A weight of zeros, as numpy arrays for `put_rows` to fill."""
  packed_shape, scale_shape = packed_shapes(shape, num_out_axes)
  return GroupedTensor(
    np.full(packed_shape, _OFFSET, np.uint8),
    np.zeros(scale_shape, np.float32),
    tuple(shape),
    num_out_axes,
  )


def quantize(w: np.ndarray, num_out_axes: int) -> GroupedTensor:
  """Quantizes a float array, symmetric, and packs it.

  Args:
    w: f32[*out, *in], on the host.
    num_out_axes: how many leading axes are outputs.

  Returns:
    A GroupedTensor of numpy arrays.
  """
  made = empty(w.shape, num_out_axes)
  w_NK = w.reshape(math.prod(w.shape[:num_out_axes]), -1)
  part = max(1, 2**20 // w_NK.shape[1])  # bounds the float temporaries
  for start in range(0, w_NK.shape[0], part):
    put_rows(made, start, w_NK[start : start + part])
  return made


def put_rows(w: GroupedTensor, start: int, rows_NK: np.ndarray) -> None:
  """Quantizes some outputs of a weight and packs them, in place.

  Args:
    w: numpy arrays, as `empty` makes them.
    start: the first of the outputs.
    rows_NK: f32[n, K].
  """
  values, scale = _quantize_rows(rows_NK)
  # Seen with a row in one piece; blocks and rows cannot be merged.
  packed_bNqk = w.packed.transpose(0, 2, 1, 3)
  scale_bNG = w.scale.transpose(0, 2, 1)
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


def random(
  key: jax.Array, shape: tuple[int, ...], num_out_axes: int
) -> GroupedTensor:
  """Uniform integers, scaled to a variance of 1 / fan_in."""
  packed_shape, scale_shape = packed_shapes(shape, num_out_axes)
  fan_in = math.prod(shape[num_out_axes:])
  packed = jax.random.randint(key, packed_shape, 1, 256, jnp.int32)
  scale = jnp.full(scale_shape, (3 / fan_in) ** 0.5 / 127, jnp.float32)
  return GroupedTensor(packed.astype(jnp.uint8), scale, shape, num_out_axes)


def dequantize(w: GroupedTensor) -> jax.Array:
  """The weight as f32[*out, *in]."""
  num_outputs = w.num_outputs
  rows_NK = take_rows(
    dataclasses.replace(
      w, shape=(num_outputs, math.prod(w.shape[w.num_out_axes :])),
      num_out_axes=1,
    ),
    jnp.arange(num_outputs),
  )  # fmt: skip
  return rows_NK.reshape(w.shape)


def take_rows(table_VD: GroupedTensor, ids_T: jax.Array) -> jax.Array:
  """Looks rows of an embedding table up: f32[T, D]."""
  block_T, row_T = ids_T // _BLOCK, ids_T % _BLOCK
  values = table_VD.packed[block_T, :, row_T].astype(jnp.float32) - _OFFSET
  scale_TG = table_VD.scale[block_T, :, row_T]
  rows_TGk = values.reshape(*scale_TG.shape, _GROUP) * scale_TG[..., None]
  rows_TD = rows_TGk.reshape(ids_T.shape[0], -1)
  return rows_TD[:, : table_VD.shape[1]]


def gate(
  x_T2F: jax.Array, live_T: jax.Array | None, activation: str
) -> jax.Array:
  """`act(gate) * up` of a gated MLP by the kernel: f32[T, F]."""
  if live_T is None:
    live_T = jnp.ones(x_T2F.shape[0], bool)
  return kernels.gate(x_T2F, live_T, activation=activation)


def product(
  x_TK: jax.Array, w_NK: GroupedTensor, live_T: jax.Array | None
) -> jax.Array:
  """`x @ w.T` in float32; rows that are not live come back as zeros."""
  if live_T is None:
    live_T = jnp.ones(x_TK.shape[0], bool)
  return kernels.int8_product(
    x_TK.astype(jnp.float32), live_T, w_NK.packed, w_NK.scale,
    num_outputs=w_NK.num_outputs,
  )  # fmt: skip
