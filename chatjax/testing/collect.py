"""A sink that keeps what an engine makes, and a way to wait for it."""

from __future__ import annotations

from collections.abc import Sequence
import struct
import threading

from chatjax import types


class Collected:
  """One request's tokens, by choice."""

  def __init__(self, n: int):
    self.choices: list[list[types.Token]] = [[] for _ in range(n)]
    self.reasons: dict[int, types.FinishReason] = {}
    self.failure: Exception | None = None
    self.num_cached: int | None = None
    self.prompt_tokens: tuple[types.PromptToken, ...] | None = None
    self.guesses = types.Drafted()
    self._ended = threading.Event()
    self._any = threading.Event()

  def started(self, num_cached: int) -> None:
    self.num_cached = num_cached

  def prompt(self, tokens: Sequence[types.PromptToken]) -> None:
    assert self.prompt_tokens is None, 'told twice'
    self.prompt_tokens = tuple(tokens)

  def drafted(self, drafted: types.Drafted) -> None:
    self.guesses += drafted

  def tokens(self, choice: int, tokens: Sequence[types.Token]) -> None:
    self.choices[choice].extend(tokens)
    self._any.set()

  def finish(self, choice: int, reason: types.FinishReason) -> None:
    self.reasons[choice] = reason
    if len(self.reasons) == len(self.choices):
      self._ended.set()

  def error(self, error: Exception) -> None:
    self.failure = error
    self._any.set()
    self._ended.set()

  def wait(self, timeout_s: float = 300) -> Collected:
    """Waits for the end of all choices and returns itself."""
    if not self._ended.wait(timeout_s):
      raise TimeoutError(f'Nothing after {timeout_s} s.')
    return self

  def wait_for_first(self, timeout_s: float = 300) -> None:
    """Waits for the first token of any choice."""
    if not self._any.wait(timeout_s):
      raise TimeoutError(f'Nothing after {timeout_s} s.')

  def ids(self, choice: int = 0) -> list[int]:
    return [token.id for token in self.choices[choice]]

  def bits(self, choice: int = 0) -> list[tuple[int, bytes]]:
    """(id, bytes of the float32 log-probabilities) per token."""
    return [
      (
        token.id,
        struct.pack('<f', token.logprob)
        + b''.join(struct.pack('<if', *pair) for pair in token.top),
      )
      for token in self.choices[choice]
    ]
