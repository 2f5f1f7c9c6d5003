"""A row of logits as the sampler reads it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from chatjax.sampling import ranking
from chatjax.sampling import tiles


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Row:
  """Logits in whole tiles. Made once, since making it is a pass over them.

  Attributes:
    logits_U: f32[U], -inf behind the vocabulary, -0.0 written as 0.0.
    top: f32, the largest; +inf if there is NaN.
    vocab_size: V; static.
  """

  logits_U: jax.Array
  top: jax.Array
  vocab_size: int = dataclasses.field(metadata={'static': True})


def row(logits_V: jax.Array) -> Row:
  """Pads f32[V]."""
  logits_U = tiles.pad(ranking.plain_zeros(logits_V), -jnp.inf)
  return Row(logits_U, tiles.largest(logits_U), logits_V.shape[0])
