"""Masks over tokens: token t is bit t % 32 of word t // 32."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

ALL = ~np.uint32(0)


def num_words(num_tokens: int) -> int:
  return -(-num_tokens // 32)


def has(mask_W: np.ndarray, token: int) -> bool:
  if not 0 <= token < 32 * mask_W.size:
    return False
  return bool(int(mask_W[token // 32]) >> (token % 32) & 1)


def clear(mask_W: np.ndarray, token: int) -> None:
  if 0 <= token < 32 * mask_W.size:
    mask_W[token // 32] &= ALL ^ np.uint32(1 << (token % 32))


def write_only(tokens: Iterable[int], out_W: np.ndarray) -> None:
  """Allows these tokens and no others."""
  out_W[:] = 0
  for token in tokens:
    if 0 <= token < 32 * out_W.size:
      out_W[token // 32] |= np.uint32(1 << (token % 32))


def write_below(num_tokens: int, out_W: np.ndarray) -> None:
  """Allows the tokens below `num_tokens`."""
  whole, rest = divmod(num_tokens, 32)
  out_W[:] = 0
  out_W[:whole] = ALL
  if rest and whole < out_W.size:
    out_W[whole] = np.uint32((1 << rest) - 1)
