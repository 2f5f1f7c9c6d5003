"""Times an engine: token ids in, token ids out, greedy, of forced length."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import threading
import time

from chatjax import types
from chatjax.chat import generation

_TIMEOUT_S = 600


class Stopwatch:
  """A sink that notes when how many tokens came.

  Attributes:
    arrivals: (time, number of tokens) in order.
  """

  def __init__(self):
    self.arrivals: list[tuple[float, int]] = []
    self._done = threading.Event()
    self._error: Exception | None = None

  def started(self, num_cached: int) -> None:
    """Nothing is measured there."""

  def drafted(self, drafted: types.Drafted) -> None:
    """Nor there."""

  def tokens(self, choice: int, tokens: Sequence[types.Token]) -> None:
    self.arrivals.append((time.perf_counter(), len(tokens)))

  def finish(self, choice: int, reason: types.FinishReason) -> None:
    self._done.set()

  def error(self, error: Exception) -> None:
    self._error = error
    self._done.set()

  def wait(self) -> None:
    """Blocks until the end; raises what the engine failed with."""
    if not self._done.wait(_TIMEOUT_S):
      raise types.ChatjaxError(f'The engine took over {_TIMEOUT_S} s.')
    if self._error is not None:
      raise self._error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decode:
  """Rows that decoded side by side.

  Attributes:
    tokens_per_s: of all rows together, while all of them decoded.
    mean_context: positions of one row in the middle of that time.
  """

  tokens_per_s: float
  mean_context: float


class Bench:
  """Asks an engine; prompts are cut from real text."""

  def __init__(self, engine: generation.Engine, text_ids: Sequence[int]):
    self._engine = engine
    self._text_ids = tuple(text_ids)
    self._asked = 0

  def first_token_s(self, prompt_len: int) -> float:
    """From handing in a prompt to its first token, with nothing else to do."""
    begin_s = time.perf_counter()
    (watch,) = self._ask(1, prompt_len=prompt_len, num_tokens=1)
    return watch.arrivals[0][0] - begin_s

  def decode(self, rows: int, *, prompt_len: int, num_tokens: int) -> Decode:
    """Rows with prompts of their own.

    Counts from the last row's first token to the first row's last one: all
    rows decode in between, and nothing is prefilled.
    """
    watches = self._ask(rows, prompt_len=prompt_len, num_tokens=num_tokens)
    start_s = max(watch.arrivals[0][0] for watch in watches)
    end_s = min(watch.arrivals[-1][0] for watch in watches)
    if end_s <= start_s:
      raise types.ChatjaxError(
        f'{rows} rows of {num_tokens} tokens never decoded together; give a'
        ' larger --tokens.'
      )
    counts = [
      sum(n for at_s, n in watch.arrivals if start_s < at_s <= end_s)
      for watch in watches
    ]
    return Decode(
      tokens_per_s=sum(counts) / (end_s - start_s),
      mean_context=prompt_len + num_tokens - sum(counts) / rows / 2,
    )

  def _ask(
    self, count: int, *, prompt_len: int, num_tokens: int
  ) -> list[Stopwatch]:
    watches = []
    for _ in range(count):
      self._asked += 1
      watches.append(Stopwatch())
      self._engine.submit(
        types.TokenRequest(
          request_id=f'bench-{self._asked}',
          prompt_ids=self._prompt(prompt_len),
          sampling=types.SamplingParams(temperature=0.0),
          seed=0,
          stop_ids=frozenset(),
          max_tokens=num_tokens,
        ),
        watches[-1],
      )
    for watch in watches:
      watch.wait()
    return watches

  def _prompt(self, length: int) -> tuple[int, ...]:
    """Another cut each time, so that no prompt begins like one before."""
    start = self._asked * 7 % len(self._text_ids)
    ids = self._text_ids[start:] + self._text_ids[:start]
    return (ids * (length // len(ids) + 1))[:length]
