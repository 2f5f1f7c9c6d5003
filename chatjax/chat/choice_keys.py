"""The random key of a choice, as it is reported with every answer.

With it a notebook can repeat one choice's draws: the key is
`fold_in(key(seed), choice)` of the threefry generator, the seed given as two
32-bit words, high word first.
"""

from __future__ import annotations

from chatjax.sampling import host_keys


def choice_key(seed: int, choice: int) -> str:
  """Returns the two key words as 16 hex digits."""
  words = host_keys.choice_words(seed, choice)
  return ''.join(f'{word:08x}' for word in words)
