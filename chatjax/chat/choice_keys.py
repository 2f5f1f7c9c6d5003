"""The random key of a choice, on the host and without jax.

It is reported with every answer, so that a notebook can repeat one choice's
draws: the key is `fold_in(key(seed), choice)` of the threefry generator, the
seed given as two 32-bit words, high word first.
"""

from __future__ import annotations

MASK = 2**32 - 1
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def choice_key(seed: int, choice: int) -> str:
  """Returns the two key words as 16 hex digits."""
  high, low = (seed >> 32) & MASK, seed & MASK
  words = _threefry_2x32((high, low), (0, choice))
  return ''.join(f'{word:08x}' for word in words)


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
