"""Speculation changes how often the device is asked, and nothing else."""

import dataclasses
import random

import pytest

from chatjax import config as config_lib
from chatjax.engine import engine as engine_lib
from chatjax.nn import paged
from chatjax.testing import tiny
from tests.engine.asking import PROMPTS
from tests.engine.asking import request
from tests.engine.asking import run
from tests.engine.asking import start

CONFIG = dataclasses.replace(tiny.ENGINE, max_rows=8)


def make_engine(config=CONFIG, family='gemma3', dtype='int8'):
  return engine_lib.Engine(tiny.weights(family, dtype), config)


@pytest.fixture(scope='module')
def engine():
  engine = make_engine()
  yield engine
  assert engine.error is None
  assert engine.num_pages_used == 0
  engine.close()


def ask(*args, speculation=None, prediction=(), **fields):
  speculation = speculation or ('auto' if prediction else 'off')
  return dataclasses.replace(
    request(*args, **fields),
    speculation=speculation,
    prediction_ids=tuple(prediction),
  )


def spoilt(ids, every):
  """The ids with every so-many-th one wrong."""
  return [x + 1 if i % every == every - 1 else x for i, x in enumerate(ids)]


ASKED = {
  'plain': {},
  'greedy': {'temperature': 0.0},
  'counted': {
    'presence_penalty': 1.5, 'frequency_penalty': 1.0,
    'repetition_penalty': 1.3, 'min_tokens': 5,
  },
  'cut': {'top_k': 5, 'top_p': 0.8, 'temperature': 1.4},
  'many': {'n': 3},
  'short': {'max_tokens': 3},
  'one': {'max_tokens': 1},
}  # fmt: skip


@pytest.mark.parametrize('name', ASKED)
@pytest.mark.parametrize('every', [0, 2, 5])
def test_a_prediction_moves_no_bit(engine, name, every):
  """Guesses that all hold, and guesses that often do not."""
  fields = ASKED[name]
  (want,) = run(engine, ask(**fields))
  assert want.guesses.accepted == want.guesses.rejected == 0
  ids = want.ids()
  prediction = spoilt(ids, every) if every else ids
  (got,) = run(engine, ask(prediction=prediction, speculation='on', **fields))
  for choice in range(len(want.choices)):
    assert got.bits(choice) == want.bits(choice)
  assert got.reasons == want.reasons
  if name not in ('short', 'one'):
    assert got.guesses.accepted > 2
  if every == 2 and name == 'plain':
    assert got.guesses.rejected > 0


def test_a_right_prediction_takes_few_steps(engine):
  (want,) = run(engine, ask(max_tokens=40))
  before = dataclasses.replace(engine.totals)
  (got,) = run(engine, ask(max_tokens=40, prediction=want.ids()))
  steps = engine.totals.decode_steps - before.decode_steps
  assert got.bits() == want.bits()
  assert steps <= 20  # guesses end with the page, of 8 here
  assert got.guesses.accepted == 39 - steps
  drafted = engine.totals.drafted_tokens - before.drafted_tokens
  accepted = engine.totals.accepted_tokens - before.accepted_tokens
  assert (accepted, drafted - accepted) == (
    got.guesses.accepted,
    got.guesses.rejected,
  )


def test_a_stop_id_within_the_guesses_ends_the_choice(engine):
  ids = run(engine, ask(max_tokens=30))[0].ids()
  stop = next(x for x in ids[6:] if x not in ids[:6])
  want = run(engine, ask(max_tokens=30, stop_ids=[stop]))[0]
  assert want.ids()[-1] == stop
  got = run(engine, ask(max_tokens=30, stop_ids=[stop], prediction=ids))[0]
  assert got.bits() == want.bits()
  assert got.reasons == want.reasons
  assert got.guesses.accepted > 0


def test_in_a_crowd_with_and_without_guesses(engine):
  (want,) = run(engine, ask())
  rng = random.Random(3)
  for _ in range(4):
    sinks = []
    for prompt in rng.sample(list(PROMPTS.values()), 5):
      mode = rng.choice(['off', 'on', 'auto'])
      mate = ask(
        prompt, seed=rng.randrange(99), max_tokens=rng.randint(1, 30),
        speculation=mode, prediction=prompt,
      )  # fmt: skip
      start(engine, mate)
      sinks.append(start(engine, ask(prediction=spoilt(want.ids(), 4))))
    for sink in sinks:
      assert sink.wait().bits() == want.bits()


def test_what_the_prompt_repeats_is_guessed(engine):
  """A bias makes the model write what stands in its prompt."""
  prompt = (65, 66, 67, 68) * 8
  fields = {'temperature': 0.0, 'logit_bias': {65: 40.0}, 'max_tokens': 40}
  (want,) = run(engine, ask(prompt, **fields))
  assert set(want.ids()) == {65}
  (got,) = run(engine, ask(prompt, speculation='on', **fields))
  assert got.bits() == want.bits()
  assert got.guesses.accepted > 15


@pytest.mark.parametrize(
  ('lookahead', 'width'), [(0, 0), (0, 2), (1, 8), (2, 4)]
)
def test_lookahead_and_width_move_no_bit(engine, lookahead, width):
  (want,) = run(engine, ask(max_tokens=30))
  config = dataclasses.replace(CONFIG, lookahead=lookahead, draft_width=width)
  other = make_engine(config)
  sinks = run(
    other,
    ask(max_tokens=30, prediction=want.ids(), speculation='on'),
    ask(max_tokens=30, prediction=spoilt(want.ids(), 3)),
    ask(max_tokens=30, speculation='on'),
  )
  assert [sink.bits() for sink in sinks] == [want.bits()] * 3
  assert (sinks[0].guesses.accepted > 0) == (width > 3)
  other.close()


def test_short_pages_and_pools_keep_the_bits(engine):
  """Guesses end with the page; rows are put out between them."""
  (want,) = run(engine, ask(max_tokens=40))
  config = dataclasses.replace(CONFIG, cache_tokens=128)
  other = make_engine(config)
  sinks = [
    start(other, ask(max_tokens=40, prediction=want.ids())) for _ in range(5)
  ]
  for sink in sinks:
    assert sink.wait().bits() == want.bits()
  assert other.totals.preemptions > 0
  assert other.totals.accepted_tokens > 0
  assert other.num_pages_used == 0
  other.close()


@pytest.mark.parametrize(
  ('method', 'dtype'),
  [
    ('map', 'int8_channel'),
    pytest.param('vmap', 'float32', marks=pytest.mark.slow),
  ],
)
def test_without_the_native_kernels(monkeypatch, method, dtype):
  monkeypatch.setattr(paged, 'best_method', lambda *_: method)
  config = dataclasses.replace(CONFIG, dtype=dtype.removesuffix('_channel'))
  engine = make_engine(config, dtype=dtype)
  (want,) = run(engine, ask())
  (got,) = run(engine, ask(prediction=spoilt(want.ids(), 5)))
  assert got.bits() == want.bits()
  assert got.guesses.accepted > 3
  engine.close()


def test_a_negative_width_is_refused():
  with pytest.raises(config_lib.ConfigError, match='draft_width=-1 must be 0'):
    dataclasses.replace(CONFIG, draft_width=-1)


def test_guessing_compiles_nothing(engine):
  before = engine.num_compilations
  (want,) = run(engine, ask())
  run(engine, ask(prediction=want.ids(), speculation='on'))
  assert engine.num_compilations == before
