"""Raw log-probabilities: natural logarithms under the model's own logits.

Penalties, biases, masks, temperature and truncation do not touch them.
"""

from __future__ import annotations

import jax
from jax import lax
import jax.numpy as jnp

from chatjax import types
from chatjax.sampling import mass
from chatjax.sampling import padded
from chatjax.sampling import ranking

MAX_TOP = types.MAX_TOP_LOGPROBS


def log_normalizer(logits_V: jax.Array) -> jax.Array:
  """log(sum(exp(logits))), f32.

  The sum is one of integers (see `mass`), so its bits do not depend on how
  rows are batched. The result is NaN for a broken row: one that holds NaN
  or +inf, or nothing but -inf.
  """
  return log_normalizer_of(padded.row(logits_V))


def log_normalizer_of(row: padded.Row) -> jax.Array:
  """The same of a padded row. Its gradient is the softmax."""
  return _log_z(row.logits_U, row.top)


@jax.custom_jvp
def _log_z(logits_U: jax.Array, top: jax.Array) -> jax.Array:
  weight_U = lax.optimization_barrier(jnp.exp(logits_U - top))
  log_z = top + mass.log(mass.total(weight_U))
  return jnp.where(jnp.isfinite(top), log_z, jnp.nan)


@_log_z.defjvp
def _log_z_jvp(primals, tangents):
  # Sums of integers have no gradient; that of what they stand for is known.
  logits_U, top = primals
  log_z = _log_z(logits_U, top)
  return log_z, jnp.sum(jnp.exp(logits_U - log_z) * tangents[0])


def top_row(
  row: padded.Row, log_z: jax.Array, wanted: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The likeliest tokens by (logit descending, id ascending).

  Args:
    row: of logits.
    log_z: f32, its `log_normalizer_of`.
    wanted: bool; under `lax.map` a row that does not ask costs nothing.

  Returns:
    ids i32[MAX_TOP] and log-probabilities f32[MAX_TOP]; -1 and -inf where
    not wanted and past the end of a small vocabulary.
  """
  nothing = (
    jnp.full(MAX_TOP, -1, jnp.int32),
    jnp.full(MAX_TOP, -jnp.inf, jnp.float32),
  )

  def best():
    logit_k, token_k = ranking.best(row.logits_U, MAX_TOP)
    is_token_k = token_k < row.vocab_size
    return (
      jnp.where(is_token_k, token_k, nothing[0]),
      jnp.where(is_token_k, logit_k - log_z, nothing[1]),
    )

  return lax.cond(wanted, best, lambda: nothing)
