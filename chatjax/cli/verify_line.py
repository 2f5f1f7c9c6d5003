"""One line of the verdict: what was compared, and where it was not equal."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import struct

from chatjax import types
from chatjax.testing import collect

# (id, bytes of its float32 log-probability and of the alternatives) per token.
Bits = Sequence[tuple[int, bytes]]

_LOGPROB_BYTES = 4


@dataclasses.dataclass(kw_only=True)
class Line:
  """What is known of one rule of the contract.

  Attributes:
    name: short, for the table.
    rules: of the contract, such as 'D1 D2'.
    phrase: for the sentence to quote, when it has passed.
    skipped: why it could not be looked at, or ''.
    answers, tokens: compared so far.
    happened: how often what the line is about took place; a comparison in
      which nothing was swapped out says nothing about swapping.
    failures: sentences.
  """

  name: str
  rules: str
  phrase: str
  skipped: str = ''
  answers: int = 0
  tokens: int = 0
  happened: int = 0
  failures: list[str] = dataclasses.field(default_factory=list)

  @property
  def is_shown(self) -> bool:
    return bool(self.answers and self.happened) and not self.failures

  @property
  def verdict(self) -> str:
    if self.failures:
      return 'FAILED'
    if self.skipped:
      return f'skipped: {self.skipped}'
    return 'passed' if self.is_shown else 'FAILED: it never took place'

  def equal(
    self, case: types.TokenRequest, want: Bits, got: Bits, choice: int = 0
  ) -> None:
    """Counts a comparison; notes the first place that differs."""
    self.answers += 1
    self.tokens += len(want)
    place = first_difference(want, got)
    if place:
      self.failures.append(f'{describe(case, choice)}, {place}')

  def equal_answer(
    self,
    case: types.TokenRequest,
    wanted: Sequence[Bits],
    answer: collect.Collected,
  ) -> None:
    """Compares every choice of an answer with the first of those known."""
    if answer.failure is not None:
      self.failures.append(f'{describe(case)}: {answer.failure}')
      return
    for choice in range(len(answer.choices)):
      self.equal(case, wanted[choice], answer.bits(choice), choice)

  def all_differ(self, answers: Mapping[str, tuple[int, ...]]) -> None:
    """Counts token ids by what they were drawn with; no two may be equal."""
    seen: dict[tuple[int, ...], str] = {}
    for name, ids in answers.items():
      self.answers += 1
      self.tokens += len(ids)
      if ids in seen:
        self.failures.append(
          f'{name} and {seen[ids]} gave the same {len(ids)} tokens'
        )
      seen[ids] = name


def describe(case: types.TokenRequest, choice: int = 0) -> str:
  return (
    f'prompt of {len(case.prompt_ids)} tokens, temperature'
    f' {case.sampling.temperature:g}, seed {case.seed}, choice {choice}'
  )


def first_difference(want: Bits, got: Bits) -> str:
  """Where two answers part and both values; '' if they are equal."""
  for index, (ours, theirs) in enumerate(zip(want, got, strict=False)):
    if ours != theirs:
      here = f'token {index}: expected {_value(ours)}, got {_value(theirs)}'
      if ours[0] == theirs[0] and _logprob(ours) == _logprob(theirs):
        here += (
          f' with other alternatives: expected {ours[1][4:].hex()}, got'
          f' {theirs[1][4:].hex()}'
        )
      return here
  if len(want) != len(got):
    return f'expected {len(want)} tokens, got {len(got)}'
  return ''


def _logprob(token: tuple[int, bytes]) -> bytes:
  return token[1][:_LOGPROB_BYTES]


def _value(token: tuple[int, bytes]) -> str:
  (bits,) = struct.unpack('<I', _logprob(token))
  (value,) = struct.unpack('<f', _logprob(token))
  return f'id {token[0]} logprob 0x{bits:08x} ({value:.6g})'
