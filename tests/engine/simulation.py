"""A device that remembers what was written where, and an engine's loop on it.

Every position of every page holds the text that led to it, so that reading a
page which was evicted, swapped, shared or copied wrongly is seen at once.
"""

import collections
import random

from chatjax import config as config_lib
from chatjax import types
from chatjax.engine import job as job_lib
from chatjax.engine import scheduler as scheduler_lib
from chatjax.engine import tables as tables_lib

PAGE, CHUNK = 4, 8


def config(**fields):
  fields = {
    'max_rows': 4, 'context': 64, 'page_size': PAGE, 'chunk': CHUNK,
    'decode_steps': 3, 'prefill_burst': 2, 'cache_tokens': 128, **fields,
  }  # fmt: skip
  return config_lib.EngineConfig(**fields)


def job(prompt=5, max_tokens=6, n=1, name='r', **fields):
  ids = (1,) * prompt if isinstance(prompt, int) else tuple(prompt)
  request = types.TokenRequest(
    request_id=name,
    prompt_ids=ids,
    sampling=types.SamplingParams(),
    seed=0,
    stop_ids=frozenset(),
    max_tokens=max_tokens,
    n=n,
    **fields,
  )
  return job_lib.Job(request=request, sink=None)


class Guesser:
  """A constraint whose only part is to force some tokens now and then."""

  def __init__(self, rng):
    self._rng = rng

  def forced(self, limit):
    return [0] * self._rng.randint(0, limit)


class Simulation:
  """Carries out what a scheduler says; rows end when `ends(row)` says so.

  Attributes:
    log: every action, as (name, what it was about).
    num_guesses: positions that were guessed.
    finished: (request id, choice) -> tokens that were drawn.
  """

  def __init__(self, config, windows=(None,), lookahead=0, ends=None):
    self.scheduler = scheduler_lib.Scheduler(config, windows)
    self.log = []
    self.finished = {}
    self._windows = windows
    self._lookahead = lookahead
    self._ends = ends or (lambda row: False)
    self._memory = [collections.defaultdict(dict) for _ in windows]
    self._flights = collections.deque()
    self._begun = set()
    self._pages_per_row = config.pages_per_row
    self._num_rows = config.num_rows
    self._rng = random.Random(0)
    self._right = {}  # row -> guesses in flight that hold
    self.num_guesses = 0

  def step(self):
    """Carries one action out; False if there was none and nothing flies."""
    action = self.scheduler.next()
    if action is None:
      self._land(0)
      return False
    name = type(action).__name__
    self.log.append((name, action))
    getattr(self, '_' + name.lower())(action)
    return True

  def run(self):
    while self.step() or not self.scheduler.is_idle:
      pass

  def counts(self):
    return collections.Counter(name for name, _ in self.log)

  # Content of positions.

  def _text(self, row, position):
    """What a row must find at a position."""
    prompt = row.job.request.prompt_ids
    if position < len(prompt):
      return self._prompt_text(row.job, position)
    return (id(row.job), row.choice, position)

  def _prompt_text(self, job, position):
    request = job.request
    return (request.cache_salt, request.prompt_ids[: position + 1])

  def _check(self, table, upto, text):
    """All that a query at `upto` reads is what it should be."""
    for pool, window in enumerate(self._windows):
      first = 0 if window is None else max(0, upto - window + 1)
      for position in range(first, upto):
        page = table.pages[pool][position // PAGE]
        assert page != tables_lib.HOLE, (pool, position)
        got = self._memory[pool][page].get(position % PAGE)
        assert got == text(position), (pool, position, got)

  def _write(self, table, position, text):
    for pool in range(len(self._windows)):
      page = table.pages[pool][position // PAGE]
      assert page != tables_lib.HOLE
      self._memory[pool][page][position % PAGE] = text

  # Actions.

  def _prefill(self, action):
    job = action.job
    if job not in self._begun:  # what was put out comes back before it starts
      assert not self.scheduler.swapped
      self._begun.add(job)
    text = lambda position: self._prompt_text(job, position)
    self._check(job.table, action.start, text)
    for position in range(action.start, action.stop):
      self._write(job.table, position, text(position))
    if action.stop == job.num_prompt:
      job.logits = 'logits'

  def _place(self, action):
    row = action.row
    assert row.logits == 'logits'
    if action.copy is not None:
      for pool, (source, target) in enumerate(zip(*action.copy, strict=True)):
        self._memory[pool][target] = dict(self._memory[pool][source])
    self._check(row.table, row.position + 1, lambda p: self._text(row, p))
    self._flights.append([(row, 0)])
    self._land(0 if self.scheduler.wants_to_read else self._lookahead)

  def _swapout(self, action):
    assert not action.row.in_flight
    action.row.saved = [
      [dict(memory[page]) for page in pages]
      for memory, pages in zip(
        self._memory, zip(*action.pages, strict=True), strict=True
      )
    ]

  def _swapin(self, action):
    row = action.row
    for memory, pages, saved in zip(
      self._memory, row.table.pages, row.saved, strict=True
    ):
      for page, content in zip(pages, saved, strict=True):
        memory[page] = dict(content)
    row.saved = None

  def _drain(self, action):
    self._land(0)

  def _decode(self, action):
    flight = []
    lent = [slot for pairs in action.guesses.values() for slot, _ in pairs]
    assert len(set(lent)) == len(lent)
    assert not set(lent) & set(self.scheduler.rows)
    assert all(0 <= slot < self._num_rows for slot in lent)
    is_bound = any(row.constraint is not None for row in action.rows)
    assert action.num_steps == 1 or not (lent or is_bound)
    for row in action.rows:
      assert self.scheduler.rows[row.slot] is row
      assert row.constraint is None or not row.in_flight - action.num_steps
      self._guess(row, len(action.guesses.get(row, ())))
      flight.append((row, action.num_steps))
      assert len(row.table) <= self._pages_per_row
    self._flights.append(flight)
    self._land(0 if self.scheduler.wants_to_read else self._lookahead)

  def _guess(self, row, num_guesses):
    """Writes the positions of guesses; how many hold is a matter of luck."""
    self._right[row] = self._rng.randint(0, num_guesses)
    for ahead in range(1, num_guesses + 1):
      position = row.position + ahead
      assert position < row.last_position
      is_right = ahead <= self._right[row]
      text = self._text(row, position) if is_right else 'a wrong guess'
      self._write(row.table, position, text)
      self.num_guesses += 1

  def _land(self, leave):
    while len(self._flights) > leave:
      for row, num_steps in self._flights.popleft():
        if row.slot is not None and self.scheduler.rows.get(row.slot) is row:
          if num_steps:
            self._draw(row, num_steps)
          else:
            self.scheduler.advance(row, [0], 1)
            self._end_if_done(row)

  def _draw(self, row, num_steps):
    drawn = []
    for step in range(num_steps + self._right.pop(row, 0)):
      position = row.position + step
      self._check(row.table, position, lambda p: self._text(row, p))
      self._write(row.table, position, self._text(row, position))
      drawn.append(position)
      done = len(row.generated) + len(drawn)
      if done >= row.job.request.max_tokens:
        break
    self.scheduler.advance(row, drawn, num_steps)
    self._end_if_done(row)

  def _end_if_done(self, row):
    done = len(row.generated)
    if done >= row.job.request.max_tokens or self._ends(row):
      self.finished[row.job.request.request_id, row.choice] = done
      self.scheduler.release(row)


def random_prompt(rng: random.Random, longest: int) -> tuple[int, ...]:
  """Prompts that often begin like one another."""
  stem = rng.choice([1, 2, 3])
  length = rng.randint(1, longest)
  shared = min(length, rng.choice([0, 7, 8, 16, 24]))
  return (stem,) * shared + tuple(
    rng.randrange(100) for _ in range(length - shared)
  )
