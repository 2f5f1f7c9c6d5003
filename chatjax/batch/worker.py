"""Takes ranges of a file, keeps the engine full, and puts answers on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
import contextlib
import dataclasses
import pathlib
import threading

from chatjax import types
from chatjax.batch import answer as answer_lib
from chatjax.batch import final
from chatjax.batch import folder as folder_lib
from chatjax.batch import kept as kept_lib
from chatjax.batch import leases as leases_lib
from chatjax.batch import lines
from chatjax.batch import order
from chatjax.batch import parts
from chatjax.batch import plan as plan_lib
from chatjax.batch import shards
from chatjax.batch import source as source_lib

_MIN_AHEAD = 8
_MOST_UNWRITTEN = 512  # records
_POLL_S = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
  """How far a run is.

  Attributes:
    counts: answered by anybody and on disk, as far as it is known here.
    num_requests: in the file.
    num_tokens: drawn by this worker for answers on disk.
    num_damaged: records that were damaged and are made again.
  """

  counts: final.Counts
  num_requests: int
  num_tokens: int
  num_damaged: int


class Stopped(types.ChatjaxError):
  """A run that was told to end before its end."""


Report = Callable[[Progress], None]
# (own choices, more choices) -> whether these may be asked too, beside those of
# others. Own ones may not have come to the engine yet.
Room = Callable[[int, int], bool]


@dataclasses.dataclass
class _Range:
  """A range that this worker has.

  Attributes:
    part: where its new records go.
    keys: of its requests, by line.
    ready: records that need no asking.
    items: what is to be asked, in order.
    left: records that are not on disk yet.
    counts: of those that are.
  """

  index: int
  lease: leases_lib.Lease
  part: pathlib.Path
  keys: dict[int, str] = dataclasses.field(default_factory=dict)
  ready: list[parts.Record] = dataclasses.field(default_factory=list)
  items: list[order.Item] = dataclasses.field(default_factory=list)
  left: int = 0
  counts: final.Counts = final.NONE


class Worker:
  """One engine at work on one folder.

  Args:
    asker: the model.
    source: the requests.
    folder: where answers go.
    kept: answers that need not be drawn again.
    leases: this worker's.
    shard: which ranges it begins with.
    rows: choices that the engine decodes at once.
    report: told after each group that is on disk, on a thread of its own.
    room: whether there is room beside others' requests; None is alone.
    should_stop: looked at now and then.
  """

  def __init__(
    self,
    asker: answer_lib.Asker,
    *,
    source: source_lib.Source,
    folder: folder_lib.Folder,
    kept: kept_lib.Kept,
    leases: leases_lib.Leases,
    shard: shards.Shard,
    rows: int,
    report: Report,
    room: Room | None = None,
    should_stop: Callable[[], bool] = lambda: False,
  ):
    self._asker = asker
    self._source = source
    self._folder = folder
    self._kept = kept
    self._leases = leases
    self._shard = shard
    # Enough that a row that ends finds the next prompt ready.
    self._most = rows + max(rows, _MIN_AHEAD)
    self._report = report
    self._room = room
    self._should_stop = should_stop
    self._fingerprint = asker.session.engine.fingerprint
    self._lock = threading.Lock()
    self._ranges: dict[pathlib.Path, _Range] = {}
    self._count(folder.done())
    self._tokens: dict[int, int] = {}  # by line, until it is on disk
    self._num_tokens = 0
    self._num_damaged = 0
    self._num_open = 0  # choices that were asked and are not answered
    self._tasks: set[asyncio.Task[None]] = set()

  async def run(self) -> None:
    """Works until every range of the file is finished by somebody.

    It can be called again: what was open when it ended is then begun anew.

    Raises:
      folder.FolderError: the folder cannot be written.
      answer.EngineStopped: there is no engine any more.
    """
    self._wake = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note(path: pathlib.Path, record: parts.Record) -> None:
      self._note(path, record)
      loop.call_soon_threadsafe(self._wake.set)

    self._writer = parts.Writer(note)
    try:
      await self._work()
    finally:
      for task in self._tasks:
        task.cancel()
      await asyncio.gather(*self._tasks, return_exceptions=True)
      # What is answered is kept, whatever else went wrong.
      await asyncio.to_thread(self._writer.close)
      await asyncio.to_thread(self._give_up)
    self._check_writer()

  async def _work(self) -> None:
    with self._folder.writing():
      while True:
        self._look()
        taken = await asyncio.to_thread(self._next)
        if taken is not None:
          while taken.ready:
            await self._until_written()
            self._writer.put(taken.part, taken.ready.pop())
          for item in taken.items:
            await self._until_room(item.n)
            self._ask(taken, item)
        elif len(self._done) == self._source.num_ranges:
          return
        else:
          await self._wait(_POLL_S)

  async def _until_room(self, n: int) -> None:
    while self._num_open and self._num_open + n > self._most:
      await self._wait(_POLL_S)
    while self._room is not None and not self._room(self._num_open, n):
      await self._wait(_POLL_S / 20)

  async def _until_written(self) -> None:
    while self._writer.num_waiting >= _MOST_UNWRITTEN:
      await self._wait(_POLL_S)

  async def _wait(self, timeout_s: float) -> None:
    """Until something happens; raises what went wrong."""
    with contextlib.suppress(TimeoutError):
      await asyncio.wait_for(self._wake.wait(), timeout_s)
    self._wake.clear()
    self._look()

  def _look(self) -> None:
    """Raises what went wrong."""
    if self._should_stop():
      raise Stopped('The batch was stopped.')
    self._check_writer()
    for task in [one for one in self._tasks if one.done()]:
      self._tasks.discard(task)
      task.result()

  def _check_writer(self) -> None:
    if isinstance(self._writer.error, OSError):
      raise folder_lib.cannot_write(
        self._folder.root, self._writer.error
      ) from self._writer.error
    if self._writer.error is not None:
      raise self._writer.error

  def _ask(self, taken: _Range, item: order.Item) -> None:
    self._num_open += item.n
    task = asyncio.create_task(self._answer(taken, item))
    self._tasks.add(task)

  async def _answer(self, taken: _Range, item: order.Item) -> None:
    try:
      data = self._source.read_at(item.offset)
      asked = lines.parse(data, limits=self._asker.limits)
      record, num_tokens = await self._asker.answer(item.line, item.key, asked)
    finally:
      self._num_open -= item.n
      self._wake.set()
    self._tokens[item.line] = num_tokens
    self._writer.put(taken.part, record)

  # From here on: not on the event loop's thread.

  def _next(self) -> _Range | None:
    """Takes a range that nobody works on; None if there is none now."""
    done = self._folder.done()
    with self._lock:
      self._count(done)
    mine, others = [], []
    for index in range(self._source.num_ranges):
      is_mine = index % self._shard.count == self._shard.index
      (mine if is_mine else others).append(index)
    # Others are helped from their end, far from where they are.
    for index in (*mine, *reversed(others)):
      if index in done:
        continue
      if lease := self._leases.take(f'range-{index}'):
        if index not in self._folder.done():
          return self._open(index, lease)
        self._leases.release(lease)  # somebody has ended it meanwhile
    return None

  def _open(self, index: int, lease: leases_lib.Lease) -> _Range:
    taken = _Range(
      index=index,
      lease=lease,
      part=self._folder.new_part(index, lease.generation),
    )
    plan = plan_lib.read(
      self._source, index, fingerprint=self._fingerprint,
      limits=self._asker.limits,
      context=self._asker.session.engine.max_context,
    )  # fmt: skip
    taken.keys = plan.keys
    known, num_damaged = self._folder.places(index, taken.keys)
    items = [one for one in plan.items if one.line not in known]
    ready = [one for one in plan.refusals if one.line not in known]
    ready += filter(None, map(self._kept_answer, items))
    taken.ready = ready
    lines_ready = {one.line for one in ready}
    taken.items = order.arrange([x for x in items if x.line not in lines_ready])
    taken.left = len(taken.items) + len(ready)
    failed = sum(place.is_error for place in known.values())
    taken.counts = final.Counts(len(known) - failed, failed)
    with self._lock:
      self._num_damaged += num_damaged
      self._ranges[taken.part] = taken
      if index not in self._done:
        self._counts += taken.counts
    if not taken.left:
      self._finish(taken)
    return taken

  def _kept_answer(self, item: order.Item) -> parts.Record | None:
    return plan_lib.kept_answer(
      item, self._kept, self._source, self._asker.limits
    )

  def _note(self, path: pathlib.Path, record: parts.Record) -> None:
    """A record is on disk."""
    taken = self._ranges[path]
    self._num_tokens += self._tokens.pop(record.line, 0)
    with self._lock:
      one = final.Counts(not record.is_error, record.is_error)
      taken.counts += one
      if taken.index not in self._done:
        self._counts += one
    taken.left -= 1
    if not taken.left:
      self._writer.forget(path)
      self._finish(taken)
    self._report(self.progress())

  def _finish(self, taken: _Range) -> None:
    """Puts a range together, all of whose records this worker has written.

    They need not be there any more: this worker may have been silent for so
    long that another has finished the range and dropped all parts, and a
    record may have been damaged since. Then the range is anybody's again, who
    looks what there is.
    """
    is_whole = False
    with contextlib.suppress(FileNotFoundError, folder_lib.Damaged):
      places, _ = self._folder.places(taken.index, taken.keys)
      if is_whole := places.keys() == taken.keys.keys():
        self._folder.finish(taken.index, places)
    with self._lock:
      del self._ranges[taken.part]
      if is_whole:
        self._done.setdefault(taken.index, taken.counts)
      else:
        self._count(self._done)
    self._leases.release(taken.lease)

  def _give_up(self) -> None:
    """Makes what is not done anybody's, this worker's too."""
    with self._lock:
      left, self._ranges = [*self._ranges.values()], {}
      self._count(self._done)
    # A task that is cancelled before its first step does not count itself out.
    self._num_open = 0
    self._tasks.clear()
    self._tokens.clear()
    # If that cannot be written, the leases end with their owner.
    with contextlib.suppress(OSError):
      for taken in left:
        self._leases.release(taken.lease)

  def _count(self, done: dict[int, final.Counts]) -> None:
    """Counts anew; the sum is told with every record, of many ranges."""
    self._done = done
    counts = [*done.values()]
    # Another may have finished what is open here.
    counts += [x.counts for x in self._ranges.values() if x.index not in done]
    self._counts = sum(counts, final.NONE)

  def progress(self) -> Progress:
    with self._lock:
      return Progress(
        counts=self._counts,
        num_requests=self._source.num_requests,
        num_tokens=self._num_tokens,
        num_damaged=self._num_damaged,
      )
