"""A streamed answer: the events that bring it, and when they came."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

DONE = '[DONE]'


class BadAnswerError(Exception):
  """What came is no complete answer; the message says why."""


class Events:
  """Server-sent events, put together from pieces that end anywhere."""

  def __init__(self):
    self._rest = b''
    self._data: list[bytes] = []

  def feed(self, piece: bytes) -> list[str]:
    """The data of the events that this piece completes."""
    *lines, self._rest = (self._rest + piece).split(b'\n')
    complete = []
    for line in lines:
      line = line.removesuffix(b'\r')
      if line.startswith(b'data:'):
        self._data.append(line.removeprefix(b'data:').removeprefix(b' '))
      elif not line and self._data:
        complete.append(b'\n'.join(self._data).decode())
        self._data.clear()
    return complete


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
  """What became of one request.

  Attributes:
    start_s: when it was sent, on the clock of `time.perf_counter`.
    latency_s: from there to its end, or to its failure.
    ttft_s: from there to the first token.
    itls_s: between a choice's chunks of tokens; a chunk may hold several.
    num_choices: answers that were asked for.
    output_tokens: of all choices together.
    cached_tokens: of the prompt, that the server knew already.
    error: why it failed; the figures are then meaningless.
  """

  start_s: float
  latency_s: float
  ttft_s: float = 0.0
  itls_s: tuple[float, ...] = ()
  num_choices: int = 1
  prompt_tokens: int = 0
  output_tokens: int = 0
  cached_tokens: int = 0
  error: str | None = None

  @property
  def tpot_s(self) -> float | None:
    """Per output token of a choice, without the first."""
    steps = self.output_tokens / self.num_choices - 1
    return (self.latency_s - self.ttft_s) / steps if steps > 0 else None


class Recorder:
  """Reads the chunks of one answer as they come."""

  def __init__(self, start_s: float):
    self._start_s = start_s
    self._first_s: float | None = None
    self._last_s: dict[int, float] = {}  # by choice
    self._itls_s: list[float] = []
    self._usage: Mapping[str, Any] | None = None
    self._is_done = False

  def add(self, data: str, now_s: float) -> None:
    """Takes the data of an event.

    Raises:
      BadAnswerError: it is an error, or no chunk.
    """
    if data == DONE:
      self._is_done = True
      return
    try:
      chunk = json.loads(data)
      if 'error' in chunk:
        raise BadAnswerError(f'error in the stream: {told(chunk)}')
      self._usage = chunk.get('usage') or self._usage
      for choice in chunk.get('choices') or ():
        self._see(choice, now_s)
    except (ValueError, TypeError, AttributeError, KeyError):
      raise BadAnswerError(f'not a chunk: {data[:80]!r}') from None

  def _see(self, choice: Mapping[str, Any], now_s: float) -> None:
    index = choice.get('index', 0)
    # Tokens without text are told by the end of the answer at the latest.
    is_end = choice.get('finish_reason') and index not in self._last_s
    if not (is_end or _has_tokens(choice)):
      return
    if self._first_s is None:
      self._first_s = now_s
    if index in self._last_s:
      self._itls_s.append(now_s - self._last_s[index])
    self._last_s[index] = now_s

  def finish(self, now_s: float, num_choices: int) -> Answer:
    """The whole answer.

    Raises:
      BadAnswerError: it is not whole.
    """
    if not self._is_done:
      raise BadAnswerError('the stream ended early')
    if self._first_s is None:
      raise BadAnswerError('the stream had no tokens')
    if not self._usage:
      raise BadAnswerError('the stream had no usage')
    details = self._usage.get('prompt_tokens_details') or {}
    return Answer(
      start_s=self._start_s,
      latency_s=now_s - self._start_s,
      ttft_s=self._first_s - self._start_s,
      itls_s=tuple(self._itls_s),
      num_choices=num_choices,
      prompt_tokens=self._usage['prompt_tokens'],
      output_tokens=self._usage['completion_tokens'],
      cached_tokens=details.get('cached_tokens') or 0,
    )


def _has_tokens(choice: Mapping[str, Any]) -> bool:
  delta = choice.get('delta') or {}
  logprobs = choice.get('logprobs') or {}
  return bool(
    delta.get('content')
    or delta.get('reasoning_content')
    or delta.get('reasoning')
    or choice.get('token_ids')
    or logprobs.get('content')
  )


def told(body: Any) -> str:
  """What an error object says, on one line and not too long."""
  error = body.get('error', body) if isinstance(body, dict) else body
  message = error.get('message', error) if isinstance(error, dict) else error
  return ' '.join(str(message).split())[:200].rstrip('.')
