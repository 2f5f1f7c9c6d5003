"""The rules of the seed contract, each as something to do to an engine."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import random
import time

from chatjax import config as config_lib
from chatjax import types
from chatjax.cli import verify_ask
from chatjax.cli import verify_line
from chatjax.cli import verify_plan

MOST_CHOICES = 8
_SEED_TOKENS = 8  # at temperature 2; more than enough to tell seeds apart


@dataclasses.dataclass(kw_only=True)
class Setting:
  """What the checks work on.

  Attributes:
    known: every case's bits by choice, as it answers alone, by its seed; of
      the first case there are `most_choices`.
    answer_s: how long one answer alone takes, to spread arrivals over it.
    round: from 0.
    sizes: crowds that were tried, by the rows that did decode at once.
  """

  asker: verify_ask.Asker
  config: config_lib.EngineConfig
  plan: verify_plan.Plan
  rng: random.Random
  known: Mapping[int, list[verify_line.Bits]]
  answer_s: float
  round: int = 0
  sizes: set[int] = dataclasses.field(default_factory=set)

  @property
  def most_choices(self) -> int:
    return most_choices(self.config)

  def pause(self, share: float) -> None:
    """Lets up to such a share of an answer's time pass."""
    time.sleep(self.rng.random() * share * self.answer_s)


def most_choices(config: config_lib.EngineConfig) -> int:
  """The largest n that is tried."""
  return min(MOST_CHOICES, config.max_rows + config.max_queue)


Check = Callable[[Setting, verify_line.Line], None]


def repeated(setting: Setting, line: verify_line.Line) -> None:
  """D1: alone once more, again with nothing cached."""
  cases = setting.plan.cases
  if setting.round:
    cases = [setting.rng.choice(cases)]
  for case in cases:
    answer = setting.asker.ask(case, salt=setting.asker.fresh_salt())
    line.equal_answer(case, setting.known[case.seed], answer)
    line.happened += 1


def crowded(setting: Setting, line: verify_line.Line) -> None:
  """D1, D2: with mates of all kinds that come at random times."""
  if setting.config.max_rows == 1:
    line.skipped = 'max_rows is 1'
    return
  sizes = range(2, setting.config.max_rows + 1)
  for size in {setting.config.max_rows, *setting.rng.choices(sizes, k=2)}:
    _crowd(setting, line, size)


def _crowd(setting: Setting, line: verify_line.Line, size: int) -> None:
  """So many choices; every other one is compared."""
  ours = [setting.rng.choice(setting.plan.cases) for _ in range(-(-size // 2))]
  members: list[types.TokenRequest] = list(ours)
  while sum(one.n for one in members) < size:
    left = size - sum(one.n for one in members)
    members.append(setting.plan.mate(setting.rng, left))
  setting.rng.shuffle(members)
  answers = []
  for member in members:
    answers.append((member, setting.asker.start(member)))
    setting.pause(1 / size)
  for member, answer in answers:
    answer.wait(verify_ask.TIMEOUT_S)
    if member in ours:
      line.equal_answer(member, setting.known[member.seed], answer)
      line.happened += answer.most_rows > 1
      setting.sizes.add(answer.most_rows)


def cached(setting: Setting, line: verify_line.Line) -> None:
  """D3: nothing, all but the end, or only the beginning is cached."""
  chunk = setting.config.chunk
  longer = [c for c in setting.plan.cases if len(c.prompt_ids) > chunk]
  if not setting.config.prefix_cache or not longer:
    why = 'the context is short' if setting.config.prefix_cache else 'it is off'
    line.skipped = why
    return
  case = setting.rng.choice(longer)
  salt = setting.asker.fresh_salt()
  cold = setting.asker.ask(case, salt=salt)
  line.equal_answer(case, setting.known[case.seed], cold)
  if cold.num_cached:
    line.failures.append(
      f'{verify_line.describe(case)}: {cold.num_cached} tokens were cached'
      ' under a salt that nobody had used'
    )
  warm = setting.asker.ask(case, salt=salt)
  line.equal_answer(case, setting.known[case.seed], warm)
  start = setting.rng.randrange(len(setting.plan.text_ids))
  tail = setting.plan.prompt(start, setting.rng.randint(1, chunk))
  branch = dataclasses.replace(
    case, prompt_ids=(*case.prompt_ids[:chunk], *tail)[: setting.plan.room]
  )
  want = setting.asker.alone(branch)
  partly = setting.asker.ask(branch, salt=salt)
  line.equal_answer(branch, want, partly)
  line.happened += bool(warm.num_cached and partly.num_cached)


def choices(setting: Setting, line: verify_line.Line) -> None:
  """N1: choice i of n is choice i of any other n."""
  case = setting.plan.cases[0]
  numbers = range(1, setting.most_choices + 1)
  some = {2, setting.most_choices} if setting.round == 0 else set()
  for n in sorted({*some, setting.rng.choice(numbers)}):
    answer = setting.asker.ask(dataclasses.replace(case, n=n))
    line.equal_answer(case, setting.known[case.seed], answer)
    line.happened += n > 1


def cancelled(setting: Setting, line: verify_line.Line) -> None:
  """Mates leave while they wait, while they are read and while they write."""
  engine = setting.asker.engine
  before = engine.totals.finished['cancelled']
  case = setting.rng.choice(setting.plan.cases)
  mates = []
  for index in range(max(1, setting.config.max_rows - 1)):
    mate = dataclasses.replace(
      setting.plan.mate(setting.rng), max_tokens=setting.plan.max_tokens
    )
    leave_writing = engine.cancel if index == 0 else None
    mates.append(setting.asker.start(mate, on_tokens=leave_writing))
  # The last of them leaves before it can have begun.
  engine.cancel(mates[-1].request.request_id)
  answer = setting.asker.start(case)
  for mate in mates[1:]:
    setting.pause(1 / len(mates))
    engine.cancel(mate.request.request_id)
  line.equal_answer(
    case, setting.known[case.seed], answer.wait(verify_ask.TIMEOUT_S)
  )
  setting.asker.settle()
  line.happened += engine.totals.finished['cancelled'] - before


def preempted(setting: Setting, line: verify_line.Line) -> None:
  """Rows are swapped out after every block, beside a mate and two choices."""
  engine = setting.asker.engine
  before = engine.totals.preemptions
  case = setting.rng.choice(setting.plan.cases)
  two = dataclasses.replace(setting.plan.cases[0], n=2)
  answers = [(case, setting.asker.start(case, on_tokens=engine.preempt))]
  if setting.config.max_rows > 1:
    answers.append((two, setting.asker.start(two, on_tokens=engine.preempt)))
  for one, answer in answers:
    known = setting.known[one.seed]
    line.equal_answer(one, known, answer.wait(verify_ask.TIMEOUT_S))
  setting.asker.settle()
  line.happened += engine.totals.preemptions - before


def different(setting: Setting, line: verify_line.Line) -> None:
  """D5, N2: no bit of the seed is lost, and no choice is a neighbour's."""
  seed, others = 5, [-1, 5 + 2**32, types.MAX_SEED, types.MIN_SEED]
  if setting.round:
    seed, others = setting.rng.randint(types.MIN_SEED, types.MAX_SEED - 1), []
  # All 64 in eight rounds.
  bits = range(setting.round % 8, 64, 8)
  case = dataclasses.replace(
    min(setting.plan.cases, key=lambda case: len(case.prompt_ids)),
    sampling=types.SamplingParams(temperature=2.0),
    max_tokens=min(_SEED_TOKENS, setting.plan.max_tokens),
  )
  seeds = dict.fromkeys(
    [seed, seed + 1, *others, *(_signed(seed ^ 1 << bit) for bit in bits)]
  )
  drawn: dict[str, tuple[int, ...]] = {}
  for some in _batches(list(seeds), setting):
    answers = []
    for one in some:
      n = min(2 if one in (seed, seed + 1) else 1, setting.most_choices)
      asked = dataclasses.replace(case, seed=one, n=n)
      answers.append(setting.asker.start(asked))
    for answer in answers:
      answer.wait(verify_ask.TIMEOUT_S)
      for choice in range(answer.request.n):
        name = f'seed {answer.request.seed} choice {choice}'
        drawn[name] = tuple(answer.ids(choice))
  line.all_differ(drawn)
  line.happened += len(drawn)


def _batches(seeds: Sequence[int], setting: Setting) -> Iterator[Sequence[int]]:
  """As many at a time as may be in flight, even with two choices each."""
  room = setting.config.max_rows + setting.config.max_queue
  few = max(1, min(setting.config.max_rows, room // 2))
  for start in range(0, len(seeds), few):
    yield seeds[start : start + few]


def _signed(bits: int) -> int:
  """The int64 with those 64 bits."""
  bits %= 2**64
  return bits - 2**64 if bits > types.MAX_SEED else bits
