"""What the scheduler moves about: jobs (requests) and rows (choices)."""

from __future__ import annotations

import collections
from collections.abc import Sequence
import dataclasses
from typing import Any

from chatjax import types
from chatjax.engine import constrain
from chatjax.engine import drafts
from chatjax.engine import stats
from chatjax.engine import tables as tables_lib


@dataclasses.dataclass(eq=False, kw_only=True)
class Job:
  """A request from its arrival until its last choice ends.

  Attributes:
    order: its place in the queue; see `Scheduler`.
    names: of its prompt's whole chunks, for the prefix cache.
    waiting: choices without a row, in order.
    rows: choices with one, swapped out ones included.
    table: the prompt's pages, from the first prefill until the last choice
      is placed, or until they are wanted elsewhere.
    start: prompt positions that are in the table.
    num_cached: prompt positions that the prefix cache gave at first.
    logits: the last prompt position's, once prefilled (opaque here).
    scores: chunk's start -> what its positions say of the tokens after them,
      if that is wanted (opaque here); None once it was reported.
    timeline: when things happened to it.
  """

  request: types.TokenRequest
  sink: types.Sink
  order: float = 0.0
  names: tuple[bytes, ...] = ()
  waiting: collections.deque[int] = dataclasses.field(
    default_factory=collections.deque
  )
  rows: set[Row] = dataclasses.field(default_factory=set)
  table: tables_lib.Table | None = None
  start: int = 0
  num_cached: int | None = None
  logits: Any = None
  scores: dict[int, Any] | None = None
  timeline: stats.Timeline | None = None

  def __post_init__(self):
    self.waiting.extend(range(self.request.n))
    if self.request.prompt_logprobs is not None:
      self.scores = {}

  @property
  def num_open(self) -> int:
    return len(self.waiting) + len(self.rows)

  @property
  def num_prompt(self) -> int:
    return len(self.request.prompt_ids)

  @property
  def is_prefilled(self) -> bool:
    return self.start == self.num_prompt


@dataclasses.dataclass(eq=False, kw_only=True)
class Row:
  """A choice that has been given a row of the decode program.

  Attributes:
    order: who goes first when pages are short.
    slot: its place in the program; None while swapped out.
    position: where its last drawn (at first, the prompt's last) token stands.
    in_flight: draws that were dispatched and not yet read.
    num_sent: pages of the table that the device knows.
    generated: the drawn ids.
    shape: of the table, and `saved`: what was in it, while swapped out.
    logits: what the first token is drawn from; dropped when it is drawn.
    delivered: when its last tokens were handed on.
    drafter: guesses its next tokens, if that is wanted.
    constraint: says what it may draw, if it is not free; the device then has
      to be told before every step.
    is_forced: whether the last guess was all that the constraint allowed.
  """

  job: Job
  choice: int
  order: float
  table: tables_lib.Table
  slot: int | None
  position: int
  in_flight: int = 0
  num_sent: int = 0
  generated: list[int] = dataclasses.field(default_factory=list)
  shape: list[list[bool]] | None = None
  saved: Any = None
  logits: Any = None
  delivered: float | None = None
  drafter: drafts.Drafter | None = None
  constraint: constrain.Guarded | None = None
  is_forced: bool = False

  @property
  def request(self) -> types.TokenRequest:
    """What says how it is drawn."""
    return self.job.request.of_choice(self.choice)[0]

  @property
  def can_guess(self) -> bool:
    """Whether all that was drawn is known to a drafter or a constraint."""
    knows = self.drafter is not None or self.constraint is not None
    return knows and not self.in_flight

  @property
  def is_eager(self) -> bool:
    """Whether all that was drawn must be known before the next step."""
    if self.constraint is not None:
      return True
    return self.drafter is not None and self.drafter.is_eager

  def guess(self, most: int) -> Sequence[int]:
    """At most `most` likely next tokens: the only ones allowed go first."""
    forced = () if self.constraint is None else self.constraint.forced(most)
    self.is_forced = bool(forced)
    if forced or self.drafter is None:
      return forced
    return self.drafter.draft(most)

  @property
  def last_position(self) -> int:
    """Of the last token that is ever written to the cache, and one more."""
    return self.job.num_prompt + self.request.max_tokens - 1


@dataclasses.dataclass(frozen=True)
class Prefill:
  """Compute prompt positions start .. stop - 1 of a job."""

  job: Job
  start: int
  stop: int


@dataclasses.dataclass(frozen=True)
class Place:
  """Put a row into its slot and draw its first token.

  Attributes:
    copy: (from, to) pages by pool to copy before, or None.
  """

  row: Row
  copy: tuple[tuple[int, ...], tuple[int, ...]] | None


@dataclasses.dataclass(frozen=True)
class SwapOut:
  """Save a row's pages; they may be overwritten afterwards.

  Attributes:
    pages: the columns of its table, by j.
  """

  row: Row
  pages: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class SwapIn:
  """Restore a row's pages and put it into its slot."""

  row: Row


@dataclasses.dataclass(frozen=True)
class Drain:
  """Read all blocks in flight, then ask again."""


@dataclasses.dataclass(frozen=True)
class Decode:
  """Run a block of steps for all rows.

  Attributes:
    new_pages: slot -> (j, page by pool) that its table gains.
    guesses: of rows -> (free slot, guessed token) of the positions ahead, to
      be verified in the first step.
  """

  rows: tuple[Row, ...]
  num_steps: int
  new_pages: dict[int, tuple[int, tuple[int, ...]]]
  guesses: dict[Row, tuple[tuple[int, int], ...]]


Action = Prefill | Place | SwapOut | SwapIn | Drain | Decode
