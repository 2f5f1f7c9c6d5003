"""What an engine has done: totals since its start, and each request's times."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses


@dataclasses.dataclass
class Totals:
  """Counters of the engine's thread; others may read them at any time.

  Attributes:
    prompt_tokens, cached_tokens: prompt positions asked for, and those of them
      that the prefix cache gave.
    prefill_chunks: of prompts, computed.
    generated_tokens: drawn and handed on.
    drafted_tokens, accepted_tokens: guessed for speculation, and those of them
      that were right.
    preemptions: rows swapped out to the host.
    decode_blocks, decode_steps: dispatched blocks, and steps in them that drew
      a token for somebody.
    decode_s: time in which the host waited for decode blocks.
    host_gap_s: time between two blocks in a row in which the device had
      nothing to do, prefills between them left out.
    finished: requests by how they ended: 'stop', 'length', 'cancelled',
      'error'.
  """

  prompt_tokens: int = 0
  cached_tokens: int = 0
  prefill_chunks: int = 0
  generated_tokens: int = 0
  drafted_tokens: int = 0
  accepted_tokens: int = 0
  preemptions: int = 0
  decode_blocks: int = 0
  decode_steps: int = 0
  decode_s: float = 0.0
  host_gap_s: float = 0.0
  finished: dict[str, int] = dataclasses.field(
    default_factory=lambda: dict.fromkeys(
      ('stop', 'length', 'cancelled', 'error'), 0
    )
  )


@dataclasses.dataclass(eq=False, kw_only=True)
class Timeline:
  """When things happened to one request, in seconds of `time.monotonic`.

  Attributes:
    request_id: as it was submitted.
    num_prompt, num_cached, num_generated: tokens.
    num_preemptions: how often one of its rows was swapped out.
    arrived: it was submitted.
    started: its prefill began, or None.
    first_token: of any choice, or None.
    ended: its last choice ended.
    gaps: (seconds since the choice's tokens before, tokens) of every later
      delivery; inter-token latency is their quotient.
    outcome: a key of `Totals.finished`.
  """

  request_id: str
  num_prompt: int
  arrived: float
  num_cached: int = 0
  num_generated: int = 0
  num_preemptions: int = 0
  started: float | None = None
  first_token: float | None = None
  ended: float | None = None
  gaps: list[tuple[float, int]] = dataclasses.field(default_factory=list)
  outcome: str = 'cancelled'

  def delivered(self, num_tokens: int, last: float | None, now: float) -> None:
    """Notes tokens of a choice whose tokens before came at `last`."""
    self.num_generated += num_tokens
    if self.first_token is None:
      self.first_token = now
    if last is not None:
      self.gaps.append((now - last, num_tokens))


# Called on the engine's thread, or the submitter's; must return at once.
Listener = Callable[[Timeline], None]
