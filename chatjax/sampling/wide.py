"""Unsigned 64-bit integers as pairs of 32-bit words.

Jax has no 64-bit integers unless x64 is switched on for the whole process.
Integer sums are exact, so they do not depend on the order that a compiler
chooses: not on the batch, not on the program, not on the device.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

_LINE = 16


class U64(NamedTuple):
  """The numbers hi * 2**32 + lo.

  Attributes:
    hi: u32[...].
    lo: u32[...], the same shape.
  """

  hi: jax.Array
  lo: jax.Array


def constant(value: int) -> U64:
  """A scalar."""
  return U64(jnp.uint32(value >> 32), jnp.uint32(value & 0xFFFFFFFF))


def add(a: U64, b: U64) -> U64:
  """Sum, wrapping."""
  lo = a.lo + b.lo
  carry = (lo < a.lo).astype(jnp.uint32)
  return U64(a.hi + b.hi + carry, lo)


def subtract(a: U64, b: U64) -> U64:
  """Difference, wrapping."""
  borrow = (a.lo < b.lo).astype(jnp.uint32)
  return U64(a.hi - b.hi - borrow, a.lo - b.lo)


def less(a: U64, b: U64) -> jax.Array:
  """Whether a < b."""
  return (a.hi < b.hi) | ((a.hi == b.hi) & (a.lo < b.lo))


def where(is_a: jax.Array, a: U64, b: U64) -> U64:
  """Selects."""
  return U64(jnp.where(is_a, a.hi, b.hi), jnp.where(is_a, a.lo, b.lo))


def total(a: U64, axis: int = -1) -> U64:
  """Sums at most 2**16 numbers along an axis, wrapping."""
  low = jnp.sum(a.lo & 0xFFFF, axis=axis)
  high = jnp.sum(a.lo >> 16, axis=axis) + (low >> 16)
  hi = jnp.sum(a.hi, axis=axis) + (high >> 16)
  return U64(hi, (high << 16) | (low & 0xFFFF))


def running_total(a_N: U64) -> U64:
  """Inclusive running sums of a short vector.

  Lines of 16 by masks, then the lines by masks: for a few hundred numbers
  several times faster on the CPU than a scan.
  """
  N = a_N.lo.shape[0]
  if N <= _LINE:
    return _masked_totals(a_N)
  lines = U64(*(jnp.pad(x, (0, -N % _LINE)).reshape(-1, _LINE) for x in a_N))
  within = jax.vmap(_masked_totals)(lines)
  upto_M = running_total(U64(within.hi[:, -1], within.lo[:, -1]))
  before_M = subtract(upto_M, U64(within.hi[:, -1], within.lo[:, -1]))
  sums = add(U64(before_M.hi[:, None], before_M.lo[:, None]), within)
  return U64(sums.hi.reshape(-1)[:N], sums.lo.reshape(-1)[:N])


def multiply(a: U64, b: U64) -> tuple[U64, U64]:
  """The 128-bit product as (high half, low half)."""
  zero = jnp.zeros_like(a.lo)
  low = _multiply_32(a.lo, b.lo)
  left, right = _multiply_32(a.hi, b.lo), _multiply_32(a.lo, b.hi)
  high = _multiply_32(a.hi, b.hi)
  # middle = low.hi + left.lo + right.lo, below 2**34.
  middle = add(add(U64(zero, low.hi), U64(zero, left.lo)), U64(zero, right.lo))
  high = add(high, U64(zero, left.hi))
  high = add(high, U64(zero, right.hi))
  high = add(high, U64(zero, middle.hi))
  return high, U64(middle.lo, low.lo)


def _multiply_32(a: jax.Array, b: jax.Array) -> U64:
  """The 64-bit product of two u32."""
  mask = jnp.uint32(0xFFFF)
  a_hi, a_lo, b_hi, b_lo = a >> 16, a & mask, b >> 16, b & mask
  low, left, right = a_lo * b_lo, a_hi * b_lo, a_lo * b_hi
  middle = (low >> 16) + (left & mask) + (right & mask)
  hi = a_hi * b_hi + (left >> 16) + (right >> 16) + (middle >> 16)
  return U64(hi, (middle << 16) | (low & mask))


def _masked_totals(a_N: U64) -> U64:
  i_N = jnp.arange(a_N.lo.shape[0], dtype=jnp.int32)
  upto_NN = i_N[:, None] >= i_N[None, :]
  zero = jnp.uint32(0)
  return total(U64(*(jnp.where(upto_NN, x[None, :], zero) for x in a_N)))
