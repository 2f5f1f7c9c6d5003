"""Exact masses of weighted tokens, and the draw by inverse distribution.

A weight is a float32 in [0, 1], the likeliest token's being 1. Its mass is
the integer floor(weight * 2**44), so a token less than 2**-44 times as
likely as the likeliest has none. Masses are added as integers: whatever
path adds them, in whatever order, gets the same sums to the last bit, and a
draw over them cannot pick a token without mass.

Rows are padded to whole tiles (`tiles`), [U] instead of [V].
"""

from __future__ import annotations

import math

import jax
from jax import lax
import jax.numpy as jnp

from chatjax.sampling import tiles
from chatjax.sampling import wide

# Inside a tile the draw looks up a line first, then a token of it.
_LINE = 128

# A mass has two limbs of 22 bits: both exact in a float32 of 24 bits, and
# sums of a whole tile stay below 2**31 ...
_LIMB_BITS = 22
ONE = 1 << (2 * _LIMB_BITS)
# ... and the mass of a whole vocabulary below 2**64.
MAX_VOCAB = (1 << (64 - 2 * _LIMB_BITS)) - tiles.TILE


def limbs(weight: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The high and low 22 bits of masses, i32; every step is exact."""
  scale = math.ldexp(1.0, _LIMB_BITS)
  scaled = weight * scale
  high = jnp.floor(scaled)
  low = (scaled - high) * scale
  return high.astype(jnp.int32), low.astype(jnp.int32)


def of_each(weight_N: jax.Array) -> wide.U64:
  """The mass of each token of a short vector."""
  return _from_limbs(*limbs(weight_N))


def total(weight_U: jax.Array) -> wide.U64:
  """The mass of a whole row."""
  return total_of_limbs(limbs(weight_U))


def total_of_limbs(limbs_U: tuple[jax.Array, jax.Array]) -> wide.U64:
  """The mass of a row whose weights were split before, by `limbs`."""
  return wide.total(_of_tiles(limbs_U))


def draw(weight_U: jax.Array, words: jax.Array) -> jax.Array:
  """Draws a token by inverse distribution in ascending id.

  Args:
    weight_U: f32[U].
    words: u32[2], the uniform of `keys.uniform_words`.

  Returns:
    i32, the first token whose running mass exceeds floor(u * total). As u is
    below 1 that is a token with mass, at u = 0 and next to 1 too.
  """
  tiles_X = _of_tiles(limbs(weight_U))
  point, _ = wide.multiply(wide.U64(words[0], words[1]), wide.total(tiles_X))
  return _find(weight_U, tiles_X, point)


def first_above(weight_U: jax.Array, point: wide.U64) -> jax.Array:
  """The first token, i32, at which the running mass exceeds `point`."""
  return _find(weight_U, _of_tiles(limbs(weight_U)), point)


def fraction(p: jax.Array, whole: wide.U64) -> wide.U64:
  """The least mass, at least 1, that is no smaller than p * whole.

  Args:
    p: f32 in [0, 1), taken as a fraction of 32 bits.
    whole: a mass.
  """
  bits = (p * 2.0**32).astype(jnp.uint32)
  floor, rest = wide.multiply(wide.U64(bits, jnp.uint32(0)), whole)
  has_rest = (rest.hi | rest.lo) > 0
  ceil = wide.add(floor, wide.U64(jnp.uint32(0), has_rest.astype(jnp.uint32)))
  is_zero = (ceil.hi | ceil.lo) == 0
  return wide.where(is_zero, wide.constant(1), ceil)


def log(mass: wide.U64) -> jax.Array:
  """The natural logarithm of mass / ONE, f32."""
  scale = math.ldexp(1.0, -2 * _LIMB_BITS)
  return jnp.log(
    mass.hi.astype(jnp.float32) * (scale * 2.0**32)
    + mass.lo.astype(jnp.float32) * scale
  )


def _from_limbs(high: jax.Array, low: jax.Array) -> wide.U64:
  """Joins limbs, or sums of limbs, below 2**31: high * 2**22 + low."""
  high, low = high.astype(jnp.uint32), low.astype(jnp.uint32)
  return wide.add(
    wide.U64(high >> (32 - _LIMB_BITS), high << _LIMB_BITS),
    wide.U64(jnp.zeros_like(low), low),
  )


def _of_tiles(limbs_U: tuple[jax.Array, jax.Array]) -> wide.U64:
  """The mass of every tile, [X]."""
  sums = [tiles.fold(jnp.sum, jnp.add, limb_U) for limb_U in limbs_U]
  return wide.total(_from_limbs(*sums))


def _find(weight_U, tiles_X, point):
  tile, point = _descend(tiles_X, point)
  weight_YZ = lax.dynamic_slice_in_dim(
    weight_U, tile * tiles.TILE, tiles.TILE
  ).reshape(-1, _LINE)
  high_YZ, low_YZ = limbs(weight_YZ)
  lines_Y = _from_limbs(jnp.sum(high_YZ, axis=1), jnp.sum(low_YZ, axis=1))
  line, point = _descend(lines_Y, point)
  lane, _ = _descend(of_each(weight_YZ[line]), point)
  return tile * tiles.TILE + line * _LINE + lane


def _descend(masses_N, point):
  """The entry in which `point` lies, and how far into it."""
  N = masses_N.lo.shape[0]
  after_N = wide.running_total(masses_N)
  passed_N = ~wide.less(point, after_N)
  # A point beyond the row (nothing has mass) must still give an index.
  index = jnp.minimum(jnp.sum(passed_N.astype(jnp.int32)), N - 1)
  before = wide.subtract(
    wide.U64(after_N.hi[index], after_N.lo[index]),
    wide.U64(masses_N.hi[index], masses_N.lo[index]),
  )
  return index, wide.subtract(point, before)
