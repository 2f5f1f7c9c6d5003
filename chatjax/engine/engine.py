"""The engine: one thread between the scheduler and the device."""

from __future__ import annotations

import collections
from collections.abc import Callable
import itertools
import logging
import threading
import time
from typing import Any

import jax
import numpy as np

from chatjax import config as config_lib
from chatjax import types
from chatjax.engine import admission
from chatjax.engine import caller as caller_lib
from chatjax.engine import compilations
from chatjax.engine import device as device_lib
from chatjax.engine import fingerprint
from chatjax.engine import group as group_lib
from chatjax.engine import job as job_lib
from chatjax.engine import programs as programs_lib
from chatjax.engine import replica as replica_lib
from chatjax.engine import scheduler as scheduler_lib
from chatjax.engine import state as state_lib
from chatjax.engine import stats
from chatjax.models import load

_log = logging.getLogger(__name__)

_REASON = {
  state_lib.STOPPED: types.FinishReason.STOP,
  state_lib.LIMIT: types.FinishReason.LENGTH,
}


class EngineDead(types.ChatjaxError):
  """The engine is closed or failed; it serves nothing any more."""


class Engine:
  """Serves token requests, many at a time.

  `submit` and `cancel` may be called from any thread. Sinks and listeners are
  called on the engine's own thread.

  Attributes:
    weights: the model.
    config: how it is run.
    totals: what it has done since its start.
    listeners: called with the timeline of every request that ends.
    error: why its thread ended, if it failed.
  """

  def __init__(
    self,
    weights: load.Weights,
    config: config_lib.EngineConfig,
    *,
    prompt_format: str = '',
    progress: programs_lib.Progress = lambda done, total: None,
    leader: group_lib.Leader | None = None,
  ):
    """Compiles and checks all programs, then starts the thread.

    Args:
      weights: the model.
      config: how it is run.
      prompt_format: what else decides the prompt's ids, for the fingerprint.
      progress: called as (programs compiled, programs in all).
      leader: tells other processes what to do, if there are any; closed with
        the engine.
    """
    self.weights, self.config = weights, config
    self._model, self._config = weights.config, config
    self.totals = stats.Totals()
    self.listeners: list[stats.Listener] = []
    self.error: Exception | None = None
    self._leader = leader
    self._replica = replica_lib.Replica(weights, config, progress)
    self._device = device_lib.Device(
      self._model,
      config,
      self.programs,
      caller_lib.Caller(self._replica, leader),
      self.totals,
    )
    self.fingerprint_parts = fingerprint.parts(
      weights,
      config,
      widths=self.programs.widths,
      attention=self.programs.attention,
      prompt_format=prompt_format,
    )
    self.fingerprint = fingerprint.digest(self.fingerprint_parts)
    self._scheduler = scheduler_lib.Scheduler(
      config, tuple(map(self._model.window, self._model.kinds))
    )
    self._lookahead = config.lookahead
    if self._lookahead is None:
      self._lookahead = 0 if jax.default_backend() == 'cpu' else 1
    self._flights: collections.deque[device_lib.Block] = collections.deque()
    self._open: dict[str, job_lib.Job] = {}  # by request id
    self._commands: collections.deque[Callable[[], None]] = collections.deque()
    self._wake = threading.Condition()
    self._is_closing = False
    self._num_compiled_before = compilations.counter().count
    self._thread = threading.Thread(
      target=self._run, name='chatjax-engine', daemon=True
    )
    self._thread.start()
    if leader is not None:
      leader.watch(self._lose)

  @property
  def params(self) -> Any:
    return self._replica.arrays['params']

  @property
  def programs(self) -> programs_lib.Programs:
    return self._replica.programs

  @property
  def vocab_size(self) -> int:
    return self._model.vocab_size

  @property
  def max_context(self) -> int:
    """Positions per sequence, prompt and answer."""
    return min(self._config.context, self._model.max_context)

  @property
  def max_rows(self) -> int:
    """Choices that decode at once."""
    return self._config.max_rows

  @property
  def max_open(self) -> int:
    """Choices that may be open: one more is refused."""
    return self._config.max_queue + self._config.max_rows

  @property
  def is_alive(self) -> bool:
    return self._thread.is_alive() and not self._is_closing

  @property
  def num_open(self) -> int:
    """Choices that have not ended."""
    with self._wake:
      return sum(job.num_open for job in self._open.values())

  @property
  def num_running(self) -> int:
    """Choices that decode."""
    return len(self._scheduler.rows)

  @property
  def num_swapped(self) -> int:
    """Choices that were put out for want of pages."""
    return len(self._scheduler.swapped)

  @property
  def num_pages_used(self) -> int:
    """Pages that a request holds; 0 when none is open."""
    return self._scheduler.tables.num_used

  @property
  def cache_usage(self) -> float:
    """Share of the fullest page pool that requests hold."""
    return self._scheduler.tables.usage

  @property
  def num_compilations(self) -> int:
    """Programs that this process compiled since the engine was ready."""
    return compilations.counter().count - self._num_compiled_before

  @property
  def weight_bytes(self) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(self.params))

  def submit(self, request: types.TokenRequest, sink: types.Sink) -> None:
    """Queues a request.

    Raises:
      RequestError: it cannot be served, or too many are waiting (503).
      EngineDead: the engine is closed or failed.
    """
    admission.check(
      request, vocab_size=self.vocab_size, max_context=self.max_context
    )
    job = job_lib.Job(request=request, sink=sink)
    job.timeline = stats.Timeline(
      request_id=request.request_id,
      num_prompt=job.num_prompt,
      arrived=time.monotonic(),
    )
    with self._wake:
      if not self.is_alive:
        raise EngineDead('The engine does not run any more.')
      if request.request_id in self._open:
        raise types.RequestError(
          f'Request id {request.request_id!r} is in use.', param='id'
        )
      num_open = sum(job.num_open for job in self._open.values())
      if num_open + request.n > self.max_open:
        raise types.RequestError(
          f'{num_open} choices are running or waiting already, of'
          f' {self.max_open} at most; try again later.',
          code='server_overloaded',
          status=503,
        )
      self._open[request.request_id] = job
      self._commands.append(lambda: self._scheduler.add(job))
      self._wake.notify()

  def cancel(self, request_id: str, choice: int | None = None) -> None:
    """Ends a choice or a whole request; what has ended already is ignored."""
    self._post(request_id, lambda job: self._cancel(job, choice))

  def preempt(self, request_id: str) -> None:
    """Swaps a request's running rows out, as if pages were short."""
    self._post(request_id, self._preempt)

  def close(self) -> None:
    """Stops the thread; open requests get an error."""
    with self._wake:
      self._is_closing = True
      self._wake.notify()
    self._thread.join()
    if self._leader is not None:
      self._leader.close()

  def _lose(self, error: group_lib.GroupError) -> None:
    """A process is gone; the engine's thread may wait for it for ever."""
    self.error = error
    self._fail_open(EngineDead(str(error)))

  def _post(
    self, request_id: str, command: Callable[[job_lib.Job], None]
  ) -> None:
    with self._wake:
      job = self._open.get(request_id)
      if job is not None:
        self._commands.append(lambda: command(job))
        self._wake.notify()

  # From here on: the engine's thread.

  def _run(self) -> None:
    try:
      with jax.transfer_guard('disallow'):
        while self._wait_for_work():
          self._expire()
          if self._has_work():
            self._act(self._scheduler.next())
      self._fail_open(EngineDead('The engine was closed.'))
    except Exception as e:  # noqa: BLE001
      # Ruling: the thread may catch everything; it fails the open requests.
      _log.exception('the engine failed')
      self.error = e
      self._fail_open(EngineDead('The engine failed.'))
      if self._leader is not None:
        # A call that failed may be the first sign of a process that is lost.
        self._leader.fail('The engine failed.', patience_s=group_lib.BEAT_S)

  def _wait_for_work(self) -> bool:
    """Runs commands; blocks while there is nothing to do."""
    while True:
      with self._wake:
        while not (self._commands or self._is_closing or self._has_work()):
          self._wake.wait()
        commands = list(self._commands)
        self._commands.clear()
        if self._is_closing:
          return False
      for command in commands:
        command()
      if self._has_work():
        return True

  def _has_work(self) -> bool:
    return bool(self._flights) or not self._scheduler.is_idle

  def _act(self, action: job_lib.Action | None) -> None:
    """Carries out one decision of the scheduler."""
    match action:
      case job_lib.Prefill(job):
        if job.timeline.started is None:
          self._note_start(job)
        self._device.prefill(action)
        if job.scores is not None and job.is_prefilled:
          job.sink.prompt(_prompt_tokens(job))
          job.scores = None
      case job_lib.Place():
        self._flights.append(self._device.place(action))
        self._land(self._leave)
      case job_lib.Decode():
        self._flights.append(self._device.decode(action))
        self._land(self._leave)
      case job_lib.SwapOut(row):
        row.job.timeline.num_preemptions += 1
        self.totals.preemptions += 1
        self._device.swap_out(action)
      case job_lib.SwapIn():
        self._device.swap_in(action)
      case job_lib.Drain() | None:
        assert self._flights, 'the scheduler is stuck'
        self._land(0)

  @property
  def _leave(self) -> int:
    """Blocks that may be left in flight."""
    return 0 if self._scheduler.wants_to_read else self._lookahead

  def _note_start(self, job: job_lib.Job) -> None:
    job.timeline.started = time.monotonic()
    job.timeline.num_cached = job.num_cached
    self.totals.prompt_tokens += job.num_prompt
    self.totals.cached_tokens += job.num_cached
    job.sink.started(job.num_cached)

  def _land(self, leave: int) -> None:
    """Reads the oldest blocks in flight until `leave` are left."""
    while len(self._flights) > leave:
      block = self._flights.popleft()
      emitted = self._device.read(block, is_last=not self._flights)
      for indices, slot, row in block.rows:
        # It may have ended since, alone or with its request.
        if self._scheduler.rows.get(slot) is row:
          self._judge(row, emitted.token[0, list(indices[1:])])
          self._deliver(row, _of_row(emitted, indices), block.num_steps)

  def _judge(self, row: job_lib.Row, verified: np.ndarray) -> None:
    """Notes what became of a row's guesses: -1 where one was wrong."""
    if not verified.size or row.is_forced:
      return
    accepted = int((verified >= 0).sum())
    row.drafter.judge(verified.size, accepted)
    self.totals.drafted_tokens += verified.size
    self.totals.accepted_tokens += accepted
    row.job.sink.drafted(
      types.Drafted(accepted=accepted, rejected=verified.size - accepted)
    )

  def _deliver(
    self, row: job_lib.Row, emitted: state_lib.Emitted, num_steps: int
  ) -> None:
    """Hands one row's tokens on, and ends the row if they say so."""
    job, count = row.job, len(emitted.token)
    assert count, 'a row in a slot draws a token in every block'
    finish = int(emitted.finish[-1])
    if finish == state_lib.BROKEN:
      self._fail(job, types.ChatjaxError(
          'The model produced logits that are not numbers; its weights or'
          ' this dtype are at fault.'
      ))  # fmt: skip
      return
    is_over = finish != state_lib.RUNNING
    if row.constraint is not None:
      if not is_over:
        row.constraint.advance(emitted.token.tolist())
      if row.constraint.error:
        self._fail(job, row.constraint.error)
        return
    tokens = _tokens(emitted, row.request)
    self._scheduler.advance(row, [token.id for token in tokens], num_steps)
    now = time.monotonic()
    job.timeline.delivered(count, row.delivered, now)
    row.delivered = now
    self.totals.generated_tokens += count
    job.sink.tokens(row.choice, tokens)
    if is_over:
      self._scheduler.release(row)
      job.timeline.outcome = str(_REASON[finish])
      self._forget_if_done(job)
      job.sink.finish(row.choice, _REASON[finish])

  def _expire(self) -> None:
    """Fails the requests whose time is up."""
    now = time.monotonic()
    with self._wake:
      jobs = list(self._open.values())
    for job in jobs:
      timeout_s = job.request.timeout_s
      if timeout_s is not None and now - job.timeline.arrived > timeout_s:
        self._fail(job, types.RequestError(
            f'The request was not done within {timeout_s:g} s.',
            code='deadline_exceeded', status=504,
        ))  # fmt: skip

  def _preempt(self, job: job_lib.Job) -> None:
    self._land(0)
    for row in sorted(job.rows, key=lambda row: row.choice):
      if row.slot is not None:
        self._act(self._scheduler.swap_out(row))

  def _cancel(self, job: job_lib.Job, choice: int | None) -> None:
    self._scheduler.cancel(job, choice)
    self._forget_if_done(job)

  def _fail(self, job: job_lib.Job, error: types.ChatjaxError) -> None:
    job.timeline.outcome = 'error'
    self._cancel(job, None)
    job.sink.error(error)

  def _forget_if_done(self, job: job_lib.Job) -> None:
    with self._wake:
      if job.num_open:
        return
      if not self._open.pop(job.request.request_id, None):
        return
    self._report(job)

  def _report(self, job: job_lib.Job) -> None:
    job.timeline.ended = time.monotonic()
    self.totals.finished[job.timeline.outcome] += 1
    for listener in self.listeners:
      listener(job.timeline)

  def _fail_open(self, error: Exception) -> None:
    with self._wake:
      self._is_closing = True
      self._commands.clear()
      jobs = list(self._open.values())
      self._open.clear()
    for job in jobs:
      job.timeline.outcome = 'error'
      job.sink.error(error)
      self._report(job)


def _of_row(
  emitted: state_lib.Emitted, indices: tuple[int, ...]
) -> state_lib.Emitted:
  """One row's tokens [N], in order: the first step's, then the others'."""
  num_steps = emitted.token.shape[0]
  step = np.array([0] * len(indices) + list(range(1, num_steps)))
  index = np.array([*indices, *[indices[0]] * (num_steps - 1)])
  drew = emitted.token[step, index] >= 0
  return jax.tree.map(lambda x: x[step[drew], index[drew]], emitted)


def _prompt_tokens(job: job_lib.Job) -> list[types.PromptToken]:
  """All tokens of a scored prompt but the first."""
  num_top = job.request.prompt_logprobs
  chunks = [job.scores[start] for start in sorted(job.scores)]
  scores = jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)
  return [
    types.PromptToken(token_id, logprob, rank, tuple(zip(*top, strict=True)))
    for token_id, logprob, rank, *top in zip(
      job.request.prompt_ids[1:],
      scores.logprob.tolist(),
      scores.rank.tolist(),
      scores.top_ids[:, :num_top].tolist(),
      scores.top_logprobs[:, :num_top].tolist(),
      strict=True,
    )
  ]


def _tokens(
  emitted: state_lib.Emitted, request: types.TokenRequest
) -> list[types.Token]:
  """The drawn tokens of one row, for people of the host."""
  sampling = request.sampling
  num_top = sampling.top_logprobs if sampling.logprobs else 0
  top_ids = np.asarray(emitted.top_ids)[:, :num_top].tolist()
  top_logprobs = np.asarray(emitted.top_logprobs)[:, :num_top].tolist()
  measured = itertools.repeat(None)
  if request.is_measured:
    said = emitted.measured
    columns = said.entropy.tolist(), said.rank.tolist(), said.free.tolist()
    measured = itertools.starmap(types.Measured, zip(*columns, strict=True))
  return [
    types.Token(token_id, logprob, tuple(zip(*top, strict=True)), one)
    for token_id, logprob, *top, one in zip(
      emitted.token.tolist(),
      emitted.logprob.tolist(),
      top_ids,
      top_logprobs,
      itertools.islice(measured, len(emitted.token)),
      strict=True,
    )
  ]
