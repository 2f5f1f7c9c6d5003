"""A vocabulary padded to whole tiles, and reductions over it.

  U = X * 16 * 512     X tiles of 16 lines (Y) of 512 tokens (Z)

XLA's CPU compiler turns a reduction of a whole row, or one that it can merge
with the next, into a loop over single numbers, several times slower than
memory. One that runs down 16 lines is done on whole vectors. The sums of
slices after it are what keeps the two from being merged.
"""

from __future__ import annotations

from collections.abc import Callable
import functools

import jax
from jax import lax
import jax.numpy as jnp

_LINES, _LANES = 16, 512
TILE = _LINES * _LANES


def pad(row_V: jax.Array, value) -> jax.Array:
  """Pads a row [V] to whole tiles [U]."""
  V = row_V.shape[0]
  row_U = jnp.full(V + -V % TILE, value, row_V.dtype)
  return lax.dynamic_update_slice(row_U, row_V, (0,))


def fold(
  reduce: Callable[..., jax.Array],
  combine: Callable[[jax.Array, jax.Array], jax.Array],
  row_U: jax.Array,
) -> jax.Array:
  """Reduces every tile to 32 numbers, [X, 32].

  Args:
    reduce: such as `jnp.sum`; over 256 numbers each.
    combine: the same of two numbers, such as `jnp.add`.
    row_U: [U].
  """
  row_XZ = reduce(row_U.reshape(-1, _LINES, _LANES), axis=1)
  row_XYZ = row_XZ.reshape(-1, 16, _LANES // 16)
  return functools.reduce(combine, [row_XYZ[:, y] for y in range(16)])


def largest(row_U: jax.Array) -> jax.Array:
  """The row's maximum; +inf if it holds NaN.

  Not left to `max` itself: XLA's CPU library may drop a NaN.
  """
  row_U = jnp.where(jnp.isnan(row_U), jnp.inf, row_U)
  return jnp.max(fold(jnp.max, jnp.maximum, row_U))


def smallest(row_U: jax.Array) -> jax.Array:
  """The row's minimum."""
  return jnp.min(fold(jnp.min, jnp.minimum, row_U))
