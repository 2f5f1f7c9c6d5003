"""The one matrix product that all layers use, for every form of a weight.

`SCHEMES` is the table of quantizations: what else has to know of one, from
conversion to meshes, asks it.
"""

from __future__ import annotations

from collections.abc import Mapping
import types

import jax
import jax.numpy as jnp

from chatjax.nn import channel
from chatjax.nn import floats
from chatjax.nn import gate as gate_lib
from chatjax.nn import grouped
from chatjax.nn import int4
from chatjax.nn import scheme

LiveRows, Live = scheme.LiveRows, scheme.Live

# What a layer may multiply by.
Weight = jax.Array | scheme.Quantized

# By storage. Of those with one dtype the first that serves is taken.
SCHEMES: Mapping[str, scheme.Scheme] = types.MappingProxyType({
    each.storage: each for each in (
        grouped.INT8, channel.INT8, channel.INT8_WEIGHT, int4.WEIGHT,
        channel.FLOAT8,
    )
})  # fmt: skip


def storage(dtype: str, *, is_mesh: bool = False) -> str:
  """How weights of a dtype are kept on this machine, or on a mesh."""
  for each in SCHEMES.values():
    if each.dtype == dtype and each.serves(is_mesh):
      return each.storage
  return dtype


def is_weight(x: object) -> bool:
  """Whether a node of a parameter tree is a quantized weight."""
  return isinstance(x, scheme.Quantized)


def is_narrowed(storage: str) -> bool:
  """Whether products are compiled for fewer rows than a program has."""
  return storage in SCHEMES and SCHEMES[storage].is_narrowed


def block(storage: str) -> int:
  """Outputs that are packed together."""
  return SCHEMES[storage].block if storage in SCHEMES else 1


def matrix(w: Weight, num_outputs: int) -> Weight:
  """A weight [*out, *in] as [N, K]."""
  return w.matrix() if is_weight(w) else w.reshape(num_outputs, -1)


def part(w: Weight, index: jax.Array, count: int) -> Weight:
  """One of `count` equal parts of a weight's outputs."""
  if is_weight(w):
    return w.part(index, count)
  return scheme.part_of(w, index, count)


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
  if is_weight(w_NK):
    return w_NK.product(x_TK, live)
  return floats.product(x_TK, w_NK, live)


def take_rows(table_VD: Weight, ids_T: jax.Array) -> jax.Array:
  """Looks rows of an embedding table up, in float32."""
  if is_weight(table_VD):
    return table_VD.take_rows(ids_T)
  return table_VD[ids_T].astype(jnp.float32)


def gate(
  storage: str, x_T2F: jax.Array, live: Live | None, activation: str
) -> jax.Array:
  """`act(gate) * up` of a gated MLP whose weights are kept so: f32[T, F]."""
  if storage in SCHEMES:
    return SCHEMES[storage].gate(x_T2F, live, activation)
  return gate_lib.apply(x_T2F, activation)
