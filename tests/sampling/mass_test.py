"""Exact masses and the inverse distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chatjax.sampling import mass
from chatjax.sampling import tiles
from chatjax.sampling import wide
from tests.sampling import oracle

draw = jax.jit(mass.draw)
total = jax.jit(mass.total)


def integer(a):
  return int(a.hi) * 2**32 + int(a.lo)


def padded(weights):
  return np.asarray(tiles.pad(np.asarray(weights, np.float32), 0.0))


def test_masses_are_exact():
  rng = np.random.default_rng(0)
  weight_V = np.concatenate([
      rng.random(9000), 2.0 ** -np.arange(60), [1, 0, 1 - 2**-24],
  ]).astype(np.float32)  # fmt: skip
  want = oracle.masses_of(weight_V)
  pair = jax.jit(mass.of_each)(weight_V)
  got = np.asarray(pair.hi, object) * 2**32 + np.asarray(pair.lo, object)
  assert got.tolist() == want
  assert integer(total(padded(weight_V))) == sum(want)


def test_the_largest_vocabulary_does_not_overflow():
  weight_U = np.ones(2**18, np.float32)
  assert integer(total(weight_U)) == 2**62
  assert mass.MAX_VOCAB * mass.ONE < 2**64
  words = np.full(2, 2**32 - 1, np.uint32)
  assert int(draw(weight_U, words)) == 2**18 - 1


@pytest.mark.parametrize('words', [(0, 0), (2**32 - 1, 2**32 - 1)])
def test_the_ends_of_u_never_pick_a_token_without_mass(words):
  for live in ([3000], [1, 4095, 9000], range(7, 9999, 3)):
    weight_V = np.zeros(10_000, np.float32)
    weight_V[list(live)] = np.float32(0.1)
    # Too unlikely to have a mass: half a unit.
    weight_V[0] = weight_V[-1] = 2.0**-45
    got = int(draw(padded(weight_V), np.array(words, np.uint32)))
    assert got == (min(live) if words[0] == 0 else max(live))


def test_draws_equal_integers():
  rng = np.random.default_rng(1)
  for _ in range(40):
    weight_V = np.exp(-rng.exponential(8, 10_000)).astype(np.float32)
    weight_V[rng.random(10_000) < 0.5] = 0
    words = rng.integers(0, 2**32, 2, dtype=np.uint32)
    want = oracle.draw(weight_V, set(range(10_000)), words)
    assert int(draw(padded(weight_V), words)) == want


def test_a_token_of_probability_1e_9_can_be_drawn():
  weight_V = np.array([1.0, 1e-9, 1.0], np.float32)
  for high, want in ((0x7FFFFFFE, 0), (0x80000000, 1), (0x80000002, 2)):
    words = np.array([high, 0], np.uint32)
    assert int(draw(padded(weight_V), words)) == want


@pytest.mark.parametrize('whole', [1, 4 * 2**44, 2**62, 12345678901])
@pytest.mark.parametrize('p', [0.0, 0.5, 0.95, 1e-3, 0.25])
def test_a_fraction_is_rounded_up(whole, p):
  got = integer(mass.fraction(np.float32(p), wide.constant(whole)))
  share = int(float(np.float32(p)) * 2**32)
  assert got == max(1, -(-share * whole // 2**32))


def test_log():
  got = mass.log(wide.constant(123 * mass.ONE // 7))
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, np.log(123 / 7), rtol=1e-6)
