"""Progress bars on stderr, and nothing at all when nothing takes long."""

from __future__ import annotations

import threading
import time
from typing import Self

from rich import console as console_lib
from rich import filesize
from rich import progress as rich_progress
from rich import text as text_lib

_TITLES = {
  'fetching': 'Fetching the weights',
  'checking': 'Checking the weights',
  'converting': 'Converting the weights',
  'compiling': 'Compiling',
}
_BYTES = ('fetching', 'checking')
_COMPILING = 'compiling'
# A program that is found compiled is here sooner, on a busy machine too.
_PATIENCE_S = 5.0
_REQUESTS = '/jax/compilation_cache/compile_requests_use_cache'
_HITS = '/jax/compilation_cache/cache_hits'
_MISSES = '/jax/compilation_cache/cache_misses'  # once it is compiled


class CompileWatch:
  """Sees which programs are asked for, and which are found compiled.

  A thread asks for one program at a time; each ends as a hit, or as a miss
  once it is compiled.
  """

  def __init__(self):
    self._lock = threading.Lock()
    self._requests = 0
    self._hits = 0
    self._begin_s: dict[int, float] = {}  # by thread

  @property
  def is_warm(self) -> bool:
    """Whether all programs were found."""
    return self._hits == self._requests

  def waiting_s(self) -> float:
    """How long the slowest of the programs in the making takes already."""
    with self._lock:
      begins_s = list(self._begin_s.values())
    return time.monotonic() - min(begins_s) if begins_s else 0.0

  def __enter__(self) -> Self:
    import jax

    jax.monitoring.register_event_listener(self._count)
    return self

  def __exit__(self, *unused_error) -> None:
    import jax

    jax.monitoring.unregister_event_listener(self._count)

  def _count(self, event: str, **unused_labels) -> None:
    with self._lock:
      if event == _REQUESTS:
        self._requests += 1
        self._begin_s[threading.get_ident()] = time.monotonic()
      elif event in (_HITS, _MISSES):
        self._hits += event == _HITS
        self._begin_s.pop(threading.get_ident(), None)


class Bars:
  """One bar per stage; give `report` to `chatjax.load` as its `progress`."""

  def __init__(self, console: console_lib.Console | None = None):
    self._console = console or console_lib.Console(stderr=True)
    self._watch = CompileWatch()
    self._lock = threading.Lock()
    self._tasks: dict[str, rich_progress.TaskID] = {}
    self._progress = rich_progress.Progress(
      rich_progress.TextColumn('{task.description}'),
      rich_progress.BarColumn(),
      _Amount(),
      rich_progress.TimeElapsedColumn(),
      console=self._console,
      disable=not self._console.is_terminal,
    )
    self._is_closed = threading.Event()
    self._ticker = threading.Thread(target=self._tick, daemon=True)

  def __enter__(self) -> Self:
    self._watch.__enter__()
    self._ticker.start()
    return self

  def __exit__(self, *error) -> None:
    self._is_closed.set()
    self._ticker.join()
    if self._tasks:
      self._progress.stop()
    self._watch.__exit__(*error)

  def report(self, what: str, done: int, total: int) -> None:
    """Takes (what is being done, amount done, amount in all)."""
    with self._lock:
      if what == _COMPILING and what not in self._tasks:
        return  # it goes fast, or else `_tick` has shown it
      task = self._task(what, total)
      if done < self._progress.tasks[task].completed:
        self._progress.reset(task)  # the next pass over the same bytes
      self._progress.update(task, completed=done, total=total)

  def _tick(self) -> None:
    """Shows that something compiles, long before the first program is done."""
    while not self._is_closed.wait(_PATIENCE_S / 4):
      if self._watch.waiting_s() > _PATIENCE_S:
        with self._lock:
          self._task(_COMPILING, None)
        return

  def _task(self, what: str, total: int | None) -> rich_progress.TaskID:
    if what not in self._tasks:
      if not self._tasks:
        self._progress.start()
      if not self._console.is_terminal:
        size = f' ({filesize.decimal(total)})' if what in _BYTES else ''
        self._console.print(f'{_TITLES[what]}{size} ...')
      self._tasks[what] = self._progress.add_task(
        _TITLES[what], total=total, is_bytes=what in _BYTES
      )
    return self._tasks[what]


class _Amount(rich_progress.ProgressColumn):
  """'12/491 MB 3.1 MB/s' for bytes, '3/9' for things."""

  def render(self, task: rich_progress.Task) -> text_lib.Text:
    if task.total is None:
      return text_lib.Text()
    done, total = int(task.completed), int(task.total)
    if not task.fields['is_bytes']:
      return text_lib.Text(f'{done}/{total}')
    speed = task.finished_speed or task.speed
    rate = f' {filesize.decimal(int(speed))}/s' if speed else ''
    return text_lib.Text(
      f'{filesize.decimal(done)}/{filesize.decimal(total)}{rate}'
    )
