"""What an answer is worth, and what can be asked of an answer."""

from __future__ import annotations

import dataclasses
from typing import Protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mark:
  """The worth of one answer.

  Attributes:
    score: 1 is right, 0 is wrong.
    detail: why, in a few words; empty where the score says it.
  """

  score: float
  detail: str = ''


class Grader(Protocol):
  """Marks the texts that a model wrote for one item."""

  def mark(self, text: str) -> Mark: ...


RIGHT = Mark(score=1.0)
# Where a pattern may take more time than there is.
TOO_LONG = 'marking it took too long: the pattern backtracks without end'
