"""Runs the checks in rounds until the time is up, and then counts up."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import random
import time
from typing import Any
from typing import Self

import jax

from chatjax import config as config_lib
from chatjax import types
from chatjax.cli import verify_ask
from chatjax.cli import verify_checks
from chatjax.cli import verify_line
from chatjax.cli import verify_plan
from chatjax.engine import engine as engine_lib

# The answers of one process, as another can read them.
Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Fact:
  """A figure that must be zero."""

  name: str
  count: int
  note: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
  """What a trial found.

  Attributes:
    rounds: of all checks that were begun.
    rows: rows that decoded at once beside a compared answer, at most.
    choices: the largest n that was tried.
    preemptions: rows that were swapped out.
  """

  lines: Sequence[verify_line.Line]
  facts: Sequence[Fact]
  rounds: int
  rows: int
  choices: int
  preemptions: int
  took_s: float

  @property
  def has_passed(self) -> bool:
    return (
      any(line.is_shown for line in self.lines)
      and all(line.is_shown or line.skipped for line in self.lines)
      and not any(line.failures for line in self.lines)
      and not any(fact.count for fact in self.facts)
    )


_LINES: tuple[tuple[verify_checks.Check, str, str, str], ...] = (
  (verify_checks.repeated, 'alone, repeated', 'D1', 'asked again alone'),
  (verify_checks.crowded, 'in a crowd', 'D1 D2', 'in crowds that arrived at'
   ' random'),
  (verify_checks.cached, 'cached prefixes', 'D3', 'with a cold, a warm and a'
   ' partly warm prefix cache'),
  (verify_checks.choices, 'n choices', 'N1', 'as one of several choices'),
  (verify_checks.cancelled, 'cancelled mates', 'D2', 'beside requests that'
   ' were cancelled'),
  (verify_checks.preempted, 'preempted', 'D2', 'swapped out and in while they'
   ' were written'),
  (verify_checks.different, 'seeds differ', 'D5 N2', ''),
)  # fmt: skip


def run(
  engine: engine_lib.Engine,
  config: config_lib.EngineConfig,
  plan: verify_plan.Plan,
  *,
  seconds: float,
  seed: int,
  earlier: Record | None = None,
  report: Callable[[str], None] = lambda doing: None,
) -> Outcome:
  """Tries an engine that serves nobody else.

  Args:
    engine: as it serves.
    config: how it was made.
    plan: what is asked.
    seconds: the checks go on for, once all of them have been run.
    seed: of everything that comes at random here.
    earlier: `record` of another process, or None if there was none.
    report: called with what is being done.
  """
  begin_s = time.monotonic()
  *lines, restart = _new_lines()
  asker = verify_ask.Asker(engine)
  before = engine.totals.generated_tokens
  with _Compilations() as compilations:
    setting = _guarded(
      lines[0], lambda: prepare(asker, config, plan, random.Random(seed))
    )
    if setting is not None:
      _compare(restart, setting, engine, earlier)
      _rounds(setting, lines, begin_s + seconds, report)
    _guarded(lines[0], asker.settle)
  return Outcome(
    lines=[*lines, restart],
    facts=_facts(asker, compilations.count, before),
    rounds=setting.round if setting else 0,
    rows=max(setting.sizes, default=1) if setting else 0,
    choices=verify_checks.most_choices(config),
    preemptions=engine.totals.preemptions,
    took_s=time.monotonic() - begin_s,
  )


def _new_lines() -> list[verify_line.Line]:
  """One for each check, and the other process last."""
  lines = [
    verify_line.Line(name=name, rules=rules, phrase=phrase)
    for _, name, rules, phrase in _LINES
  ]
  restart = verify_line.Line(
    name='another process', rules='D4 D7', phrase='in another process'
  )
  return [*lines, restart]


def record(engine: engine_lib.Engine, plan: verify_plan.Plan) -> Record:
  """Every case's answer, for a process that comes later."""
  asker = verify_ask.Asker(engine)
  return {
    'fingerprint': engine.fingerprint,
    'parts': _plain(engine.fingerprint_parts),
    'answers': [_texts(asker.alone(case)[0]) for case in plan.cases],
  }


def _texts(bits: verify_line.Bits) -> list[list]:
  return [[token, raw.hex()] for token, raw in bits]


def prepare(
  asker: verify_ask.Asker,
  config: config_lib.EngineConfig,
  plan: verify_plan.Plan,
  rng: random.Random,
) -> verify_checks.Setting:
  """Asks for every case alone: what all later answers must be equal to."""
  begin_s = time.monotonic()
  known = {case.seed: asker.alone(case) for case in plan.cases}
  answer_s = (time.monotonic() - begin_s) / len(known)
  first = plan.cases[0]
  most = verify_checks.most_choices(config)
  # Its first choice is kept from when it was the only one: all n must agree.
  known[first.seed] += asker.alone(dataclasses.replace(first, n=most))[1:]
  return verify_checks.Setting(
    asker=asker, config=config, plan=plan, rng=rng, known=known,
    answer_s=answer_s,
  )  # fmt: skip


def _rounds(setting, lines, until_s, report) -> None:
  """Every check once, then on until the time is up."""
  while True:
    for (check, name, *_), line in zip(_LINES, lines, strict=True):
      if setting.round and time.monotonic() > until_s:
        return
      report(f'round {setting.round + 1}: {name}')
      _guarded(line, lambda check=check, line=line: check(setting, line))
      if not setting.asker.engine.is_alive:
        line.failures.append(
          f'the engine ended: {setting.asker.engine.error!r}'
        )
        return
    setting.round += 1


def _guarded(line, action):
  """An engine that fails or hangs is a finding, not the end of the trial."""
  try:
    return action()
  except (types.ChatjaxError, TimeoutError) as error:
    line.failures.append(str(error))
    return None


def _compare(restart, setting, engine, earlier: Record | None) -> None:
  """D7, and the half of D4 that one model can show."""
  if earlier is None:
    restart.skipped = '--norestart'
    return
  there, here = earlier['parts'], _plain(engine.fingerprint_parts)
  if earlier['fingerprint'] != engine.fingerprint:
    moved = [name for name in here if here[name] != there.get(name)]
    restart.failures.append(
      f'system_fingerprint was {earlier["fingerprint"]} and is'
      f' {engine.fingerprint}; what changed: {", ".join(moved)}'
    )
  cases = setting.plan.cases
  for case, answer in zip(cases, earlier['answers'], strict=True):
    bits = [(token, bytes.fromhex(raw)) for token, raw in answer]
    restart.equal(case, bits, setting.known[case.seed][0])
    restart.happened += 1


def _plain(parts: Mapping[str, Any]) -> dict[str, Any]:
  """As JSON brings it back."""
  return json.loads(json.dumps(dict(parts)))


def _facts(asker, num_compiled: int, before: int) -> list[Fact]:
  """What must not have happened in all of the trial."""
  engine = asker.engine
  answers = asker.answers
  received = sum(len(tokens) for one in answers for tokens in one.choices)
  complete = [one for one in answers if len(one.reasons) == one.request.n]
  failed = [one for one in answers if one.failure is not None]
  return [
    Fact(
      'requests that failed',
      len(failed),
      note=str(failed[0].failure) if failed else '',
    ),
    Fact('programs compiled meanwhile', num_compiled),
    Fact('pages held at the end', engine.num_pages_used),
    Fact(
      'choices that ended twice',
      sum(ends > 1 for one in complete for ends in one.ends),
    ),
    Fact(
      'answers of another length than asked for',
      sum(
        len(tokens) != one.request.max_tokens
        for one in complete
        for tokens in one.choices
      ),
    ),
    Fact(
      'tokens counted and not delivered',
      abs(engine.totals.generated_tokens - before - received),
    ),
  ]


class _Compilations:
  """Counts the programs that anybody compiles, or loads compiled."""

  def __init__(self):
    self.count = 0

  def __enter__(self) -> Self:
    jax.monitoring.register_event_duration_secs_listener(self._note)
    return self

  def __exit__(self, *unused_error) -> None:
    jax.monitoring.unregister_event_duration_listener(self._note)

  def _note(self, event: str, *unused, **unused_labels) -> None:
    self.count += 'backend_compile' in event
