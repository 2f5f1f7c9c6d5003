"""What a quantization is: a weight in fewer bits, and what is known of it.

A scheme is one file: its weight, a subclass of `Quantized`, and a `Scheme` that
says when it serves. The table of all is `quant.SCHEMES`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
import dataclasses
import math
from typing import Any
from typing import Self

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from chatjax.nn import gate as gate_lib


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


# Rows that a product has to compute: by index, or as bool[T] in the programs of
# an engine on one device. None is all of them: a dense forward, or a mesh.
Live = LiveRows | jax.Array


class Quantized(abc.ABC):
  """A weight [*out, *in] that is no array of floats.

  Subclasses are pytrees. What is not overridden here takes each array of them
  to lead with the axes of the outputs, as its shards on a mesh do.

  Attributes:
    shape: of the weight.
    num_out_axes: how many of its leading axes are outputs.
  """

  shape: tuple[int, ...]
  num_out_axes: int

  @classmethod
  @abc.abstractmethod
  def empty(cls, shape: tuple[int, ...], num_out_axes: int) -> Self:
    """A weight as numpy arrays for `put_rows` to fill.

    Raises:
      config.ConfigError: a shape that cannot be kept so.
    """

  @classmethod
  @abc.abstractmethod
  def random(
    cls, key: jax.Array, shape: tuple[int, ...], num_out_axes: int
  ) -> Self:
    """Random numbers with a variance of about 1 / fan_in."""

  @classmethod
  def quantize(cls, w: np.ndarray, num_out_axes: int) -> Self:
    """Quantizes a whole weight f32[*out, *in] into numpy arrays."""
    made = cls.empty(w.shape, num_out_axes)
    w_NK = w.reshape(math.prod(w.shape[:num_out_axes]), -1)
    part = max(1, 2**20 // w_NK.shape[1])  # bounds the float temporaries
    for start in range(0, w_NK.shape[0], part):
      made.put_rows(start, w_NK[start : start + part])
    return made

  @abc.abstractmethod
  def put_rows(self, start: int, rows_NK: np.ndarray) -> None:
    """Quantizes some outputs, in place.

    Args:
      start: the first of the outputs.
      rows_NK: f32[n, K].
    """

  @abc.abstractmethod
  def matrix(self) -> Self:
    """The same weight as [N, K]."""

  @abc.abstractmethod
  def dequantize(self, dtype: Any = jnp.float32) -> jax.Array:
    """The weight as floats [*out, *in]."""

  @abc.abstractmethod
  def product(self, x_TK: jax.Array, live: Live | None) -> jax.Array:
    """`x @ w.T` of a matrix: f32[T, N]; see `quant.product`."""

  def take_rows(self, ids_T: jax.Array) -> jax.Array:
    """Some rows of a matrix: f32[T, K]."""
    return jax.tree.map(lambda x: x[ids_T], self).dequantize()

  def part(self, index: jax.Array, count: int) -> Self:
    """One of `count` equal parts of its outputs."""
    return jax.tree.map(lambda x: part_of(x, index, count), self)


def part_of(x: jax.Array, index: jax.Array, count: int) -> jax.Array:
  """One of `count` equal parts along the leading axis."""
  parts = x.reshape(count, -1, *x.shape[1:])
  return lax.dynamic_index_in_dim(parts, index, 0, keepdims=False)


def _everywhere(is_mesh: bool) -> bool:
  del is_mesh
  return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scheme:
  """A quantization.

  Attributes:
    storage: its name in checkpoints and in the fingerprint.
    dtype: what `--dtype` calls it. Several may have one name: the first of
      `quant.SCHEMES` that serves is meant.
    weight: the class of its weights.
    serves: whether it can be used on the default device, or on a mesh.
    is_narrowed: its products are exact, and compiled for fewer rows too.
    block: outputs that are packed together; those of an expert must be whole
      blocks.
    gate: the middle of a gated MLP; see `quant.gate`.
  """

  storage: str
  dtype: str
  weight: type[Quantized]
  serves: Callable[[bool], bool] = _everywhere
  is_narrowed: bool = False
  block: int = 1
  gate: Callable[[jax.Array, Live | None, str], jax.Array] = gate_lib.plain
