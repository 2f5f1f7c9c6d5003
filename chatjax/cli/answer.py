"""One answer in the terminal: streams it, times it, lets Ctrl-C stop it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import signal
import time

from chatjax import types
from chatjax.chat import session as session_lib

CANCELLED = 'cancelled'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
  """What one request brought.

  Attributes:
    finish_reason: OpenAI's word, or 'cancelled'.
    first_s: from asking to the first token; None without tokens.
    tokens_per_s: tokens after the first arrival by the time they took; None
      if there are none.
  """

  text: str
  finish_reason: str
  num_tokens: int
  seed: int
  fingerprint: str
  first_s: float | None
  tokens_per_s: float | None

  @property
  def is_cancelled(self) -> bool:
    return self.finish_reason == CANCELLED

  def summary(self) -> str:
    """One line for people."""
    parts = [f'{self.num_tokens} tokens']
    if self.tokens_per_s is not None:
      parts.append(f'{self.tokens_per_s:.1f} tokens/s')
    if self.first_s is not None:
      parts.append(f'first after {self.first_s:.2f} s')
    parts += [f'seed {self.seed}', self.fingerprint]
    if self.finish_reason != types.FinishReason.STOP:
      parts.append(self.finish_reason)
    return ' | '.join(parts)


def stream(
  session: session_lib.Session,
  request: types.Request,
  write: Callable[[str], None],
) -> Answer:
  """Hands the text to `write` as it comes.

  Ctrl-C stops the model and ends the answer; a second one is an interrupt.

  Raises:
    types.ChatjaxError: it cannot be answered, or the engine failed.
  """
  begin_s = time.monotonic()
  arrivals: list[tuple[float, int]] = []
  texts = []
  reason: str = CANCELLED
  with session.start(request) as running, _on_interrupt(running.cancel):
    for delta in running:
      if delta.token_ids:
        arrivals.append((time.monotonic(), len(delta.token_ids)))
      if delta.text:
        texts.append(delta.text)
        write(delta.text)
      reason = delta.finish_reason or reason
  return Answer(
    text=''.join(texts),
    finish_reason=str(reason),
    num_tokens=sum(count for _, count in arrivals),
    seed=running.meta.seed,
    fingerprint=running.meta.system_fingerprint,
    first_s=arrivals[0][0] - begin_s if arrivals else None,
    tokens_per_s=_rate(arrivals),
  )


def _rate(arrivals: list[tuple[float, int]]) -> float | None:
  if len(arrivals) < 2:
    return None
  took_s = arrivals[-1][0] - arrivals[0][0]
  return sum(count for _, count in arrivals[1:]) / took_s if took_s else None


@contextlib.contextmanager
def _on_interrupt(call: Callable[[], None]) -> Iterator[None]:
  """Calls instead of raising, so that no line is left half-drawn."""

  def handle(*unused_signal) -> None:
    signal.signal(signal.SIGINT, before)
    call()

  before = signal.signal(signal.SIGINT, handle)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, before)
