"""Who runs where: first come, first served, over rows and pages.

A job (one request) is prefilled once; then each of its choices takes a free
row. Pages for all tokens that a choice may generate are taken with the row,
so a running row never waits. Choices share the prompt's full pages; each has
a copy of its own of the tail page.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

from chatjax import types
from chatjax.engine import blocks


@dataclasses.dataclass(eq=False, kw_only=True)
class Job:
  """A request from its arrival until its last choice ends.

  Attributes:
    start: prompt tokens that are prefilled.
    pages: the prompt's pages; empty before the prefill and after placing.
    logits: the last prompt position's, once prefilled (opaque here).
    next_choice: the first choice that has no row yet.
    ended: choices that finished or that nobody waits for any more.
  """

  request: types.TokenRequest
  sink: types.Sink
  start: int = 0
  pages: tuple[int, ...] = ()
  logits: Any = None
  next_choice: int = 0
  ended: set[int] = dataclasses.field(default_factory=set)

  @property
  def is_prefilled(self) -> bool:
    return self.logits is not None

  @property
  def num_open(self) -> int:
    return self.request.n - len(self.ended)

  @property
  def unplaced(self) -> list[int]:
    """Choices that still want a row, in order."""
    rest = range(self.next_choice, self.request.n)
    return [choice for choice in rest if choice not in self.ended]


@dataclasses.dataclass(eq=False, kw_only=True)
class Row:
  """A choice in a slot of the decode program.

  Attributes:
    pages: all pages of the sequence, in order; handed back at the end.
    tail_copy: (from, to) pages to copy before the first step, if any.
    logits: what the first token is drawn from; dropped when it is drawn.
  """

  job: Job
  choice: int
  slot: int
  pages: tuple[int, ...]
  tail_copy: tuple[int, int] | None
  logits: Any


class Scheduler:
  """Rows, pages and the queue before them."""

  def __init__(self, *, max_rows: int, num_pages: int, page_size: int):
    self.pool = blocks.PagePool(num_pages)
    self.rows: dict[int, Row] = {}
    self._page_size = page_size
    self._free_slots = list(range(max_rows - 1, -1, -1))
    self._queue: collections.deque[Job] = collections.deque()

  @property
  def is_idle(self) -> bool:
    return not self._queue and not self.rows

  def add(self, job: Job) -> None:
    """Queues a job."""
    self._queue.append(job)

  def num_pages(self, num_positions: int) -> int:
    return -(-num_positions // self._page_size)

  def head(self) -> Job | None:
    """The job to prefill or place next, its prompt's pages taken."""
    while self._queue and not self._queue[0].unplaced:
      self._retire(self._queue[0])
    if not self._queue:
      return None
    job = self._queue[0]
    if not job.pages:
      # A job starts only when its first choice can follow at once; a fork
      # needs one page more, for its copy of the tail.
      need = self.num_pages(_num_positions(job.request)) + (job.request.n > 1)
      if not self._free_slots or self.pool.num_free < need:
        return None
      job.pages = self.pool.take(self.num_pages(len(job.request.prompt_ids)))
    return job

  def place(self, job: Job) -> Row | None:
    """Gives the prefilled job's next choice a row, if one is free."""
    if not job.unplaced or not self._free_slots:
      return None
    choice, *others = job.unplaced
    # The last choice takes the tail page over; the others copy it.
    full = len(job.request.prompt_ids) // self._page_size
    shared = job.pages[:full] if others else job.pages
    need = self.num_pages(_num_positions(job.request)) - len(shared)
    own = self.pool.take(need)
    if own is None:
      return None
    self.pool.share(shared)
    copies = len(shared) < len(job.pages)
    row = Row(
      job=job,
      choice=choice,
      slot=self._free_slots.pop(),
      pages=shared + own,
      tail_copy=(job.pages[full], own[0]) if copies else None,
      logits=job.logits,
    )
    self.rows[row.slot] = row
    job.next_choice = choice + 1
    if not others:
      self._retire(job)
    return row

  def release(self, row: Row) -> None:
    """Ends a row: its slot and pages are free again."""
    row.job.ended.add(row.choice)
    del self.rows[row.slot]
    self._free_slots.append(row.slot)
    self._free_slots.sort(reverse=True)
    self.pool.give_back(row.pages)

  def cancel(self, job: Job, choice: int | None = None) -> None:
    """Ends a choice, or all of a job's; ended ones are ignored."""
    chosen = set(range(job.request.n)) if choice is None else {choice}
    chosen &= set(range(job.request.n))
    for row in list(self.rows.values()):
      if row.job is job and row.choice in chosen:
        self.release(row)
    job.ended |= chosen
    if job in self._queue and not job.num_open:
      self._retire(job)

  def _retire(self, job: Job) -> None:
    """Takes a job with nothing left to place out of the queue."""
    self._queue.remove(job)
    self.pool.give_back(job.pages)
    job.pages = ()
    job.logits = None


def _num_positions(request: types.TokenRequest) -> int:
  """Cache positions of one choice; its last token is never written."""
  return len(request.prompt_ids) + request.max_tokens - 1
