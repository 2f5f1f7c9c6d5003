"""Raw log-probabilities."""

import jax
import numpy as np
import pytest

from chatjax.sampling import logprobs
from chatjax.sampling import padded
from tests.sampling import oracle

log_normalizer = jax.jit(logprobs.log_normalizer)


@jax.jit
def top_row(row_V, log_z, wanted):
  return logprobs.top_row(padded.row(row_V), log_z, wanted)


@pytest.mark.parametrize('spread', [0.0, 1.0, 20.0])
@pytest.mark.parametrize('V', [1, 300, 9000])
def test_the_normalizer_is_the_logsumexp(V, spread):
  row_V = np.random.default_rng(V).normal(size=V).astype(np.float32) * spread
  got = log_normalizer(np.float32(row_V))
  np.testing.assert_allclose(
    got, oracle.log_normalizer(np.float32(row_V)), rtol=2e-7, atol=2e-6
  )


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_a_broken_row_has_no_normalizer(bad):
  row_V = np.zeros(300, np.float32)
  row_V[7] = bad
  assert np.isnan(log_normalizer(row_V))
  assert np.isnan(log_normalizer(np.full(300, -np.inf, np.float32)))


def test_the_likeliest_come_first_and_ties_by_id():
  row_V = np.float32([-0.0, 3, 0, 3, -np.inf, 1] + 30 * [-5.0])
  log_z = log_normalizer(row_V)
  ids, top = top_row(row_V, log_z, True)
  assert ids.tolist() == oracle.ranked(row_V)[:20]
  assert ids[:5].tolist() == [1, 3, 5, 0, 2]
  np.testing.assert_array_equal(top, row_V[np.asarray(ids)] - log_z)


def test_a_row_that_does_not_ask_gets_padding():
  row_V = np.arange(30, dtype=np.float32)
  ids, top = top_row(row_V, np.float32(0), False)
  assert ids.tolist() == [-1] * logprobs.MAX_TOP
  assert (np.asarray(top) == -np.inf).all()


def test_a_small_vocabulary_is_padded():
  row_V = np.float32([1, 2, 3])
  ids, top = top_row(row_V, log_normalizer(row_V), True)
  assert ids.tolist() == [2, 1, 0] + [-1] * 17
  assert (np.asarray(top)[3:] == -np.inf).all()
  np.testing.assert_allclose(np.exp(np.asarray(top)[:3]).sum(), 1, rtol=1e-6)
