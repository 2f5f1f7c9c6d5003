"""An engine that plays a script: tokens, pauses and failures to order."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import threading
import time

from chatjax import types
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
    num_cached: prompt tokens that every request is told to be cached.

  Attributes:
    requests: what was submitted, in order.
    cancelled: (request_id, choice) of the calls that still found something.
  """

  vocab_size = byte_tokenizer.ByteTokenizer.vocab_size
  fingerprint = 'fp_fake'

  def __init__(
    self,
    script: Script,
    *,
    block: int = 4,
    pause_s: float = 0.0,
    fail_after: int | None = None,
    max_context: int = 4096,
    max_open: int = 2**31,
    num_cached: int = 0,
  ):
    self.max_context = max_context
    self.requests: list[types.TokenRequest] = []
    self.cancelled: list[tuple[str, int | None]] = []
    self.error: Exception | None = None
    self._script = script
    self._block = block
    self._pause_s = pause_s
    self._turns_left = fail_after
    self._max_open = max_open
    self._num_cached = num_cached
    # Collecting a dropped stream cancels, in the middle of anything.
    self._lock = threading.RLock()
    self._open: dict[str, set[int]] = {}
    self._threads: list[threading.Thread] = []

  @property
  def is_alive(self) -> bool:
    return self.error is None

  @property
  def num_open(self) -> int:
    """Choices that still generate."""
    with self._lock:
      return sum(map(len, self._open.values()))

  def submit(self, request: types.TokenRequest, sink: types.Sink) -> None:
    if not self.is_alive:
      raise types.ChatjaxError('The engine does not run any more.')
    if self.num_open + request.n > self._max_open:
      raise types.RequestError(
        'The queue is full.', code='server_overloaded', status=503
      )
    self.requests.append(request)
    with self._lock:
      self._open[request.request_id] = set(range(request.n))
    thread = threading.Thread(
      target=self._play, args=(request, sink), daemon=True
    )
    self._threads.append(thread)
    thread.start()

  def cancel(self, request_id: str, choice: int | None = None) -> None:
    with self._lock:
      rows = self._open.get(request_id, set())
      gone = set(rows) if choice is None else rows & {choice}
      if gone:
        self.cancelled.append((request_id, choice))
        rows -= gone

  def close(self) -> None:
    self.error = self.error or RuntimeError('closed')
    for thread in self._threads:
      thread.join()

  def _play(self, request: types.TokenRequest, sink: types.Sink) -> None:
    rows = self._open[request.request_id]
    sink.started(self._num_cached)
    scripts = [self._ids(request, choice) for choice in range(request.n)]
    start = 0
    while self._has_any(rows):
      if self._pause_s:
        time.sleep(self._pause_s)
      if self._has_failed():
        with self._lock:
          rows.clear()
        sink.error(types.ChatjaxError('The engine failed.'))
        return
      for choice in range(request.n):
        if choice in rows:
          self._turn(request, sink, choice, scripts[choice], start)
      start += self._block

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
  ) -> None:
    block = ids[start : start + self._block]
    num_top = request.sampling.top_logprobs
    sink.tokens(choice, [fake_token(one, num_top) for one in block])
    if start + self._block >= len(ids):
      is_stop = bool(ids) and ids[-1] in request.stop_ids
      reason = types.FinishReason.STOP if is_stop else types.FinishReason.LENGTH
      sink.finish(choice, reason)
      with self._lock:
        self._open[request.request_id].discard(choice)

  def _has_failed(self) -> bool:
    if self._turns_left is not None:
      self._turns_left -= 1
      if self._turns_left < 0:
        self.error = self.error or RuntimeError('scripted failure')
    return self.error is not None


def fake_token(token_id: int, num_top: int) -> types.Token:
  """A token whose log-probabilities follow from its id."""
  top = tuple(
    ((token_id + k) % byte_tokenizer.BOS, -0.5 * (k + 1))
    for k in range(num_top)
  )
  return types.Token(id=token_id, logprob=-0.5 - token_id / 1024, top=top)


def text_script(*texts: str, end: bool = True) -> Script:
  """Choice i says `texts[i % len(texts)]`, then EOS if `end`."""

  def script(request: types.TokenRequest, choice: int) -> list[int]:
    ids = list(texts[choice % len(texts)].encode())
    return [*ids, byte_tokenizer.EOS] if end else ids

  return script
