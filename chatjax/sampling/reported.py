"""Which log-probabilities a row reports.

RAW: under the model's own logits. TEMPERED: under those at the row's
temperature. SAMPLED: under what its token was drawn from, with penalties,
biases, masks and cuts; what could not be drawn has -inf there.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from chatjax.sampling import padded
from chatjax.sampling import sampler
from chatjax.sampling import tiles

RAW, TEMPERED, SAMPLED = range(3)
MODES = {'raw': RAW, 'tempered': TEMPERED, 'sampled': SAMPLED}


def row(
  raw: padded.Row,
  processed: padded.Row,
  params: sampler.SamplingParams,
  *,
  mode: jax.Array,
) -> padded.Row:
  """The logits of the reported distribution.

  Args:
    raw: the model's own.
    processed: what the token is drawn from.
    params: of the row.
    mode: i32, one of `MODES` but RAW, which is `raw` as it is.
  """
  uncut = dataclasses.replace(
    params,
    top_k=jnp.zeros_like(params.top_k),
    top_p=jnp.ones_like(params.top_p),
    min_p=jnp.zeros_like(params.min_p),
  )

  def choose(tempered, sampled):
    return jnp.where(mode == TEMPERED, tempered, sampled)

  logits_U = sampler.drawn_logits(
    jax.tree.map(choose, raw, processed), jax.tree.map(choose, uncut, params)
  )
  return padded.Row(logits_U, tiles.largest(logits_U), raw.vocab_size)
