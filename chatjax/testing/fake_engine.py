"""An engine that plays a script: tokens, pauses and failures to order."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import threading
import time
import types as types_lib

from chatjax import types
from chatjax.engine import stats
from chatjax.testing import byte_tokenizer

Script = Callable[[types.TokenRequest, int], Sequence[int]]


class FakeEngine:
  """Serves each request on a thread of its own, the choices taking turns.

  Args:
    script: (request, choice) -> the ids that the choice would generate if
      nothing ended it. When they run out, the choice has reached its limit.
    block: tokens per choice and turn.
    pause_s: time before each turn.
    fail_after: turns after which the engine fails and stays dead.
    max_open: choices at a time; more are refused with 503.
    max_running: requests that generate at once; the others wait.
    num_cached: prompt tokens that every request is told to be cached.

  Attributes:
    totals, listeners: as an engine's.
    requests: what was submitted, in order.
    cancelled: (request_id, choice) of the calls that still found something.
  """

  vocab_size = byte_tokenizer.ByteTokenizer.vocab_size
  fingerprint = 'fp_fake'
  fingerprint_parts = types_lib.MappingProxyType({'engine': 'a script'})
  num_swapped = 0
  num_compilations = 0
  weight_bytes = 1000
  max_rows = 8

  def __init__(
    self,
    script: Script,
    *,
    block: int = 4,
    pause_s: float = 0.0,
    fail_after: int | None = None,
    max_context: int = 4096,
    max_open: int = 2**31,
    max_running: int = 2**31,
    num_cached: int = 0,
  ):
    self.max_context = max_context
    self.requests: list[types.TokenRequest] = []
    self.cancelled: list[tuple[str, int | None]] = []
    self.error: Exception | None = None
    self.totals = stats.Totals()
    self.listeners: list[stats.Listener] = []
    self._script = script
    self._block = block
    self._pause_s = pause_s
    self._turns_left = fail_after
    self.max_open = max_open
    self._max_running = max_running
    self._num_cached = num_cached
    # Collecting a dropped stream cancels, in the middle of anything.
    self._lock = threading.Condition(threading.RLock())
    self._open: dict[str, set[int]] = {}
    self._running: set[str] = set()
    self._threads: list[threading.Thread] = []

  @property
  def is_alive(self) -> bool:
    return self.error is None

  @property
  def num_open(self) -> int:
    """Choices that still generate."""
    with self._lock:
      return sum(map(len, self._open.values()))

  @property
  def num_running(self) -> int:
    with self._lock:
      return sum(len(self._open[request_id]) for request_id in self._running)

  @property
  def num_pages_used(self) -> int:
    """One per choice that generates."""
    return self.num_running

  @property
  def cache_usage(self) -> float:
    return min(1.0, self.num_running / 100)

  def submit(self, request: types.TokenRequest, sink: types.Sink) -> None:
    if not self.is_alive:
      raise types.ChatjaxError('The engine does not run any more.')
    if self.num_open + request.n > self.max_open:
      raise types.RequestError(
        'The queue is full.', code='server_overloaded', status=503
      )
    self.requests.append(request)
    with self._lock:
      self._open[request.request_id] = set(range(request.n))
    thread = threading.Thread(
      target=self._play, args=(request, sink), daemon=True
    )
    self._threads = [one for one in self._threads if one.is_alive()]
    self._threads.append(thread)
    thread.start()

  def cancel(self, request_id: str, choice: int | None = None) -> None:
    with self._lock:
      rows = self._open.get(request_id, set())
      gone = set(rows) if choice is None else rows & {choice}
      if gone:
        self.cancelled.append((request_id, choice))
        rows -= gone
        self._lock.notify_all()

  def close(self) -> None:
    self.error = self.error or RuntimeError('closed')
    with self._lock:
      self._max_running = 2**31  # those who wait learn of it too
      self._lock.notify_all()
    for thread in self._threads:
      thread.join()

  def _play(self, request: types.TokenRequest, sink: types.Sink) -> None:
    """One request from its arrival to its end, on its own thread."""
    timeline = stats.Timeline(
      request_id=request.request_id,
      num_prompt=len(request.prompt_ids),
      arrived=time.monotonic(),
    )
    rows = self._open[request.request_id]
    try:
      if self._wait_for_room(request.request_id, rows):
        self._generate(request, sink, rows, timeline)
    except types.ChatjaxError as error:
      timeline.outcome = 'error'
      with self._lock:
        rows.clear()
      sink.error(error)
    with self._lock:
      self._running.discard(request.request_id)
      del self._open[request.request_id]
      self._lock.notify_all()
      self._report(timeline)

  def _wait_for_room(self, request_id: str, rows: set[int]) -> bool:
    """Whether anybody still wants the answer when it is its turn."""
    with self._lock:
      self._lock.wait_for(
        lambda: not rows or len(self._running) < self._max_running
      )
      if rows:
        self._running.add(request_id)
      return bool(rows)

  def _generate(
    self,
    request: types.TokenRequest,
    sink: types.Sink,
    rows: set[int],
    timeline: stats.Timeline,
  ) -> None:
    timeline.started = time.monotonic()
    timeline.num_cached = self._num_cached
    with self._lock:
      self.totals.prompt_tokens += timeline.num_prompt
      self.totals.cached_tokens += timeline.num_cached
    sink.started(self._num_cached)
    if request.prompt_logprobs is not None:
      sink.prompt(
        [
          fake_prompt_token(one, request.prompt_logprobs)
          for one in request.prompt_ids[1:]
        ]
      )
    scripts = [self._ids(request, choice) for choice in range(request.n)]
    start, last = 0, None
    while self._has_any(rows):
      if self._pause_s:
        time.sleep(self._pause_s)
      self._check(request, timeline)
      now = time.monotonic()
      for choice in range(request.n):
        if choice in rows:
          block = scripts[choice][start : start + self._block]
          timeline.delivered(len(block), last, now)
          self._turn(request, sink, choice, scripts[choice], start, timeline)
      start, last = start + self._block, now

  def _has_any(self, rows: set[int]) -> bool:
    with self._lock:
      return bool(rows)

  def _ids(self, request: types.TokenRequest, choice: int) -> list[int]:
    """The script up to and with what ends it."""
    ids = list(self._script(request, choice))[: request.max_tokens]
    for idx, token_id in enumerate(ids):
      if token_id in request.stop_ids:
        return ids[: idx + 1]
    return ids

  def _turn(
    self,
    request: types.TokenRequest,
    sink: types.Sink,
    choice: int,
    ids: list[int],
    start: int,
    timeline: stats.Timeline,
  ) -> None:
    block = ids[start : start + self._block]
    num_top = request.sampling.top_logprobs
    with self._lock:
      self.totals.generated_tokens += len(block)
    sink.tokens(choice, [fake_token(one, num_top) for one in block])
    if start + self._block >= len(ids):
      is_stop = bool(ids) and ids[-1] in request.stop_ids
      reason = types.FinishReason.STOP if is_stop else types.FinishReason.LENGTH
      timeline.outcome = str(reason)
      sink.finish(choice, reason)
      with self._lock:
        self._open[request.request_id].discard(choice)

  def _check(
    self, request: types.TokenRequest, timeline: stats.Timeline
  ) -> None:
    """Raises if the engine fails now, or the request's time is up."""
    if self._turns_left is not None:
      self._turns_left -= 1
      if self._turns_left < 0:
        self.error = self.error or RuntimeError('scripted failure')
    if self.error is not None:
      raise types.ChatjaxError('The engine failed.')
    passed_s = time.monotonic() - timeline.arrived
    if request.timeout_s is not None and passed_s > request.timeout_s:
      raise types.RequestError(
        f'The request was not done within {request.timeout_s:g} s.',
        code='deadline_exceeded',
        status=504,
      )

  def _report(self, timeline: stats.Timeline) -> None:
    timeline.ended = time.monotonic()
    self.totals.finished[timeline.outcome] += 1
    for listener in self.listeners:
      listener(timeline)


def fake_token(token_id: int, num_top: int) -> types.Token:
  """A token whose log-probabilities follow from its id."""
  top = tuple(
    ((token_id + k) % byte_tokenizer.BOS, -0.5 * (k + 1))
    for k in range(num_top)
  )
  return types.Token(id=token_id, logprob=-0.5 - token_id / 1024, top=top)


def fake_prompt_token(token_id: int, num_top: int) -> types.PromptToken:
  """As `fake_token`; the most likely one."""
  one = fake_token(token_id, num_top)
  return types.PromptToken(
    id=token_id, logprob=one.logprob, rank=1, top=one.top
  )


def text_script(*texts: str, end: bool = True) -> Script:
  """Choice i says `texts[i % len(texts)]`, then EOS if `end`."""

  def script(request: types.TokenRequest, choice: int) -> list[int]:
    ids = list(texts[choice % len(texts)].encode())
    return [*ids, byte_tokenizer.EOS] if end else ids

  return script
