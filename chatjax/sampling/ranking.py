"""Tokens ranked by (logit descending, id ascending)."""

from __future__ import annotations

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from chatjax.sampling import tiles

_GROUP = 16
_SIGN = np.uint32(1 << 31)


def best(logits_U: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
  """The first k of the ranking.

  `lax.top_k` over the maxima of groups of 16 neighbours, then over the k
  best groups: a tenth of the work. A group not among these has k groups
  before it, each with a token that ranks before all of its own.

  Args:
    logits_U: f32[U]; no NaN, and -0.0 written as 0.0: `top_k` puts it below.
    k: static; U / 16 at most.

  Returns:
    Logits f32[k] and ids i32[k].
  """
  logits_GN = logits_U.reshape(-1, _GROUP)
  _, group_k = lax.top_k(jnp.max(logits_GN, axis=1), k)
  # Back to ascending ids, so that `top_k` breaks ties by them.
  group_k = jnp.sort(group_k)
  logit_k, place_k = lax.top_k(logits_GN[group_k].reshape(-1), k)
  return logit_k, group_k[place_k // _GROUP] * _GROUP + place_k % _GROUP


def first_argmax(logits_U: jax.Array, largest: jax.Array) -> jax.Array:
  """The lowest id, i32, at which the row equals its largest value.

  Several times faster on the CPU than `jnp.argmax`, which is not vectorised.
  A row without such a value (NaN) gives the last id.
  """
  U = logits_U.shape[0]
  id_U = jnp.arange(U, dtype=jnp.int32)
  return tiles.smallest(jnp.where(logits_U == largest, id_U, U - 1))


def sortable(logits: jax.Array) -> jax.Array:
  """Maps floats to u32 that compare like them."""
  bits = lax.bitcast_convert_type(logits, jnp.uint32)
  is_negative = bits >= _SIGN
  return jnp.where(is_negative, ~bits, bits | _SIGN)


def unsortable(rank: jax.Array) -> jax.Array:
  """The inverse of `sortable`."""
  is_negative = rank < _SIGN
  bits = jnp.where(is_negative, ~rank, rank ^ _SIGN)
  return lax.bitcast_convert_type(bits, jnp.float32)


@jax.custom_jvp
def plain_zeros(logits: jax.Array) -> jax.Array:
  """Writes -0.0 as 0.0."""
  return jnp.where(logits == 0, 0.0, logits)


@plain_zeros.defjvp
def _plain_zeros_jvp(primals, tangents):
  # A zero moves, too.
  return plain_zeros(*primals), tangents[0]
