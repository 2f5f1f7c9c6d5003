"""The verdict: a table to read, a paragraph to quote, figures to keep."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import pathlib
import platform
import textwrap
import time
from typing import Any

from chatjax import __version__
from chatjax.cli import verify_trial
from chatjax.engine import engine as engine_lib

_WIDTH = 79
_MOST_FAILURES = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """An outcome, and all that it depends on.

  Attributes:
    model: its id.
    engine: the one that was tried.
    seed: of the trial.
    now: seconds since the epoch.
  """

  outcome: verify_trial.Outcome
  model: str
  engine: engine_lib.Engine
  seed: int
  now: float

  @property
  def verdict(self) -> str:
    return 'PASSED' if self.outcome.has_passed else 'FAILED'

  def table(self) -> str:
    rows = [f'{"rule":8}{"what":20}{"answers":>9}{"tokens":>9}  verdict']
    rows += [
      f'{line.rules:8}{line.name:20}{line.answers:9,}{line.tokens:9,}'
      f'  {line.verdict}'
      for line in self.outcome.lines
    ]
    rows.append('')
    rows += [
      f'{fact.name:46}{fact.count:>8,}  {"FAILED" if fact.count else "passed"}'
      for fact in self.outcome.facts
    ]
    return '\n'.join(rows)

  def failures(self) -> list[str]:
    """What went wrong, one line each; of each kind the first few."""
    return list(self._failures())

  def _failures(self) -> Iterator[str]:
    for line in self.outcome.lines:
      for failure in line.failures[:_MOST_FAILURES]:
        yield f'{line.name}: {failure}.'
      if len(line.failures) > _MOST_FAILURES:
        yield f'{line.name}: {len(line.failures) - _MOST_FAILURES} more.'
      if not line.is_shown and not line.failures and not line.skipped:
        yield f'{line.name}: it never took place.'
    for fact in self.outcome.facts:
      if fact.count:
        note = f' ({fact.note})' if fact.note else ''
        yield f'{fact.name}: {fact.count}{note}.'

  def quote(self) -> str:
    """One paragraph that stands for itself."""
    if self.outcome.has_passed:
      claim = self._claim()
    else:
      lines, facts = self.outcome.lines, self.outcome.facts
      broken = [x.name for x in lines if not (x.is_shown or x.skipped)]
      broken += [fact.name for fact in facts if fact.count]
      claim = (
        f'{self._model()} did not keep the seed contract'
        f' ({", ".join(dict.fromkeys(broken))}).'
      )
    text = f'chatjax {__version__} verify: {self.verdict}. {claim} {self._of()}'
    return '\n'.join(textwrap.wrap(text, _WIDTH, break_on_hyphens=False))

  def _claim(self) -> str:
    shown = [line for line in self.outcome.lines if line.is_shown]
    equal = [line for line in shown if line.phrase]
    other = sum(line.answers for line in shown if not line.phrase)
    answers = sum(line.answers for line in equal)
    tokens = sum(line.tokens for line in equal)
    *first, last = [line.phrase for line in equal]
    ways = f'{"; ".join(first)}; and {last}' if first else last
    sentences = [
      f'{answers:,} answers ({tokens:,} tokens) of {self._model()} were equal'
      ' bit for bit, in token ids and log-probabilities, to the same requests'
      f' answered alone: {ways}.'
    ]
    if other:
      sentences.append(
        f'{other:,} draws with other seeds or choices all differed.'
      )
    sentences.append(
      f'At most {self.outcome.rows} row{"s" * (self.outcome.rows != 1)} decoded'
      ' at once beside a compared answer, n was at most'
      f' {self.outcome.choices}, {self.outcome.preemptions:,} times a row was'
      ' swapped out. No program was compiled meanwhile and no page was held at'
      ' the end.'
    )
    skipped = [line.name for line in self.outcome.lines if line.skipped]
    if skipped:
      sentences.append(f'Not tried: {", ".join(skipped)}.')
    return ' '.join(sentences)

  def _model(self) -> str:
    engine = self.engine.fingerprint_parts['engine']
    return (
      f'{self.model} ({engine["dtype"]}, max_rows {engine["max_rows"]}, context'
      f' {engine["context"]})'
    )

  def _of(self) -> str:
    parts = self.engine.fingerprint_parts
    date = time.strftime('%Y-%m-%d', time.gmtime(self.now))
    return (
      f'system_fingerprint {self.engine.fingerprint}, jax'
      f' {parts["versions"]["jax"]}, {device(parts)}, {date}, trial seed'
      f' {self.seed}, {self.outcome.took_s:.0f} s.'
    )

  def figures(self) -> dict[str, Any]:
    """All of it, for a file."""
    outcome = self.outcome
    return {
      'chatjax': __version__,
      'verdict': self.verdict,
      'quote': self.quote(),
      'model': self.model,
      'seed': self.seed,
      'time': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(self.now)),
      'took_s': outcome.took_s,
      'rounds': outcome.rounds,
      'most_rows': outcome.rows,
      'most_choices': outcome.choices,
      'preemptions': outcome.preemptions,
      'lines': [
        {**dataclasses.asdict(line), 'verdict': line.verdict}
        for line in outcome.lines
      ],
      'facts': [dataclasses.asdict(fact) for fact in outcome.facts],
      'system_fingerprint': self.engine.fingerprint,
      'fingerprint_parts': dict(self.engine.fingerprint_parts),
      'machine': device(self.engine.fingerprint_parts),
    }


def device(parts) -> str:
  """The hardware in words: a CPU by its own name."""
  kind = parts['device_kind']
  if parts['platform'] != 'cpu':
    return f'{parts["platform"]} ({kind})'
  threads = parts['threads']
  return f'cpu ({_processor() or kind}), {threads} thread{"s" * (threads != 1)}'


def _processor() -> str:
  """What the processor calls itself."""
  try:
    text = pathlib.Path('/proc/cpuinfo').read_text(encoding='utf-8')
  except OSError:
    return platform.processor()
  names = [line for line in text.splitlines() if line.startswith('model name')]
  return names[0].partition(':')[2].strip() if names else platform.processor()
