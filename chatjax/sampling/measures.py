"""What a row of logits says beside its tokens: how unsure it is, who is first.

Of the model's own distribution, as raw log-probabilities are.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from chatjax.sampling import padded
from chatjax.sampling import tiles


def entropy(row: padded.Row, log_z: jax.Array) -> jax.Array:
  """-sum(p log p) in nats, f32: 0 if one token is certain, log(V) if none is.

  Args:
    row: of logits.
    log_z: f32, its `logprobs.log_normalizer_of`.
  """
  logprob_U = row.logits_U - log_z
  is_open_U = row.logits_U > -jnp.inf
  # 0 * log 0 is 0; and in a gradient no branch not taken may be infinite.
  logprob_U = jnp.where(is_open_U, logprob_U, 0.0)
  share_U = jnp.where(is_open_U, -jnp.exp(logprob_U) * logprob_U, 0.0)
  return jnp.sum(tiles.fold(jnp.sum, jnp.add, share_U))


def rank(row: padded.Row, token: jax.Array) -> jax.Array:
  """A token's place by (logit descending, id ascending), i32; 1 is the first.

  The order in which top_k counts, and in which temperature 0 takes the first.

  Args:
    row: of logits.
    token: i32.
  """
  logit = row.logits_U[token]
  id_U = jnp.arange(row.logits_U.shape[0], dtype=jnp.int32)
  is_before_U = (row.logits_U > logit) | (
    (row.logits_U == logit) & (id_U < token)
  )
  counts = tiles.fold(jnp.sum, jnp.add, is_before_U.astype(jnp.int32))
  return 1 + jnp.sum(counts)
