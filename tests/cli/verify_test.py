"""The verdict: passed by a sound engine, and by no engine with a fault."""

import copy
import dataclasses
import io
import json
import math
import random
import struct
import subprocess
import sys
import types as builtin_types

import jax
import jax.numpy as jnp
import pytest

from chatjax import types
from chatjax.cli import bench_text
from chatjax.cli import loading
from chatjax.cli import main
from chatjax.cli import verify_ask
from chatjax.cli import verify_checks
from chatjax.cli import verify_line
from chatjax.cli import verify_plan
from chatjax.cli import verify_report
from chatjax.cli import verify_restart
from chatjax.cli import verify_trial
from chatjax.engine import engine as engine_lib
from chatjax.testing import byte_tokenizer
from chatjax.testing import tiny

CONFIG = dataclasses.replace(tiny.ENGINE, max_rows=3)
TEXT_IDS = list(bench_text.TEXT.encode())


@pytest.fixture(scope='module')
def sound():
  engine = engine_lib.Engine(tiny.weights('llama', 'int8'), CONFIG)
  yield engine
  engine.close()


@pytest.fixture(scope='module')
def plan(sound):
  return verify_plan.plan(
    TEXT_IDS, CONFIG, max_context=sound.max_context, seed=0
  )


@pytest.fixture(scope='module')
def earlier(sound, plan):
  """As it comes from another process."""
  return json.loads(json.dumps(verify_trial.record(sound, plan)))


@pytest.fixture(scope='module')
def prepared(sound, plan):
  asker = verify_ask.Asker(sound)
  return verify_trial.prepare(asker, CONFIG, plan, random.Random(1))


def report_of(engine, outcome):
  return verify_report.Report(
    outcome=outcome, model='tiny', engine=engine, seed=0, now=0.0
  )


def trial(engine, plan, earlier=None, seconds=0.0):
  return verify_trial.run(
    engine, CONFIG, plan, seconds=seconds, seed=0, earlier=earlier
  )


def line():
  return verify_line.Line(name='', rules='', phrase='')


class Faulty:
  """A sound engine with a fault: what it does not define is the engine's."""

  def __init__(self, engine):
    self._engine = engine

  def __getattr__(self, name):
    return getattr(self._engine, name)

  def submit(self, request, sink):
    self._engine.submit(request, Spoilt(sink, self, request))

  def is_spoilt(self, spoilt):
    """Whether the next tokens are changed."""
    return False


class Spoilt:
  """A sink between the engine and the one that asked."""

  def __init__(self, sink, engine, request):
    self.sink, self.engine, self.request = sink, engine, request
    self.num_cached = 0
    self.choice = None

  def started(self, num_cached):
    self.num_cached = num_cached
    self.sink.started(num_cached)

  def tokens(self, choice, tokens):
    self.choice = choice
    if self.engine.is_spoilt(self):
      last = tokens[-1]
      tokens = [*tokens[:-1], self.engine.spoil(last)]
    self.sink.tokens(choice, tokens)

  def finish(self, choice, reason):
    self.sink.finish(choice, reason)

  def error(self, error):
    self.sink.error(error)


def flipped(value):
  """The float32 whose last bit is the other one."""
  (bits,) = struct.unpack('<I', struct.pack('<f', value))
  return struct.unpack('<f', struct.pack('<I', bits ^ 1))[0]


class OneBit(Faulty):
  def spoil(self, token):
    return dataclasses.replace(token, logprob=flipped(token.logprob))


class BitInCrowd(OneBit):
  def is_spoilt(self, spoilt):
    return self.num_running > 1 and spoilt.request.n == 1


class AlternativeInCrowd(BitInCrowd):
  def spoil(self, token):
    if not token.top:
      return token
    (top_id, logprob), *rest = token.top
    return dataclasses.replace(token, top=((top_id, flipped(logprob)), *rest))


class TokenInCrowd(BitInCrowd):
  def spoil(self, token):
    return dataclasses.replace(token, id=token.id ^ 1)


class BitOfCached(OneBit):
  def is_spoilt(self, spoilt):
    return spoilt.num_cached > 0


class CachesNothing(Faulty):
  def submit(self, request, sink):
    salt = f'{random.random()}'
    super().submit(dataclasses.replace(request, cache_salt=salt), sink)


class ForgetsSalt(Faulty):
  def submit(self, request, sink):
    super().submit(dataclasses.replace(request, cache_salt=''), sink)


class BitOfSecondOfTwo(OneBit):
  def is_spoilt(self, spoilt):
    return spoilt.choice == 1 and spoilt.request.n == 2


class BitAfterCancel(OneBit):
  def cancel(self, request_id, choice=None):
    self._engine.cancel(request_id, choice)
    self.was_cancelled = True

  def is_spoilt(self, spoilt):
    return 'was_cancelled' in vars(self)


class CancelsNothing(Faulty):
  def cancel(self, request_id, choice=None):
    pass


class BitAfterSwap(OneBit):
  def preempt(self, request_id):
    self._engine.preempt(request_id)
    self.was_swapped = True

  def is_spoilt(self, spoilt):
    return 'was_swapped' in vars(self)


class PreemptsNothing(Faulty):
  def preempt(self, request_id):
    pass


class BitAlways(OneBit):
  def is_spoilt(self, spoilt):
    return True


class SeedOf32Bits(Faulty):
  def submit(self, request, sink):
    seed = request.seed % 2**32
    super().submit(dataclasses.replace(request, seed=seed), sink)


class SeedWithoutSign(Faulty):
  def submit(self, request, sink):
    seed = request.seed & types.MAX_SEED
    super().submit(dataclasses.replace(request, seed=seed), sink)


class SecondIsNextSeed(Faulty):
  """Choice 1 of seed s is choice 0 of seed s + 1."""

  def submit(self, request, sink):
    one = dataclasses.replace(request, n=1)
    super().submit(one, sink)
    if request.n == 2:
      second = dataclasses.replace(
        one, seed=one.seed + 1, request_id=f'{one.request_id}-second'
      )
      super().submit(second, AsSecond(sink))


class AsSecond:
  def __init__(self, sink):
    self.sink = sink

  def started(self, num_cached):
    pass

  def tokens(self, choice, tokens):
    self.sink.tokens(1, tokens)

  def finish(self, choice, reason):
    self.sink.finish(1, reason)

  def error(self, error):
    self.sink.error(error)


FAULTS = [
  (verify_checks.repeated, BitAlways, 'token 0: expected id'),
  (verify_checks.crowded, BitInCrowd, 'logprob 0x'),
  (verify_checks.crowded, AlternativeInCrowd, 'with other alternatives'),
  (verify_checks.crowded, TokenInCrowd, 'got id'),
  (verify_checks.cached, BitOfCached, 'token 0: expected id'),
  (verify_checks.cached, CachesNothing, None),
  (verify_checks.cached, ForgetsSalt, 'under a salt that nobody had used'),
  (verify_checks.choices, BitOfSecondOfTwo, 'choice 1, token 0'),
  (verify_checks.cancelled, BitAfterCancel, 'expected id'),
  (verify_checks.cancelled, CancelsNothing, None),
  (verify_checks.preempted, BitAfterSwap, 'expected id'),
  (verify_checks.preempted, PreemptsNothing, None),
  (verify_checks.different, SeedOf32Bits, 'and seed 5 choice 0 gave the same'),
  (verify_checks.different, SeedWithoutSign, 'gave the same 8 tokens'),
  (verify_checks.different, SecondIsNextSeed, 'seed 6 choice 0'),
]


@pytest.mark.parametrize(
  ('check', 'fault', 'words'), FAULTS,
  ids=lambda x: getattr(x, '__name__', ''),
)  # fmt: skip
def test_every_check_finds_its_fault(check, fault, words, sound, prepared):
  engine = fault(sound)
  found = line()
  check(dataclasses.replace(prepared, asker=verify_ask.Asker(engine)), found)
  assert not found.is_shown
  assert found.answers > 0
  if words is None:
    assert not found.failures
    assert 'never took place' in found.verdict
  else:
    assert words in ' '.join(found.failures)
    assert found.verdict == 'FAILED'


def test_a_sound_engine_passes(sound, plan, earlier):
  outcome = trial(sound, plan, earlier, seconds=1.0)
  assert outcome.has_passed
  for one in outcome.lines:
    assert one.verdict == 'passed'
    assert min(one.answers, one.tokens, one.happened) > 0
  assert outcome.rounds >= 1
  assert outcome.rows == CONFIG.max_rows
  assert outcome.preemptions > 3
  report = report_of(sound, outcome)
  assert not report.failures()
  assert 'verify: PASSED' in report.quote()
  assert sound.fingerprint in report.quote()
  assert 'FAILED' not in report.table()
  figures = json.loads(json.dumps(report.figures()))
  assert figures['verdict'] == 'PASSED'
  assert figures['fingerprint_parts']['engine']['max_rows'] == CONFIG.max_rows
  assert [one['answers'] for one in figures['lines']] == [
    one.answers for one in outcome.lines
  ]


def test_what_was_not_tried_is_not_claimed(sound, plan):
  outcome = trial(sound, plan)
  assert outcome.has_passed
  assert outcome.lines[-1].verdict == 'skipped: --norestart'
  quote = ' '.join(report_of(sound, outcome).quote().split())
  assert 'another process.' not in quote.split('Not tried')[0]
  assert 'Not tried: another process.' in quote


def test_one_flipped_bit_in_a_crowd_is_a_verdict(sound, plan):
  outcome = trial(BitInCrowd(sound), plan)
  assert not outcome.has_passed
  report = report_of(sound, outcome)
  assert 'verify: FAILED' in report.quote()
  assert 'equal bit for bit' not in report.quote()
  place = next(x for x in report.failures() if x.startswith('in a crowd'))
  assert 'prompt of ' in place
  assert ' seed ' in place
  assert 'in a crowd' in report.quote()


class ManyFaults(Faulty):
  """Sound answers, and a fault in everything else that is counted."""

  num_pages_used = 1

  def submit(self, request, sink):
    if request.n == 8:
      jax.jit(lambda x: x + 1)(jnp.float32(1))
    super().submit(request, EndsTwice(sink))


class EndsTwice:
  def __init__(self, sink):
    self.started, self.error, self.sink = sink.started, sink.error, sink

  def tokens(self, choice, tokens):
    self.sink.tokens(choice, [*tokens, tokens[-1]])

  def finish(self, choice, reason):
    self.sink.finish(choice, reason)
    self.sink.finish(choice, reason)


def test_every_fact_can_fail(sound, plan):
  outcome = trial(ManyFaults(sound), plan)
  facts = {fact.name: fact.count for fact in outcome.facts}
  assert facts.pop('requests that failed') == 0
  assert all(facts.values()), facts
  assert not outcome.has_passed
  assert 'pages held at the end: 1.' in report_of(sound, outcome).failures()


def test_another_process_that_differs(sound, plan, earlier):
  other = copy.deepcopy(earlier)
  other['fingerprint'] = 'fp_0'
  other['parts']['threads'] = 99
  other['answers'][2][7][1] = 'ff' + other['answers'][2][7][1][2:]
  outcome = trial(sound, plan, other)
  assert not outcome.has_passed
  fingerprint, place = outcome.lines[-1].failures
  assert 'fp_0' in fingerprint
  assert fingerprint.endswith('what changed: threads')
  assert 'token 7: expected id' in place


class FailsRequests(Faulty):
  def submit(self, request, sink):
    if request.sampling.temperature == 2.0:
      sink.error(types.ChatjaxError('No such luck.'))
    else:
      super().submit(request, sink)


def test_failed_requests_are_counted_with_their_reason(sound, plan):
  outcome = trial(FailsRequests(sound), plan)
  assert not outcome.has_passed
  assert any('No such luck.' in x for x in report_of(sound, outcome).failures())


class Hangs(Faulty):
  def submit(self, request, sink):
    if request.n < 4:
      super().submit(request, sink)


def test_an_engine_that_hangs_is_a_finding(sound, plan, monkeypatch):
  monkeypatch.setattr(verify_ask, 'TIMEOUT_S', 0.5)
  outcome = trial(Hangs(sound), plan)
  assert not outcome.has_passed
  assert 'Nothing after 0.5 s.' in ' '.join(outcome.lines[0].failures)


def test_an_engine_that_dies_ends_the_trial(plan):
  engine = engine_lib.Engine(tiny.weights('llama', 'int8'), CONFIG)
  engine.close()
  outcome = trial(engine, plan, seconds=60.0)
  assert not outcome.has_passed
  assert 'does not run any more' in ' '.join(
    report_of(engine, outcome).failures()
  )


@pytest.mark.parametrize(
  ('check', 'fields'),
  [
    (verify_checks.crowded, {'max_rows': 1}),
    (verify_checks.cached, {'prefix_cache': False}),
  ],
  ids=['max_rows', 'prefix_cache'],
)
def test_what_cannot_be_tried_is_skipped(check, fields, prepared):
  config = dataclasses.replace(CONFIG, **fields)
  found = line()
  check(dataclasses.replace(prepared, config=config), found)
  assert found.verdict.startswith('skipped: ')
  assert not found.is_shown


def test_eight_rounds_flip_every_bit_of_the_seed(prepared, sound):
  seen = set()

  class Notes(Faulty):
    def submit(self, request, sink):
      seen.add(request.seed)
      super().submit(request, sink)

  setting = dataclasses.replace(prepared, asker=verify_ask.Asker(Notes(sound)))
  flipped_bits = set()
  for setting.round in range(8):
    seen.clear()
    verify_checks.different(setting, line())
    assert types.MIN_SEED <= min(seen) <= max(seen) <= types.MAX_SEED
    unsigned = {seed % 2**64 for seed in seen}
    base = max(unsigned, key=lambda x: len(_neighbours(x) & unsigned))
    flipped_bits |= {
      (base ^ one).bit_length() - 1 for one in _neighbours(base) & unsigned
    }
  assert flipped_bits == set(range(64))


def _neighbours(seed):
  return {seed ^ 1 << bit for bit in range(64)}


ARGUMENTS = [
    'verify', '--max_rows=3', '--context=128', '--seconds=0', '--seed=4',
    '--set=engine.page_size=8', '--set=engine.chunk=16',
    '--set=engine.decode_steps=3', '--set=engine.cache_tokens=512',
]  # fmt: skip


class Kept(Faulty):
  """For several sessions, one after the other."""

  def submit(self, request, sink):
    self._engine.submit(request, sink)

  def close(self):
    pass


@pytest.fixture
def command(sound, monkeypatch, capfd):
  """The command on a tiny engine; the other process is a call."""
  engines = [Kept(sound), Kept(sound)]

  def load(config, *, accept_license):
    assert config.engine == CONFIG
    return builtin_types.SimpleNamespace(
      engine=engines.pop(0), tokenizer=byte_tokenizer.ByteTokenizer()
    )

  def run_here(command, *, input, **unused):
    assert command[1:] == ['-m', 'chatjax.cli.verify_restart']
    with monkeypatch.context() as patch:
      patch.setattr(sys, 'stdin', io.StringIO(input))
      patch.setattr(sys, 'stdout', io.StringIO())
      code = verify_restart.main()
      out = sys.stdout.getvalue()
    return subprocess.CompletedProcess(command, code, stdout=out)

  monkeypatch.setattr(loading, 'load', load)
  monkeypatch.setattr(verify_restart.subprocess, 'run', run_here)

  def call(*arguments):
    code = main.main([*ARGUMENTS, *arguments])
    return code, *capfd.readouterr()

  call.engines = engines
  return call


def test_the_command_passes(command, tmp_path):
  code, out, err = command(f'--json={tmp_path / "all.json"}')
  assert code == 0, err
  assert err == 'Another process answers first ...\n'
  assert out.count('passed') == 14
  assert 'chatjax 0.1.0 verify: PASSED.' in out
  figures = json.loads((tmp_path / 'all.json').read_text())
  assert figures['seed'] == 4
  assert figures['lines'][-1]['answers'] == 5
  assert not command.engines


def test_the_command_fails(command, sound):
  command.engines[1] = BitInCrowd(sound)
  command.engines[1].close = lambda: None
  code, out, _ = command()
  assert code == 1
  assert 'chatjax 0.1.0 verify: FAILED.' in out
  assert 'in a crowd: prompt of ' in out


def test_the_other_process_cannot_answer(command, monkeypatch):
  def fail(config, *, accept_license):
    raise types.ChatjaxError('There is no such thing.')

  monkeypatch.setattr(loading, 'load', fail)
  code, out, err = command()
  assert (code, out) == (1, '')
  assert err.splitlines()[-1] == 'chatjax: There is no such thing.'
  crash = lambda *unused, **more: subprocess.CompletedProcess([], -11, '')
  monkeypatch.setattr(verify_restart.subprocess, 'run', crash)
  code, out, err = command()
  assert (code, out) == (1, '')
  assert 'ended with exit code -11; give --norestart' in err
  gone = lambda *unused, **more: subprocess.CompletedProcess([], 130, '')
  monkeypatch.setattr(verify_restart.subprocess, 'run', gone)
  assert command()[0] == 130


@pytest.mark.real_model
@pytest.mark.slow
def test_a_real_model_and_a_real_process(capfd):
  arguments = ['--model=smollm2-135m-instruct', '--max_rows=16']
  code = main.main(['verify', '--seconds=0', *arguments])
  out, err = capfd.readouterr()
  assert code == 0, (out, err)
  assert 'FAILED' not in out
  assert 'skipped' not in out


@pytest.mark.parametrize('fields', [
    {'max_rows': 1, 'max_queue': 1},
    {'context': 16, 'cache_tokens': 64},
    {'prefix_cache': False, 'max_queue': 1},
], ids=str)  # fmt: skip
def test_plans_fit_every_config(fields):
  config = dataclasses.replace(CONFIG, **fields)
  plan = verify_plan.plan(TEXT_IDS, config, max_context=config.context, seed=3)
  rng = random.Random(0)
  for one in (*plan.cases, *(plan.mate(rng, 8) for _ in range(200))):
    assert 1 <= len(one.prompt_ids) <= config.context - one.max_tokens
  again = verify_plan.plan(TEXT_IDS, config, max_context=config.context, seed=3)
  assert again == plan


def test_first_difference():
  bits = [(3, struct.pack('<fif', -1.5, 3, -1.5))] * 2
  assert not verify_line.first_difference(bits, list(bits))
  assert verify_line.first_difference(bits, bits[:1]) == (
    'expected 2 tokens, got 1'
  )
  other = [bits[0], (3, struct.pack('<fif', math.inf, 3, -1.5))]
  assert verify_line.first_difference(bits, other) == (
    'token 1: expected id 3 logprob 0xbfc00000 (-1.5), got id 3 logprob'
    ' 0x7f800000 (inf)'
  )
