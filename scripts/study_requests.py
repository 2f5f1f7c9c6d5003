"""The requests of the study, and the company in which they are answered."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

PLACES = 8  # rows, slots, and requests in flight
# Name -> (requests in flight, seed of their order or None for as numbered).
CONDITIONS: Mapping[str, tuple[int, int | None]] = {
  'alone': (1, None),
  'alone again': (1, None),
  'in a crowd': (PLACES, 1),
}
_STYLES = (
  '', 'Answer in one sentence. ', 'Answer with a list. ',
  'Explain it to an expert. ', 'Explain it to a child. ',
  'Begin with an example. ', 'Name the most common mistake first. ',
  'Give two different answers. ', 'Be brief. ',
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """One of those that are asked in every condition."""

  index: int
  prompt: str

  def body(self, max_tokens: int) -> dict[str, Any]:
    return {
      'messages': [{'role': 'user', 'content': self.prompt}],
      'seed': self.index,
      'temperature': 0.8,
      'top_p': 0.95,
      'max_tokens': max_tokens,
      'logprobs': True,
    }


def requests(count: int) -> list[Request]:
  """Questions that differ in what they ask or in how it is to be answered."""
  path = pathlib.Path(__file__).with_name('bench_prompts.json')
  topics = json.loads(path.read_text())
  prompts = [style + topic for style in _STYLES for topic in topics]
  return [
    Request(index=i, prompt=prompt) for i, prompt in enumerate(prompts[:count])
  ]
