"""Measures drawn tokens, for the rows that asked for it.

A pass of its own after the draw, so that drawing is the same program code
whether anybody asks or not.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax import lax
import jax.numpy as jnp

from chatjax.engine import state as state_lib
from chatjax.sampling import logprobs
from chatjax.sampling import measures
from chatjax.sampling import padded
from chatjax.sampling import processors
from chatjax.sampling import sampler


def of_row(
  logits_V: jax.Array,
  row: state_lib.RowState,
  edits: Callable[[], state_lib.Edits],
  token: jax.Array,
) -> state_lib.Measured:
  """Measures one row's drawn token.

  Args:
    logits_V: the model's own.
    row: of one sequence, as it was drawn; its own edits are not read.
    edits: gives the row's.
    token: i32, -1 if none was drawn.
  """

  def measure():
    raw = padded.row(logits_V)
    log_z = logprobs.log_normalizer_of(raw)
    return state_lib.Measured(
      entropy=measures.entropy(raw, log_z),
      rank=measures.rank(raw, token),
      free=_free_draw(logits_V, row, edits),
    )

  is_wanted = row.is_measured & (token >= 0)
  return lax.cond(is_wanted, measure, state_lib.not_measured)


def _free_draw(logits_V, row, edits) -> jax.Array:
  """What the row draws without a mask."""
  processed_V = row.edited(logits_V, edits)
  processed_V = processors.mask_stops(
    processed_V, row.stop_ids, row.step, row.params.min_tokens
  )
  free, _ = sampler.draw_row(
    padded.row(processed_V), row.params, key=row.key, step=row.step
  )
  return free


def of_rows(
  is_wanted_B: jax.Array,
  one: Callable[[jax.Array], state_lib.Measured],
  *,
  is_mapped: bool,
) -> state_lib.Measured:
  """Measures all rows; nothing is run if none of them asked.

  Args:
    is_wanted_B: bool[B].
    one: number of a row -> what `of_row` gives.
    is_mapped: whether rows run one after the other.
  """
  rows_B = jnp.arange(is_wanted_B.shape[0])

  def nothing():
    return jax.vmap(lambda b: state_lib.not_measured())(rows_B)

  def every():
    return lax.map(one, rows_B) if is_mapped else jax.vmap(one)(rows_B)

  return lax.cond(jnp.any(is_wanted_B), every, nothing)
