"""What changes a row before the draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chatjax import types
from chatjax.sampling import processors

LOGITS = np.float32([2.0, -2.0, 0.5, -np.inf, 1.25])
COUNTS = np.int32([3, 0, 1, 2, 0])


def test_repetition_divides_positive_and_multiplies_negative_logits():
  seen_V = np.array([True, True, False, True, False])
  got_V = processors.repetition(LOGITS, np.float32(2), seen_V)
  np.testing.assert_array_equal(got_V, [1.0, -4.0, 0.5, -np.inf, 1.25])


def test_presence_counts_once_and_frequency_every_time():
  got_V = processors.presence_and_frequency(
    LOGITS, np.float32(0.5), np.float32(0.25), COUNTS
  )
  np.testing.assert_array_equal(got_V, [0.75, -2.0, -0.25, -np.inf, 1.25])


def test_neutral_values_return_the_bits():
  rng = np.random.default_rng(0)
  row_V = rng.normal(size=1000).astype(np.float32)
  counts_V = rng.integers(0, 5, 1000).astype(np.int32)

  @jax.jit
  def neutral(row_V, one, zero):
    row_V = processors.repetition(row_V, one, counts_V > 0)
    row_V = processors.presence_and_frequency(row_V, zero, zero, counts_V)
    row_V += processors.bias_row({}, 1000)
    row_V = processors.allow(row_V, jnp.ones(1000, bool))
    return processors.mask_stops(
      row_V, jnp.int32([1, 2]), jnp.int32(0), jnp.int32(0)
    )

  got_V = neutral(row_V, np.float32(1), np.float32(0))
  assert (np.asarray(got_V).view(np.int32) == row_V.view(np.int32)).all()


def test_bias_bans_at_minus_100_and_adds_all_else():
  row_V = processors.bias_row({0: -100, 2: 100, 3: -99.5, 4: -1000.0}, 5)
  np.testing.assert_array_equal(row_V, [-np.inf, 0, 100, -99.5, -np.inf])
  assert row_V.dtype == np.float32


@pytest.mark.parametrize(
  'bias', [{5: 1.0}, {-1: 1.0}, {0: float('nan')}, {0: float('inf')}]
)
def test_a_bad_bias_is_refused(bias):
  with pytest.raises(types.RequestError) as caught:
    processors.bias_row(bias, 5)
  assert caught.value.param == 'logit_bias'


def test_the_allowed_mask_wins_over_a_bias():
  row_V = LOGITS + processors.bias_row({0: 100}, 5)
  allowed_V = np.array([False, True, True, True, False])
  got_V = processors.allow(row_V, allowed_V)
  np.testing.assert_array_equal(got_V, [-np.inf, -2.0, 0.5, -np.inf, -np.inf])


def mask_stops(row_V, ids, step, min_tokens):
  return processors.mask_stops(
    jnp.asarray(row_V), jnp.int32(ids), step, jnp.int32(min_tokens)
  )


def test_stops_are_masked_until_min_tokens():
  got_V = mask_stops(LOGITS, [0, -1, 7, -1], 1, 2)
  np.testing.assert_array_equal(got_V, [-np.inf, *LOGITS[1:]])
  np.testing.assert_array_equal(mask_stops(LOGITS, [0], 2, 2), LOGITS)


def test_stops_stay_where_nothing_else_is_left():
  only_V = np.float32([-np.inf, 1.0, -np.inf])
  np.testing.assert_array_equal(mask_stops(only_V, [1], 0, 5), only_V)
