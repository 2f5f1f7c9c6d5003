"""How far a batch is: a bar in a terminal, now and then a line elsewhere."""

from __future__ import annotations

import collections
import threading
import time
from typing import Self

from rich import console as console_lib
from rich import progress as rich_progress

from chatjax.batch import worker

_WINDOW_S = 60.0  # that speeds are measured over
_SAMPLE_S = 1.0
_LINE_S = 30.0  # between lines where there is no terminal


class Speed:
  """Requests and tokens per second of late."""

  def __init__(self):
    self._seen: collections.deque[tuple[float, int, int]] = collections.deque()

  def add(self, now: float, num_requests: int, num_tokens: int) -> None:
    # Thousands of records may be written in a second: one of them is kept.
    if len(self._seen) > 1 and now - self._seen[-2][0] < _SAMPLE_S:
      self._seen.pop()
    self._seen.append((now, num_requests, num_tokens))
    while len(self._seen) > 2 and self._seen[1][0] < now - _WINDOW_S:
      self._seen.popleft()

  @property
  def requests_per_s(self) -> float:
    return self._rate(1)

  @property
  def tokens_per_s(self) -> float:
    return self._rate(2)

  def _rate(self, which: int) -> float:
    if len(self._seen) < 2:
      return 0.0
    first, last = self._seen[0], self._seen[-1]
    passed_s = last[0] - first[0]
    return (last[which] - first[which]) / passed_s if passed_s > 0 else 0.0


class Bar:
  """Give `report` to `batch.run.run`."""

  def __init__(self, console: console_lib.Console | None = None):
    self._console = console or console_lib.Console(stderr=True)
    self._is_live = self._console.is_terminal
    self._lock = threading.Lock()
    self._speed = Speed()
    self._told_s = 0.0
    self._num_damaged = 0
    self._progress = rich_progress.Progress(
      rich_progress.TextColumn('{task.description}'),
      rich_progress.BarColumn(),
      rich_progress.TextColumn('{task.completed:.0f}/{task.total:.0f}'),
      rich_progress.TextColumn('{task.fields[told]}'),
      console=self._console,
      disable=not self._is_live,
    )
    self._task = self._progress.add_task('Answering', total=1, told='')

  def __enter__(self) -> Self:
    self._progress.start()
    return self

  def __exit__(self, *unused_error: object) -> None:
    self._progress.stop()

  def report(self, progress: worker.Progress) -> None:
    now = time.monotonic()
    with self._lock:
      counts = progress.counts
      self._speed.add(now, counts.total, progress.num_tokens)
      told = self._told(progress)
      self._progress.update(
        self._task, completed=counts.total, total=progress.num_requests,
        told=told,
      )  # fmt: skip
      if progress.num_damaged > self._num_damaged:
        self._num_damaged = progress.num_damaged
        self._console.print(
          f'{progress.num_damaged} records on disk were damaged; their'
          ' requests are run again.'
        )
      is_end = counts.total == progress.num_requests
      if not self._is_live and (now - self._told_s > _LINE_S or is_end):
        self._told_s = now
        self._console.print(
          f'{counts.total}/{progress.num_requests} done, {told}'
        )

  def _told(self, progress: worker.Progress) -> str:
    counts, speed = progress.counts, self._speed
    parts = [f'{counts.failed} errors']
    if speed.tokens_per_s:
      parts.insert(0, f'{speed.tokens_per_s:.0f} tok/s')
    left = progress.num_requests - counts.total
    if left and speed.requests_per_s:
      parts.append(f'{duration(left / speed.requests_per_s)} left')
    return ', '.join(parts)


def duration(seconds: float) -> str:
  """'40 s', '12 min', '3 h 05 min'."""
  if seconds < 60:
    return f'{seconds:.0f} s'
  minutes = round(seconds / 60)
  if minutes < 60:
    return f'{minutes} min'
  return f'{minutes // 60} h {minutes % 60:02d} min'
