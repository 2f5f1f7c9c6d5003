"""Random keys: seed -> choice -> token, and the uniform of one token.

Everything is the threefry-2x32 block cipher, named explicitly, so that no
jax flag and no default generator moves a bit:

  request key = the seed's two 32-bit words, high word first
  choice key  = threefry(request key, (0, choice))     jax.random.fold_in
  token key   = threefry(choice key, (0, t))           jax.random.fold_in
  uniform     = threefry(token key, (0, 0)) / 2**64

Batch, slot, `n` and streaming never enter.
"""

from __future__ import annotations

import operator

import jax
from jax.extend import random as jax_extend_random
import jax.numpy as jnp
import numpy as np

from chatjax import types

# Raise it whenever a seed's tokens change: with the keys, with the order of
# the processors, or with the arithmetic of the draw.
SAMPLER_VERSION = 1

_IMPL = 'threefry2x32'


def request_key(seed: int) -> jax.Array:
  """Returns the typed key of a signed 64-bit seed.

  `jax.random.key(seed)` would drop the high word when x64 is off.

  Raises:
    ValueError: the seed does not fit into 64 signed bits.
  """
  seed = operator.index(seed)
  if not types.MIN_SEED <= seed <= types.MAX_SEED:
    raise ValueError(
      f'seed={seed} is outside [{types.MIN_SEED}, {types.MAX_SEED}];'
      ' pass a signed 64-bit integer.'
    )
  words = np.array([(seed >> 32) & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)
  return jax.random.wrap_key_data(words, impl=_IMPL)


def choice_key(seed: int, choice: int) -> jax.Array:
  """Returns the typed key of choice number `choice` of a request."""
  return jax.random.fold_in(request_key(seed), choice)


def token_key(key: jax.Array, step: jax.Array | int) -> jax.Array:
  """Returns the typed key of a choice's `step`-th generated token.

  Args:
    key: the choice's key, typed or as its words u32[2] (what a decode state
      stores: plain arrays can be selected and donated).
    step: i32, 0 for the first generated token.
  """
  if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
    key = jax.random.wrap_key_data(key, impl=_IMPL)
  return jax.random.fold_in(key, step)


def uniform_words(key: jax.Array) -> jax.Array:
  """Draws u in [0, 1) as a 64-bit fraction.

  Returns:
    u32[2], u = (words[0] * 2**32 + words[1]) / 2**64. 64 bits, because a
    float32 uniform has steps of 2**-24 and never draws a token of p < 1e-8.
  """
  words = jax.random.key_data(key)
  return jax_extend_random.threefry_2x32(
    (words[0], words[1]), jnp.zeros(2, jnp.uint32)
  )


def noise(seed: int, num_tokens: int, choice: int = 0) -> np.ndarray:
  """The uniform numbers in [0, 1) that a choice's tokens are drawn from.

  Token t is the first by ascending id at which the running probability of the
  distribution exceeds number t. So two draws of one seed have their noise in
  common, whatever their models, prompts and settings are.

  Returns:
    f64[num_tokens], rounded from 64 bits.
  """
  key = choice_key(seed, choice)
  words_T2 = np.asarray(
    jax.vmap(lambda t: uniform_words(token_key(key, t)))(
      jnp.arange(num_tokens, dtype=jnp.int32)
    ),
    np.float64,
  )
  below = np.nextafter(1.0, 0.0)  # u is below 1, rounded too
  return np.minimum((words_T2[:, 0] + words_T2[:, 1] / 2**32) / 2**32, below)


def key_hex(key: jax.Array) -> str:
  """Returns a key's two words as 16 hex digits, as answers report it."""
  return ''.join(f'{word:08x}' for word in np.asarray(jax.random.key_data(key)))
