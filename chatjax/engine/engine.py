"""The engine: one thread that owns the parameters and the device state."""

from __future__ import annotations

import collections
from collections.abc import Callable
import concurrent.futures
import logging
import threading
from typing import Any

import jax
import numpy as np

from chatjax import config as config_lib
from chatjax import types
from chatjax.engine import fingerprint
from chatjax.engine import programs as programs_lib
from chatjax.engine import scheduler as scheduler_lib
from chatjax.engine import selfcheck
from chatjax.engine import state as state_lib
from chatjax.models import load
from chatjax.sampling import host_keys
from chatjax.sampling import processors
from chatjax.sampling import sampler

_log = logging.getLogger(__name__)

_REASON = {
  state_lib.STOPPED: types.FinishReason.STOP,
  state_lib.LIMIT: types.FinishReason.LENGTH,
}


class EngineDead(types.ChatjaxError):
  """The engine is closed or failed; it serves nothing any more."""


class Engine:
  """Serves token requests, several at a time.

  `submit` and `cancel` may be called from any thread. Sinks are called on
  the engine's own thread.
  """

  def __init__(
    self,
    weights: load.Weights,
    config: config_lib.EngineConfig,
    *,
    prompt_format: str = '',
    progress: programs_lib.Progress = lambda done, total: None,
  ):
    """Compiles and checks all programs, then starts the thread.

    Args:
      weights: the model.
      config: how it is run.
      prompt_format: what else decides the prompt's ids, for the fingerprint.
      progress: called as (programs compiled, programs in all).
    """
    self._model = weights.config
    self._config = config
    self._rows = programs_lib.num_rows(config)
    # Reading the weights and compiling for their shapes go side by side.
    with concurrent.futures.ThreadPoolExecutor(1) as reader:
      params = reader.submit(weights.restore)
      compiled = programs_lib.compile_all(
        self._model, config, weights.abstract, progress
      )
      self.params = params.result()
    cache = programs_lib.init_cache(self._model, config)
    widths, self._cache = selfcheck.equal_widths(
      compiled, self._model, config, self.params, cache
    )
    _log.info('decode widths proven bit-equal: %s', widths)
    self.programs = selfcheck.restrict(compiled, widths)
    self._state = programs_lib.init_state(self._model, config)
    self.fingerprint_parts = fingerprint.parts(
      weights, config, widths=widths, prompt_format=prompt_format
    )
    self.fingerprint = fingerprint.digest(self.fingerprint_parts)
    self.error: Exception | None = None
    self._scheduler = scheduler_lib.Scheduler(
      max_rows=config.max_rows,
      num_pages=config.num_pages,
      page_size=config.page_size,
    )
    self._open: dict[str, scheduler_lib.Job] = {}  # by request id
    self._commands: collections.deque[Callable[[], None]] = collections.deque()
    self._wake = threading.Condition()
    self._is_closing = False
    self._thread = threading.Thread(
      target=self._run, name='chatjax-engine', daemon=True
    )
    self._thread.start()

  @property
  def vocab_size(self) -> int:
    return self._model.vocab_size

  @property
  def max_context(self) -> int:
    """Positions per sequence, prompt and answer."""
    return min(self._config.context, self._model.max_context)

  @property
  def is_alive(self) -> bool:
    return self._thread.is_alive() and not self._is_closing

  @property
  def num_pages_used(self) -> int:
    return self._scheduler.pool.num_used

  @property
  def num_open(self) -> int:
    """Choices that have not ended."""
    with self._wake:
      return sum(job.num_open for job in self._open.values())

  def submit(self, request: types.TokenRequest, sink: types.Sink) -> None:
    """Queues a request.

    Raises:
      RequestError: it cannot be served, or too many are waiting (503).
      EngineDead: the engine is closed or failed.
    """
    self._check(request)
    job = scheduler_lib.Job(request=request, sink=sink)
    with self._wake:
      if not self.is_alive:
        raise EngineDead('The engine does not run any more.')
      if request.request_id in self._open:
        raise types.RequestError(
          f'Request id {request.request_id!r} is in use.', param='id'
        )
      bound = self._config.max_queue + self._config.max_rows
      num_open = sum(job.num_open for job in self._open.values())
      if num_open + request.n > bound:
        raise types.RequestError(
            f'{num_open} choices are running or waiting already, of {bound} at'
          ' most; try again later.', code='server_overloaded', status=503,
        )  # fmt: skip
      self._open[request.request_id] = job
      self._commands.append(lambda: self._scheduler.add(job))
      self._wake.notify()

  def cancel(self, request_id: str, choice: int | None = None) -> None:
    """Ends a choice or a whole request; what has ended already is ignored."""
    with self._wake:
      job = self._open.get(request_id)
      if job is not None:
        self._commands.append(lambda: self._cancel(job, choice))
        self._wake.notify()

  def close(self) -> None:
    """Stops the thread; open requests get an error."""
    with self._wake:
      self._is_closing = True
      self._wake.notify()
    self._thread.join()

  def _check(self, request: types.TokenRequest) -> None:
    ids = np.asarray(request.prompt_ids, np.int64)
    if not ids.size:
      raise types.RequestError('The prompt is empty.', param='messages')
    if ids.min() < 0 or ids.max() >= self.vocab_size:
      raise types.RequestError(
        f'Prompt token ids must be in 0..{self.vocab_size - 1}.',
        param='messages',
      )
    total = len(ids) + request.max_tokens
    if request.max_tokens < 1 or total > self.max_context:
      raise types.RequestError(
          f'A prompt of {len(ids)} tokens and max_tokens={request.max_tokens}'
          f' do not fit a context of {self.max_context}.',
          param='max_tokens', code='context_length_exceeded',
      )  # fmt: skip
    # What the engine's thread will make of the request must not fail there.
    sampler.host_params(request.sampling)
    processors.bias_row(request.sampling.logit_bias, self.vocab_size)
    if request.n < 1:
      raise types.RequestError(
        f'n={request.n} is below 1; ask for one choice or more.', param='n'
      )
    if not types.MIN_SEED <= request.seed <= types.MAX_SEED:
      raise types.RequestError(
        f'seed={request.seed} does not fit 64 signed bits.', param='seed'
      )
    if not all(0 <= stop_id < self.vocab_size for stop_id in request.stop_ids):
      raise types.RequestError(
        f'Stop token ids must be in 0..{self.vocab_size - 1}.',
        param='stop_token_ids',
      )
    if len(request.stop_ids) > state_lib.MAX_STOP_IDS:
      raise types.RequestError(
        f'{len(request.stop_ids)} stop token ids; at most'
        f' {state_lib.MAX_STOP_IDS} are allowed.',
        param='stop_token_ids',
      )

  # From here on: the engine's thread.

  def _run(self) -> None:
    try:
      while self._wait_for_work():
        self._prefill_some()
        if self._scheduler.rows:
          self._decode_block()
      self._fail_open(EngineDead('The engine was closed.'))
    except Exception as e:  # noqa: BLE001
      # Ruling: the thread may catch everything; it fails the open requests.
      _log.exception('the engine failed')
      self.error = e
      self._fail_open(EngineDead('The engine failed.'))

  def _wait_for_work(self) -> bool:
    """Takes commands; blocks while there is nothing to do."""
    with self._wake:
      while True:
        while self._commands:
          self._commands.popleft()()
        if self._is_closing:
          return False
        if not self._scheduler.is_idle:
          return True
        self._wake.wait()

  def _cancel(self, job: scheduler_lib.Job, choice: int | None) -> None:
    self._scheduler.cancel(job, choice)
    self._forget_if_done(job)

  def _forget_if_done(self, job: scheduler_lib.Job) -> None:
    if not job.num_open:
      self._open.pop(job.request.request_id, None)

  def _fail_open(self, error: Exception) -> None:
    with self._wake:
      self._is_closing = True
      self._commands.clear()
      jobs = list(self._open.values())
      self._open.clear()
    for job in jobs:
      job.sink.error(error)

  def _prefill_some(self) -> None:
    """Runs a bounded number of prefill chunks, placing what gets ready."""
    for _ in range(self._config.prefill_burst):
      job = self._scheduler.head()
      if job is None:
        return
      if not job.is_prefilled:
        self._prefill_chunk(job)
      if job.is_prefilled:
        while row := self._scheduler.place(job):
          self._admit(row)
        if job.unplaced:
          return

  def _prefill_chunk(self, job: scheduler_lib.Job) -> None:
    chunk = self._config.chunk
    prompt = job.request.prompt_ids
    part = prompt[job.start : job.start + chunk]
    tokens_C = np.zeros(chunk, np.int32)
    tokens_C[: len(part)] = part
    x_CD, self._cache = self.programs.prefill(
        self.params, self._cache, tokens_C, np.int32(job.start),
        self._table(job.pages),
    )  # fmt: skip
    job.start += len(part)
    if job.start == len(prompt):
      job.logits = self.programs.score(
        self.params, x_CD, np.int32(len(part) - 1)
      )

  def _table(self, pages: tuple[int, ...]) -> np.ndarray:
    table_P = np.zeros(self._config.pages_per_row, np.int32)
    table_P[: len(pages)] = pages
    return table_P

  def _admit(self, row: scheduler_lib.Row) -> None:
    """Draws the choice's first token; the row then decodes with the rest."""
    if row.tail_copy is not None:
      source, target = map(np.int32, row.tail_copy)
      self._cache = self.programs.copy_page(self._cache, source, target)
    self._state, emitted = self.programs.admit(
      self._state, row.logits, np.int32(row.slot), self._row_state(row)
    )
    row.logits = None
    self._deliver(row, jax.tree.map(lambda x: x[None], _fetch(emitted)))

  def _row_state(self, row: scheduler_lib.Row) -> state_lib.RowState:
    request, sampling = row.job.request, row.job.request.sampling
    vocab_size = self.vocab_size
    in_prompt_V = np.zeros(vocab_size, bool)
    in_prompt_V[list(request.prompt_ids)] = True
    stop_ids = np.full(state_lib.MAX_STOP_IDS, -1, np.int32)
    stop_ids[: len(request.stop_ids)] = sorted(request.stop_ids)
    key = host_keys.choice_words(request.seed, row.choice)
    return state_lib.RowState(
      token=np.int32(0),
      position=np.int32(len(request.prompt_ids) - 1),
      step=np.int32(0),
      limit=np.int32(request.max_tokens),
      active=np.bool_(True),
      key=np.asarray(key, np.uint32),
      params=sampler.host_params(sampling),
      counts_V=np.zeros(vocab_size, np.int32),
      in_prompt_V=in_prompt_V,
      bias_V=processors.bias_row(sampling.logit_bias, vocab_size),
      stop_ids=stop_ids,
      table_P=self._table(row.pages),
      num_top=np.int32(sampling.top_logprobs if sampling.logprobs else 0),
    )

  def _decode_block(self) -> None:
    slots = sorted(self._scheduler.rows)
    width = self.programs.width(len(slots))
    live = None
    if self._config.dtype == 'int8':
      live = programs_lib.live_rows(slots, width, self._rows)
    keep_B = np.zeros(self._rows, bool)
    keep_B[slots] = True
    self._cache, self._state, emitted = self.programs.decode[width](
        self.params, self._cache, self._state, live, keep_B,
        np.int32(self._config.decode_steps),
    )  # fmt: skip
    emitted = _fetch(emitted)
    for row in [self._scheduler.rows[slot] for slot in slots]:
      # A broken row takes its request's other rows with it.
      if self._scheduler.rows.get(row.slot) is row:
        self._deliver(row, jax.tree.map(lambda x, s=row.slot: x[:, s], emitted))

  def _deliver(
    self, row: scheduler_lib.Row, emitted: state_lib.Emitted
  ) -> None:
    """Hands one row's tokens [N] on, and ends the row if they say so."""
    job, sampling = row.job, row.job.request.sampling
    count = int((emitted.token >= 0).sum())
    assert count, 'a row in a slot draws a token in every block'
    finish = int(emitted.finish[count - 1])
    if finish == state_lib.BROKEN:
      self._break(row)
      return
    num_top = sampling.top_logprobs if sampling.logprobs else 0
    tokens = []
    for i in range(count):
      top = zip(
        emitted.top_ids[i, :num_top].tolist(),
        emitted.top_logprobs[i, :num_top].tolist(),
        strict=True,
      )
      tokens.append(types.Token(
          int(emitted.token[i]), float(emitted.logprob[i]), tuple(top)
      ))  # fmt: skip
    job.sink.tokens(row.choice, tokens)
    if finish != state_lib.RUNNING:
      self._scheduler.release(row)
      with self._wake:
        self._forget_if_done(job)
      job.sink.finish(row.choice, _REASON[finish])

  def _break(self, row: scheduler_lib.Row) -> None:
    """Fails a request whose logits are not numbers."""
    with self._wake:
      self._cancel(row.job, None)
    row.job.sink.error(
      types.ChatjaxError(
        'The model produced logits that are not numbers; its weights or'
        ' this dtype are at fault.'
      )
    )


def _fetch(tree: Any) -> Any:
  """The one place where the host waits for the device."""
  return jax.device_get(tree)
