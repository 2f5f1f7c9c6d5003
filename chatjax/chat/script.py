"""A constraint that leaves one answer: the tokens that it is given."""

from __future__ import annotations

import collections
from collections.abc import Sequence
import itertools

import numpy as np


class Script:
  """What a choice draws if its tokens are known before; a `types.Constraint`.

  All of them are told as guesses, so that a step reads as many as it has rows
  for. What is not in the script is free.
  """

  def __init__(self, token_ids: Sequence[int]):
    self._left = collections.deque(token_ids)

  def masks(self, guesses: Sequence[int], out_GW: np.ndarray) -> int:
    for ahead in range(len(guesses) + 1):
      out_GW[ahead] = ~np.uint32(0)
      if ahead < len(self._left):
        token_id = self._left[ahead]
        out_GW[ahead] = 0
        out_GW[ahead, token_id // 32] = np.uint32(1) << np.uint32(token_id % 32)
        if ahead < len(guesses) and guesses[ahead] != token_id:
          return ahead
    return len(guesses)

  def forced(self, limit: int) -> Sequence[int]:
    return tuple(itertools.islice(self._left, limit))

  def advance(self, tokens: Sequence[int]) -> None:
    for _ in range(min(len(tokens), len(self._left))):
      self._left.popleft()
