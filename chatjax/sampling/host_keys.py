"""The random key of a choice, on the host and without jax.

The same as `keys.choice_key`, in Python integers: admitting a request neither
compiles nor waits for a device, and a report needs no jax.
"""

from __future__ import annotations

MASK = 2**32 - 1
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def choice_words(seed: int, choice: int) -> tuple[int, int]:
  """Returns the two 32-bit words of the key, high word first."""
  high, low = (seed >> 32) & MASK, seed & MASK
  return _threefry_2x32((high, low), (0, choice))


def _threefry_2x32(
  key: tuple[int, int], count: tuple[int, int]
) -> tuple[int, int]:
  """Twenty rounds, a key injection after every four."""
  schedule = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
  x = (count[0] + schedule[0]) & MASK
  y = (count[1] + schedule[1]) & MASK
  for block in range(5):
    for rotation in ROTATIONS[block % 2]:
      x = (x + y) & MASK
      y = ((y << rotation) | (y >> (32 - rotation))) & MASK
      y ^= x
    x = (x + schedule[(block + 1) % 3]) & MASK
    y = (y + schedule[(block + 2) % 3] + block + 1) & MASK
  return x, y
