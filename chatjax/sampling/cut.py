"""Where top_k and top_p cut the row.

The tokens of a row are ranked by (logit descending, id ascending). Both
parameters keep a prefix of that ranking, so a cut is the last token kept.
It is found among the best few candidates, or, where a test on the row's own
exact masses says that these do not reach far enough, by bisection over the
whole row. Both give the same cut to the token.

  top_k: Fan, Lewis, Dauphin 2018, arXiv:1805.04833.
  top_p: Holtzman et al. 2020, arXiv:1904.09751.
"""

from __future__ import annotations

import dataclasses

import jax
from jax import lax
import jax.numpy as jnp

from chatjax.sampling import mass
from chatjax.sampling import ranking
from chatjax.sampling import wide

CANDIDATES = 256


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cut:
  """The last token kept.

  Attributes:
    logit: f32.
    token: i32, its id; among equal logits, lower ids are kept too.
    fell_back: bool, whether it took the bisection to find it.
  """

  logit: jax.Array
  token: jax.Array
  fell_back: jax.Array

  def keeps(self, logits_U: jax.Array) -> jax.Array:
    """bool[U]: which tokens of the row are kept."""
    id_U = jnp.arange(logits_U.shape[0], dtype=jnp.int32)
    is_tie_U = (logits_U == self.logit) & (id_U <= self.token)
    return (logits_U > self.logit) | is_tie_U


def everything() -> Cut:
  """The cut that keeps every token that has a probability."""
  return Cut(jnp.float32(-jnp.inf), jnp.int32(-1), jnp.bool_(False))


def find(
  logits_U: jax.Array,
  weight_U: jax.Array,
  top_k: jax.Array,
  top_p: jax.Array,
) -> Cut:
  """Finds the cut of top_k, then top_p on what it left, renormalised.

  Args:
    logits_U: f32[U], finite or -inf; -0.0 must be written as 0.0.
    weight_U: f32[U], exp(logits / temperature) over its largest.
    top_k: i32, 0 for off.
    top_p: f32, 1 for off.
  """
  is_off = (top_k <= 0) & (top_p >= 1)

  def by_either():
    cut, is_exact = by_candidates(logits_U, weight_U, top_k, top_p)
    return lax.cond(
      is_exact,
      lambda: cut,
      lambda: by_bisection(
        logits_U, weight_U, top_k, top_p, wanted=~is_off & ~is_exact
      ),
    )

  return lax.cond(is_off, everything, by_either)


def by_candidates(
  logits_U: jax.Array,
  weight_U: jax.Array,
  top_k: jax.Array,
  top_p: jax.Array,
) -> tuple[Cut, jax.Array]:
  """Finds the cut among the best 256 tokens.

  Arguments are those of `find`; top_k or top_p must be on.

  Returns:
    The cut, and whether it is proven: bool.
  """
  logit_C, token_C = ranking.best(logits_U, CANDIDATES)
  mass_C = wide.running_total(mass.of_each(weight_U[token_C]))
  has_k, has_p = top_k > 0, top_p < 1
  last_k = jnp.clip(top_k - 1, 0, CANDIDATES - 1)
  left = lax.cond(
    has_k,
    lambda: wide.U64(mass_C.hi[last_k], mass_C.lo[last_k]),
    lambda: mass.total(weight_U),
  )
  short_C = wide.less(mass_C, mass.fraction(top_p, left))
  last_p = jnp.sum(short_C.astype(jnp.int32))
  last = jnp.where(has_k, last_k, CANDIDATES - 1)
  last = jnp.where(has_p, jnp.minimum(last_p, last), last)
  is_exact = jnp.where(has_k, top_k <= CANDIDATES, last_p < CANDIDATES)
  return Cut(logit_C[last], token_C[last], jnp.bool_(False)), is_exact


def by_bisection(
  logits_U: jax.Array,
  weight_U: jax.Array,
  top_k: jax.Array,
  top_p: jax.Array,
  *,
  wanted: jax.Array,
) -> Cut:
  """Finds the cut by bisection over the bits of the logits.

  Args:
    logits_U: as in `find`.
    weight_U: as in `find`.
    top_k: as in `find`.
    top_p: as in `find`.
    wanted: bool. Under `vmap` a branch not taken is computed all the same;
      the loops then run only as long as some row wants them.
  """

  def stage(cut, is_p):
    # Counting is weighing with weight 1.
    left_U = jnp.where(cut.keeps(logits_U), weight_U, 0.0)
    stage_U = jnp.where(is_p, left_U, 1.0)
    k = jnp.clip(top_k, 0, logits_U.shape[0]).astype(jnp.uint32)
    _, count = wide.multiply(
      wide.U64(jnp.zeros_like(k), k), wide.constant(mass.ONE)
    )
    share = mass.fraction(top_p, mass.total(left_U))
    target = wide.where(is_p, share, count)
    is_on = jnp.where(is_p, top_p < 1, top_k > 0)
    return _prefix(logits_U, stage_U, target, cut, wanted & is_on), None

  cut, _ = lax.scan(stage, everything(), jnp.array([False, True]))
  return cut


def _prefix(
  logits_U: jax.Array,
  weight_U: jax.Array,
  target: wide.U64,
  otherwise: Cut,
  wanted: jax.Array,
) -> Cut:
  """The cut of the shortest prefix whose mass reaches `target`."""
  rank_U = ranking.sortable(logits_U)

  limbs_U = mass.limbs(weight_U)

  def mass_from(rank):
    is_in_U = rank_U >= rank
    return mass.total_of_limbs(
      jax.tree.map(lambda limb_U: jnp.where(is_in_U, limb_U, 0), limbs_U)
    )

  def body(carry):
    # `rank` holds the bits of the cut found so far, from the top.
    bit, rank = carry
    trial = rank | bit
    reaches = ~wide.less(mass_from(trial), target)
    return bit >> 1, jnp.where(reaches, trial, rank)

  def search():
    _, rank = lax.while_loop(
      lambda carry: wanted & (carry[0] > 0),
      body,
      (jnp.uint32(1 << 31), jnp.uint32(0)),
    )
    above = mass_from(rank + jnp.uint32(1))
    missing = wide.subtract(wide.subtract(target, above), wide.constant(1))
    ties_U = jnp.where(rank_U == rank, weight_U, 0.0)
    token = mass.first_above(ties_U, missing)
    return Cut(ranking.unsortable(rank), token, jnp.bool_(True))

  return lax.cond(wanted, search, lambda: otherwise)
