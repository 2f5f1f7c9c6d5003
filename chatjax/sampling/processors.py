"""What changes a row of logits before the draw, in one visible order.

Pure functions `[V] -> [V]`. With neutral parameters each returns its input
bit for bit; -inf is a token that cannot be drawn.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from chatjax import types

# OpenAI: "values like -100 or 100 should result in a ban or exclusive
# selection". At and below -100 we ban for certain; +100 is just added.
_BAN = -100.0


def bias_row(logit_bias: Mapping[int, float], vocab_size: int) -> np.ndarray:
  """Makes the dense row f32[V] of a request's `logit_bias`, on the host.

  Raises:
    types.RequestError: an id outside the vocabulary, or a bias that is not
      a number.
  """
  row_V = np.zeros(vocab_size, np.float32)
  for token, bias in logit_bias.items():
    if not 0 <= token < vocab_size:
      raise types.RequestError(
        f'logit_bias names token {token}; the model has ids 0 to'
        f' {vocab_size - 1}.',
        param='logit_bias',
      )
    if not np.isfinite(bias):
      raise types.RequestError(
        f'logit_bias of token {token} is {bias}; pass a number from -100'
        ' to 100.',
        param='logit_bias',
      )
    row_V[token] = -np.inf if bias <= _BAN else bias
  return row_V


def repetition(
  logits_V: jax.Array, penalty: jax.Array, seen_V: jax.Array
) -> jax.Array:
  """Divides positive, multiplies negative logits of tokens seen before.

  Keskar et al. 2019 (CTRL), arXiv:1909.05858, section 4.1.

  Args:
    logits_V: f32[V].
    penalty: f32 above 0, 1 for off.
    seen_V: bool[V], in the prompt or generated.
  """
  scaled_V = jnp.where(logits_V > 0, logits_V / penalty, logits_V * penalty)
  return jnp.where(seen_V, scaled_V, logits_V)


def presence_and_frequency(
  logits_V: jax.Array,
  presence: jax.Array,
  frequency: jax.Array,
  counts_V: jax.Array,
) -> jax.Array:
  """Subtracts once per generated token and once per time it was generated.

  The formula of OpenAI's API guide.

  Args:
    logits_V: f32[V].
    presence: f32, 0 for off.
    frequency: f32, 0 for off.
    counts_V: i32[V], how often each token was generated.
  """
  times_V = counts_V.astype(jnp.float32)
  once_V = (counts_V > 0).astype(jnp.float32)
  return logits_V - presence * once_V - frequency * times_V


def allow(logits_V: jax.Array, allowed_V: jax.Array) -> jax.Array:
  """Masks what a grammar does not allow; no bias can bring it back."""
  return jnp.where(allowed_V, logits_V, -jnp.inf)


def mask_stops(
  logits_V: jax.Array,
  stop_ids_N: jax.Array,
  step: jax.Array,
  min_tokens: jax.Array,
) -> jax.Array:
  """Masks the ids that would end a choice before `min_tokens` tokens.

  Where nothing else is left to draw (a grammar that has come to its end)
  the stop ids stay: an end too early beats a token that is not allowed.

  Args:
    logits_V: f32[V].
    stop_ids_N: i32[N]; ids outside the vocabulary, such as the padding -1,
      mask nothing.
    step: i32, tokens generated so far.
    min_tokens: i32.
  """

  def mask():
    V = logits_V.shape[0]
    ids_N = jnp.where(stop_ids_N < 0, V, stop_ids_N)
    masked_V = logits_V.at[ids_N].set(-jnp.inf, mode='drop')
    return jnp.where(jnp.max(masked_V) > -jnp.inf, masked_V, logits_V)

  return lax.cond(step < min_tokens, mask, lambda: logits_V)
