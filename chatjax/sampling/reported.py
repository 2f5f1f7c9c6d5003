"""Which log-probabilities a row reports.

RAW: under the model's own logits. TEMPERED: under those at the row's
temperature. SAMPLED: under what its token was drawn from, with penalties,
biases, masks and cuts; what could not be drawn has -inf there.
"""

from __future__ import annotations

import dataclasses

import jax
from jax import lax
import jax.numpy as jnp

from chatjax.sampling import sampler

RAW, TEMPERED, SAMPLED = range(3)
MODES = {'raw': RAW, 'tempered': TEMPERED, 'sampled': SAMPLED}


def logits(
  logits_V: jax.Array,
  processed_V: jax.Array,
  params: sampler.SamplingParams,
  *,
  mode: jax.Array,
) -> jax.Array:
  """Logits f32[V] of the reported distribution.

  Args:
    logits_V: f32[V], the model's own.
    processed_V: f32[V], what the token is drawn from.
    params: of the row.
    mode: i32, one of `MODES`.
  """
  uncut = dataclasses.replace(
    params,
    top_k=jnp.zeros_like(params.top_k),
    top_p=jnp.ones_like(params.top_p),
    min_p=jnp.zeros_like(params.min_p),
  )

  def at_temperature():
    is_tempered = mode == TEMPERED
    from_V = jnp.where(is_tempered, logits_V, processed_V)
    cuts = jax.tree.map(
      lambda off, on: jnp.where(is_tempered, off, on), uncut, params
    )
    return sampler.drawn_logits(from_V, cuts)

  return lax.cond(mode == RAW, lambda: logits_V, at_temperature)
