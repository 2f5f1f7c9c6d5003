"""Rows whose next token the host has a say in."""

import dataclasses

import numpy as np
import pytest

from chatjax import types
from chatjax.engine import engine as engine_lib
from chatjax.testing import tiny
from tests.engine.asking import PROMPTS
from tests.engine.asking import request
from tests.engine.asking import run
from tests.engine.asking import start

CONFIG = dataclasses.replace(tiny.ENGINE, max_rows=8)
V = tiny.CONFIGS['gemma3'].vocab_size


class Steps:
  """Token number t must be of the set that `sets` gives for t."""

  def __init__(self, sets):
    self._sets, self._done = sets, 0

  def masks(self, guesses, out_GW):
    for ahead in range(len(guesses) + 1):
      allowed = np.zeros(out_GW.shape[1] * 32, bool)
      allowed[sorted(self._sets(self._done + ahead))] = True
      out_GW[ahead] = np.packbits(allowed, bitorder='little').view(np.uint32)
      if ahead < len(guesses) and not allowed[guesses[ahead]]:
        return ahead
    return len(guesses)

  def forced(self, limit):
    ids = []
    while len(ids) < limit:
      allowed = self._sets(self._done + len(ids))
      if len(allowed) > 1:
        break
      ids.extend(allowed)
    return ids

  def advance(self, tokens):
    for token in tokens:
      assert token in self._sets(self._done)
      self._done += 1


class Blind(Steps):
  """One that does not know what it forces."""

  def forced(self, limit):
    return ()


def third(t):
  return set(range(t % 3, V, 3))


def mostly_forced(t):
  return set(range(5, 60)) if t % 5 == 0 else {t % 5 + 10}


def constrained(sets, *args, speculation='off', **fields):
  return dataclasses.replace(
    request(*args, **fields),
    constraint=lambda: Steps(sets),
    speculation=speculation,
  )


@pytest.fixture(scope='module', params=['int8', 'float32'])
def engine(request):
  engine = engine_lib.Engine(tiny.weights('gemma3', request.param), CONFIG)
  yield engine
  assert engine.error is None
  assert engine.num_pages_used == 0
  assert engine.num_compilations == 0
  engine.close()


@pytest.mark.parametrize('temperature', [0.0, 1.0])
def test_only_allowed_tokens_are_drawn(engine, temperature):
  (got,) = run(engine, constrained(third, n=2, temperature=temperature))
  for choice in range(2):
    assert [x % 3 for x in got.ids(choice)] == [
      t % 3 for t in range(len(got.ids(choice)))
    ]


def test_a_mask_wins_over_any_bias(engine):
  (got,) = run(engine, constrained(third, logit_bias={1: 100.0}, max_tokens=4))
  assert got.ids()[0] % 3 == 0


def test_a_mask_that_allows_all_changes_no_bit(engine):
  (want,) = run(engine, request())
  (got,) = run(engine, constrained(lambda t: set(range(V))))
  assert got.bits() == want.bits()


def test_mates_keep_their_bits(engine):
  (want,) = run(engine, request(max_tokens=30))
  (alone,) = run(engine, constrained(third))
  bound = [start(engine, constrained(third, seed=7)) for _ in range(2)]
  sink = start(engine, request(max_tokens=30))
  again = start(engine, constrained(third))
  assert sink.wait().bits() == want.bits()
  assert again.wait().bits() == alone.bits()
  assert bound[0].wait().bits() == bound[1].wait().bits()


@pytest.mark.parametrize('mode', ['off', 'on', 'auto'])
def test_forced_runs_are_guesses_that_hold(engine, mode):
  ask = constrained(mostly_forced, max_tokens=30, speculation=mode)
  blind = dataclasses.replace(ask, constraint=lambda: Blind(mostly_forced))
  (want,) = run(engine, dataclasses.replace(blind, speculation='off'))
  before = engine.totals.decode_steps
  (got,) = run(engine, ask)
  assert got.bits() == want.bits()
  assert engine.totals.decode_steps - before < 20
  if mode == 'off':  # what had to come was no guess
    assert got.guesses == types.Drafted()


def test_preempted_between_two_tokens(engine):
  (want,) = run(engine, constrained(third, max_tokens=40))
  ask = constrained(third, max_tokens=40)
  sink = start(engine, ask)
  engine.preempt(ask.request_id)
  assert sink.wait().bits() == want.bits()


class Broken(Steps):
  def masks(self, guesses, out_GW):
    if self._done == 3:
      raise RuntimeError('it broke')
    return super().masks(guesses, out_GW)


def test_a_constraint_that_fails_ends_its_request_alone(engine):
  ask = dataclasses.replace(
    request(max_tokens=20), constraint=lambda: Broken(third)
  )
  mate = start(engine, request(PROMPTS[9], max_tokens=20))
  sink = start(engine, ask)
  sink.wait()
  assert 'grammar of the request failed' in str(sink.failure)
  assert mate.wait().reasons
  assert engine.is_alive


def test_one_that_cannot_be_made(engine):
  ask = dataclasses.replace(request(), constraint=lambda: 1 / 0)
  sink = start(engine, ask)
  sink.wait()
  assert 'grammar of the request failed' in str(sink.failure)


def test_only_the_allowed_ids(engine):
  allowed = (3, 5, 8)
  (got,) = run(engine, request(allowed_token_ids=allowed))
  assert set(got.ids()) <= set(allowed)


def test_l2_kinds_of_log_probabilities(engine):
  """Each is the log-softmax of what it is named after."""
  fields = {
    'temperature': 0.5, 'logprobs': True, 'top_logprobs': 20, 'max_tokens': 4,
    'logit_bias': {9: 2.0},
  }  # fmt: skip
  raw, tempered, sampled = (
    run(engine, request(**fields, logprobs_mode=mode))[0].choices[0]
    for mode in ('raw', 'tempered', 'sampled')
  )
  assert [x.id for x in raw] == [x.id for x in tempered]
  assert [x.id for x in raw] == [x.id for x in sampled]
  for one, other in zip(raw, tempered, strict=True):
    # All of a tiny vocabulary is not shown, so differences are compared.
    ids = [i for i, _ in one.top]
    assert [i for i, _ in other.top] == ids
    gaps = np.diff([x for _, x in one.top]) / 0.5
    np.testing.assert_allclose(
      np.diff([x for _, x in other.top]), gaps, atol=1e-4
    )
  for one, other in zip(tempered, sampled, strict=True):
    before, after = dict(one.top), dict(other.top)
    others = [i for i in before if i in after and i != 9]
    shifts = [after[i] - before[i] for i in others]
    np.testing.assert_allclose(shifts, shifts[0], atol=1e-4)
    if 9 in before and 9 in after:
      assert after[9] - before[9] - shifts[0] == pytest.approx(4.0, abs=1e-3)


def test_what_was_cut_has_no_sampled_probability(engine):
  fields = {'logprobs': True, 'top_logprobs': 5, 'max_tokens': 4, 'top_k': 2}
  (got,) = run(engine, request(**fields, logprobs_mode='sampled'))
  for token in got.choices[0]:
    kept = [x for _, x in token.top if x > -np.inf]
    assert len(kept) == 2
    assert np.exp(kept).sum() == pytest.approx(1, abs=1e-5)
  (got,) = run(
    engine, request(**fields, temperature=0.0, logprobs_mode='sampled')
  )
  assert {token.logprob for token in got.choices[0]} == {0.0}
