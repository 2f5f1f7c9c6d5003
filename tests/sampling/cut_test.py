"""Both ways to find a cut, against a full sort, exactly."""

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chatjax.sampling import cut as cut_lib
from chatjax.sampling import ranking
from chatjax.sampling import tiles
from tests.sampling import oracle


@jax.jit
def both(logits_V, temperature, top_k, top_p):
  logits_U = tiles.pad(logits_V, -jnp.inf)
  weight_U = jnp.exp((logits_U - tiles.largest(logits_U)) / temperature)
  args = logits_U, weight_U, top_k, top_p
  fast, is_exact = cut_lib.by_candidates(*args)
  slow = cut_lib.by_bisection(*args, wanted=jnp.bool_(True))
  found = cut_lib.find(*args)
  keeps = [cut.keeps(logits_U) for cut in (fast, slow, found)]
  return weight_U, is_exact, keeps, found.fell_back


def check(logits_V, temperature=1.0, top_k=0, top_p=1.0):
  """Returns the number of tokens kept and whether it fell back."""
  V = len(logits_V)
  weight_U, is_exact, keeps, fell_back = both(
    np.float32(logits_V), np.float32(temperature), np.int32(top_k),
    np.float32(top_p),
  )  # fmt: skip
  weight_V = np.asarray(weight_U)[:V]
  want = oracle.kept(logits_V, weight_V, top_k, np.float32(top_p), 0.0)
  # Tokens without a probability may fall on either side.
  alive = {i for i in range(V) if logits_V[i] > -np.inf}
  fast, slow, found = (set(np.flatnonzero(keep)) & alive for keep in keeps)
  assert slow == want & alive
  assert found == want & alive
  if is_exact:
    assert fast == want & alive
  assert bool(fell_back) == (not is_exact)
  return len(found), bool(fell_back)


@st.composite
def rows(draw):
  rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
  V = 5000
  size = draw(st.sampled_from([1, 2, 17, 255, 256, 257, 1000, 5000]))
  spread = draw(st.sampled_from([0.0, 0.1, 1.0, 5.0, 30.0]))
  row_V = (rng.normal(size=V) * spread).astype(np.float32)
  if draw(st.booleans()):  # many ties, -0.0 among them
    row_V = np.round(row_V)
  row_V[rng.random(V) < draw(st.sampled_from([0.0, 0.5, 0.99]))] = -np.inf
  row_V[size:] = -np.inf
  row_V[rng.integers(size)] = draw(st.sampled_from([0.0, 3.0]))
  return np.where(row_V == 0, np.float32(0), row_V)


@settings(max_examples=60, deadline=None)
@given(
  rows(),
  st.sampled_from([0.05, 0.7, 1.0, 2.0]),
  st.sampled_from([0, 1, 2, 40, 255, 256, 257, 1000, 4999, 5000, 9000]),
  st.sampled_from([0.0, 1e-4, 0.25, 0.5, 0.95, 0.999999, 1.0]),
)
def test_cuts_equal_a_full_sort(row_V, temperature, top_k, top_p):
  if top_k or top_p < 1:
    check(row_V, temperature, top_k, top_p)


@pytest.mark.parametrize(
  ('top_k', 'top_p', 'kept', 'fell_back'),
  [
    (256, 1.0, 256, False),
    (257, 1.0, 257, True),
    (0, 0.5, 2500, True),
    (1000, 0.5, 500, True),
    (100, 0.5, 50, False),
    (0, 0.03125, 157, False),
  ],
)
def test_flat_rows_keep_the_lowest_ids(top_k, top_p, kept, fell_back):
  flat_V = np.zeros(5000, np.float32)
  assert check(flat_V, 1.0, top_k, top_p) == (kept, fell_back)


def test_the_bisection_is_not_run_for_rows_that_do_not_want_it():
  logits_U = np.zeros(tiles.TILE, np.float32)
  cut = cut_lib.by_bisection(
    logits_U, np.ones_like(logits_U), np.int32(3), np.float32(1),
    wanted=np.bool_(False),
  )  # fmt: skip
  assert not cut.fell_back


@pytest.mark.parametrize('k', [1, 20, 256])
def test_the_best_of_a_row_with_ties_everywhere(k):
  rng = np.random.default_rng(k)
  for high in (2, 50, 100_000):
    row_U = rng.integers(0, high, 3 * tiles.TILE).astype(np.float32)
    _, token_k = jax.jit(ranking.best, static_argnums=1)(row_U, k)
    assert token_k.tolist() == oracle.ranked(row_U)[:k]


def test_sortable_words_compare_like_floats():
  values = np.float32([-np.inf, -1e30, -1.0, -1e-30, 0, 1e-30, 1, np.inf])
  ranks = np.asarray(ranking.sortable(values))
  assert (np.diff(ranks.astype(np.int64)) > 0).all()
  assert (np.asarray(ranking.unsortable(ranks)) == values).all()
