"""Asks an engine, and keeps count of what came back."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import time
import uuid

from chatjax import types
from chatjax.cli import verify_line
from chatjax.engine import engine as engine_lib
from chatjax.testing import collect

TIMEOUT_S = 600


class Answer(collect.Collected):
  """One request's tokens, and what was going on while they came.

  Attributes:
    request: as it was submitted.
    most_rows: rows that decoded at once, this one's among them.
    ends: by choice, how often it ended.
  """

  def __init__(self, request: types.TokenRequest, asker: Asker):
    super().__init__(request.n)
    self.request = request
    self.most_rows = 0
    self.ends = [0] * request.n
    self._asker = asker
    self.on_tokens: Callable[[str], None] | None = None

  def tokens(self, choice: int, tokens: Sequence[types.Token]) -> None:
    super().tokens(choice, tokens)
    self.most_rows = max(self.most_rows, self._asker.engine.num_running)
    if self.on_tokens is not None:
      self.on_tokens(self.request.request_id)

  def finish(self, choice: int, reason: types.FinishReason) -> None:
    self.ends[choice] += 1
    super().finish(choice, reason)


class Asker:
  """Submits requests under ids of their own.

  Attributes:
    answers: all that were asked for.
  """

  def __init__(self, engine: engine_lib.Engine):
    self.engine = engine
    self.answers: list[Answer] = []

  def start(
    self,
    request: types.TokenRequest,
    *,
    salt: str = '',
    on_tokens: Callable[[str], None] | None = None,
  ) -> Answer:
    """Asks; `on_tokens` takes the request's id, on the engine's thread."""
    request = dataclasses.replace(
      request, request_id=f'verify-{len(self.answers)}', cache_salt=salt
    )
    answer = Answer(request, self)
    answer.on_tokens = on_tokens
    self.answers.append(answer)
    self.engine.submit(request, answer)
    return answer

  def ask(self, request: types.TokenRequest, *, salt: str = '') -> Answer:
    return self.start(request, salt=salt).wait(TIMEOUT_S)

  def alone(self, request: types.TokenRequest) -> list[verify_line.Bits]:
    """Bits by choice, with nothing cached and nobody else there.

    Raises:
      types.ChatjaxError: what the engine failed with.
    """
    answer = self.ask(request, salt=self.fresh_salt())
    if answer.failure is not None:
      raise answer.failure
    return [answer.bits(choice) for choice in range(request.n)]

  def fresh_salt(self) -> str:
    """Under which nothing is cached yet."""
    return f'cold-{uuid.uuid4().hex}'

  def settle(self) -> None:
    """Waits until nothing is in flight, cancelled requests included."""
    until_s = time.monotonic() + TIMEOUT_S
    while self.engine.num_open:
      if time.monotonic() > until_s:
        raise TimeoutError(f'Requests are still open after {TIMEOUT_S} s.')
      time.sleep(0.002)
