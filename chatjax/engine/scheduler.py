"""Who runs when: continuous batching over rows and pages. No jax in here.

The scheduler decides one action at a time; the engine carries it out and asks
again. It never touches a device, so that its decisions can be simulated, and
sent to the followers of a pod.

Order. Every job has a place in one virtual queue: its arrival number, plus
`priority_step` per step of its priority, plus `max_rows` for each choice that
it has placed already. So a small number in `priority` goes first, a request
with many choices takes turns with the others, and nobody is overtaken for
ever.

Pages. A row takes pages as it grows. When there are none left, prompts that
wait for a row give theirs back (they are computed again, to the same bits);
then the last row in order is swapped out to the host, and in again, before
anything new starts, when there is room.
"""

from __future__ import annotations

from chatjax import config as config_lib
from chatjax import types
from chatjax.engine import constrain
from chatjax.engine import drafts
from chatjax.engine import job as job_lib
from chatjax.engine import prefix as prefix_lib
from chatjax.engine import tables as tables_lib

Job, Row = job_lib.Job, job_lib.Row


class Scheduler:
  """Rows, pages and the queue before them.

  Args:
    config: sizes and the policy's knobs.
    windows: what the layers of each page pool see; None is everything.

  Attributes:
    rows: running ones, by slot.
    swapped: rows that were put out for want of pages.
  """

  def __init__(
    self,
    config: config_lib.EngineConfig,
    windows: tuple[int | None, ...] = (None,),
  ):
    self.tables = tables_lib.Tables(
      num_pages=[config.num_pages(window) for window in windows],
      windows=windows,
      page_size=config.page_size,
      chunk=config.chunk,
      use_prefixes=config.prefix_cache,
    )
    self.rows: dict[int, Row] = {}
    self.swapped: list[Row] = []
    self._config = config
    self._free_slots = list(range(config.max_rows - 1, -1, -1))
    self._queue: list[Job] = []  # jobs with waiting choices
    self._prefilling: Job | None = None
    self._num_arrived = 0
    self._chunks_left = config.prefill_burst

  @property
  def is_idle(self) -> bool:
    return not (self._queue or self.rows or self.swapped)

  @property
  def num_waiting(self) -> int:
    """Choices that have no row yet."""
    return sum(len(job.waiting) for job in self._queue)

  def add(self, job: Job) -> None:
    """Queues a job, unless it was cancelled before."""
    if not job.waiting:
      return
    request = job.request
    self._num_arrived += 1
    job.order = (
      self._num_arrived + request.priority * self._config.priority_step
    )
    job.names = prefix_lib.chain(
      request.prompt_ids, self._config.chunk, request.cache_salt
    )
    self._queue.append(job)

  def next(self) -> job_lib.Action | None:
    """What the device has to do next; None if there is nothing."""
    return self._resume() or self._start() or self._decode()

  def advance(self, row: Row, token_ids: list[int], num_steps: int) -> None:
    """Takes what a placing or a block drew for a row that was in it."""
    row.in_flight -= num_steps
    row.position += len(token_ids)
    row.generated.extend(token_ids)
    if row.drafter is not None:
      row.drafter.extend(token_ids)

  @property
  def wants_to_read(self) -> bool:
    """Whether a row can go on only when all that was drawn is known."""
    return any(row.is_eager for row in self.rows.values())

  def release(self, row: Row) -> None:
    """Ends a row, running or swapped out: its slot and pages are free."""
    row.job.rows.discard(row)
    if row.slot is None:
      self.swapped.remove(row)
      return
    self._vacate(row)
    self.tables.release(row.table)

  def cancel(self, job: Job, choice: int | None = None) -> None:
    """Ends a choice, or all of a job's; ended ones are ignored."""
    for row in list(job.rows):
      if choice in (None, row.choice):
        self.release(row)
    for waiting in list(job.waiting):
      if choice in (None, waiting):
        job.waiting.remove(waiting)
    if job in self._queue and not job.waiting:
      self._retire(job)

  # The decisions, in the order in which they are tried.

  def _resume(self) -> job_lib.Action | None:
    """Brings back the first of the rows that were put out."""
    if not self.swapped or not self._free_slots:
      return None
    row = min(self.swapped, key=lambda row: row.order)
    # Room for the others to grow, or it would be put out again at once.
    table = self.tables.again(row.shape, spare=len(self.rows))
    while table is None and not self.rows and self._reclaim():
      table = self.tables.again(row.shape, spare=0)
    if table is None:
      return None
    self.swapped.remove(row)
    row.table, row.shape = table, None
    self._occupy(row)
    return job_lib.SwapIn(row)

  def _start(self) -> job_lib.Action | None:
    """Prefills or places the first job in the queue."""
    job = self._prefilling or self._head()
    if job is None:
      return None
    if job.is_prefilled:
      return self._place(job)
    if self.rows and not self._chunks_left:
      return None  # the rows have waited long enough
    while job.table is None and not self._open(job):
      if self.rows or not self._reclaim(job):
        return None
    return self._prefill(job)

  def _head(self) -> Job | None:
    # Rows that were put out come before new ones.
    if self.swapped or not self._queue or not self._free_slots:
      return None
    return min(self._queue, key=lambda job: job.order)

  def _open(self, job: Job) -> bool:
    """Gives a job a table if its prompt and first token fit beside the rest."""
    # The last position is always computed, never taken from the cache.
    num_names = (job.num_prompt - 1) // self._config.chunk
    if job.scores is not None:
      num_names = 0  # every position is wanted
    table, start = self.tables.open(job.names[:num_names])
    need = self.tables.num_pages(job.num_prompt + 1) - len(table)
    if not self.tables.has_room(need, spare=len(job.waiting) > 1):
      self.tables.release(table)
      return False
    if job.num_cached is None:
      job.num_cached = start
    job.table, job.start = table, start
    self._prefilling = job
    return True

  def _prefill(self, job: Job) -> job_lib.Action | None:
    start, chunk = job.start, self._config.chunk
    stop = min(start + chunk, job.num_prompt)
    self.tables.forget_before(job.table, start)
    while not self.tables.grow(job.table, stop):
      if (action := self._make_room(job)) or job.table is None:
        return action
    job.start = stop
    self._chunks_left = max(0, self._chunks_left - 1)
    if stop - start == chunk:
      self.tables.remember(job.table, job.names[start // chunk], start)
    if job.is_prefilled:
      self._prefilling = None
    return job_lib.Prefill(job, start, stop)

  def _place(self, job: Job) -> job_lib.Action | None:
    """Gives the next choice a row: the last one takes the table over."""
    copy, table = None, job.table
    if len(job.waiting) > 1:
      while not (table := self.tables.fork(job.table, job.num_prompt)):
        if (action := self._make_room(job)) or job.table is None:
          return action
      if job.num_prompt % self._config.page_size:
        last = len(table) - 1
        copy = job.table.column(last), table.column(last)
    choice = job.waiting.popleft()
    request, _ = job.request.of_choice(choice)
    row = Row(
      job=job,
      choice=choice,
      order=job.order,
      table=table,
      slot=None,
      position=job.num_prompt - 1,
      in_flight=1,
      logits=job.logits,
      drafter=self._drafter(request),
      constraint=request.constraint and constrain.Guarded(request),
    )
    job.rows.add(row)
    job.order += self._config.max_rows
    if not job.waiting:
      job.table = None  # it is the row's now
      self._retire(job)
    self._occupy(row)
    return job_lib.Place(row, copy)

  def _decode(self) -> job_lib.Action | None:
    if not self.rows:
      return None
    guesses = self._guess()
    is_bound = any(row.constraint is not None for row in self.rows.values())
    num_steps = 1 if guesses or is_bound else self._config.decode_steps
    for row in sorted(self.rows.values(), key=lambda row: row.order):
      self.tables.forget_before(row.table, row.position)
      reach = row.position + row.in_flight + num_steps
      while not self.tables.grow(row.table, min(reach, row.last_position)):
        if action := self._make_room(row):
          return action
    new_pages = {}
    rows = tuple(self.rows[slot] for slot in sorted(self.rows))
    for row in rows:
      row.in_flight += num_steps
      if row.num_sent < len(row.table):
        new_pages[row.slot] = (row.num_sent, row.table.column(row.num_sent))
        row.num_sent += 1
    self._chunks_left = self._config.prefill_burst
    return job_lib.Decode(rows, num_steps, new_pages, guesses)

  def _guess(self) -> dict[Row, tuple[tuple[int, int], ...]]:
    """Lends free rows to those that can guess; see `job.Decode.guesses`."""
    slots = [x for x in range(self._config.num_rows) if x not in self.rows]
    free = min(len(slots), self._config.draft_width - len(self.rows))
    guessing = sorted(
      (row for row in self.rows.values() if row.can_guess),
      key=lambda row: row.order,
    )
    guesses = {}
    for number, row in enumerate(guessing):
      share = -(-free // (len(guessing) - number))
      # Guesses take no page of their own.
      room = len(row.table) * self._config.page_size - row.position - 1
      most = min(share, room, row.last_position - row.position - 1)
      token_ids = row.guess(most) if most > 0 else ()
      if token_ids:
        guesses[row] = tuple((slots.pop(), token_id) for token_id in token_ids)
        free -= len(token_ids)
    return guesses

  def _make_room(self, needy: Job | Row) -> job_lib.Action | None:
    """Frees pages. None: some are free now; else what must happen first.

    A job that is itself the last in order loses its own prompt.
    """
    if self._reclaim(needy):
      return None
    row = max(self.rows.values(), key=lambda row: row.order)
    if isinstance(needy, Job) and needy.order > row.order:
      self._drop_prompt(needy)
      return None
    if any(row.in_flight for row in self.rows.values()):
      return job_lib.Drain()
    return self.swap_out(row)

  def _reclaim(self, needy: Job | Row | None = None) -> bool:
    """Takes the pages of the last prompt that waits for a row."""
    holders = [job for job in self._queue if job.table is not None]
    if isinstance(needy, Job):
      holders = [job for job in holders if job is not needy]
    if not holders:
      return False
    self._drop_prompt(max(holders, key=lambda job: job.order))
    return True

  def swap_out(self, row: Row) -> job_lib.SwapOut:
    """Puts a running row out; nothing of it may be in flight."""
    assert not row.in_flight
    pages = tuple(row.table.column(j) for j in range(len(row.table)))
    row.shape = tables_lib.shape_of(row.table)
    self._vacate(row)
    self.tables.release(row.table)
    self.swapped.append(row)
    return job_lib.SwapOut(row, pages)

  # Bookkeeping.

  def _drafter(self, request: types.TokenRequest) -> drafts.Drafter | None:
    if request.speculation == 'off' or not self._config.draft_width:
      return None
    return drafts.Drafter(
      request.prompt_ids, request.prediction_ids, mode=request.speculation
    )

  def _occupy(self, row: Row) -> None:
    row.slot = self._free_slots.pop()
    row.num_sent = len(row.table)
    self.rows[row.slot] = row

  def _vacate(self, row: Row) -> None:
    del self.rows[row.slot]
    self._free_slots.append(row.slot)
    self._free_slots.sort(reverse=True)
    row.slot = None

  def _retire(self, job: Job) -> None:
    """Takes a job with nothing left to place out of the queue."""
    self._queue.remove(job)
    self._drop_prompt(job)

  def _drop_prompt(self, job: Job) -> None:
    if job.table is not None:
      self.tables.release(job.table)
    job.table, job.start, job.logits = None, 0, None
    if self._prefilling is job:
      self._prefilling = None
