"""Keys: 64-bit seeds, fold_in, uniforms."""

import jax
import numpy as np
import pytest

from chatjax.chat import choice_keys
from chatjax.sampling import keys

SEEDS = (5, 5 + 2**32, -1, 2**63 - 1, -(2**63), 0)


def words(key):
  return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_d5_all_64_bits_of_a_seed_count():
  assert words(keys.request_key(5)) == (0, 5)
  assert words(keys.request_key(5 + 2**32)) == (1, 5)
  assert words(keys.request_key(-1)) == (2**32 - 1, 2**32 - 1)
  assert len({words(keys.request_key(seed)) for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize('seed', [2**63, -(2**63) - 1])
def test_a_seed_outside_int64_is_refused(seed):
  with pytest.raises(ValueError, match='signed 64-bit'):
    keys.request_key(seed)


def test_a_seed_must_be_an_integer():
  with pytest.raises(TypeError):
    keys.request_key(1.5)


def test_n2_choices_of_neighbouring_seeds_differ():
  assert words(keys.choice_key(7, 1)) != words(keys.choice_key(8, 0))
  many = {words(keys.choice_key(s, i)) for s in range(8) for i in range(8)}
  assert len(many) == 64


@pytest.mark.parametrize('seed', SEEDS)
def test_the_host_computes_the_same_choice_key(seed):
  for choice in (0, 1, 7):
    want = choice_keys.choice_key(seed, choice)
    assert keys.key_hex(keys.choice_key(seed, choice)) == want


def test_a_token_key_comes_from_typed_keys_and_from_words():
  key = keys.choice_key(5, 0)
  typed = words(keys.token_key(key, 3))
  assert typed == words(keys.token_key(jax.random.key_data(key), 3))
  assert typed != words(keys.token_key(key, 4))


@pytest.mark.parametrize('partitionable', [False, True])
def test_no_flag_moves_a_uniform(partitionable):
  key = keys.token_key(keys.choice_key(5, 0), 0)
  want = keys.uniform_words(key).tolist()
  with jax.threefry_partitionable(partitionable):
    again = keys.token_key(keys.choice_key(5, 0), 0)
    assert keys.uniform_words(again).tolist() == want


def test_uniforms_are_uniform_in_both_words():
  key = keys.choice_key(11, 0)
  draw = jax.vmap(lambda t: keys.uniform_words(keys.token_key(key, t)))
  words_N2 = np.asarray(jax.jit(draw)(np.arange(4096)))
  for word_N in words_N2.T:
    counts = np.bincount(word_N >> 28, minlength=16)
    assert ((counts - 256) ** 2 / 256).sum() < 45  # p = 1e-4 at 15 degrees
  assert len({tuple(w) for w in words_N2.tolist()}) == 4096
