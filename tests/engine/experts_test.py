"""The seed contract on mixtures of experts.

Neighbours share experts there: what is computed for a row must not move when
they come and go.
"""

import dataclasses
import random

import numpy as np
import pytest

from chatjax.engine import engine as engine_lib
from chatjax.testing import tiny
from tests.engine.asking import PROMPTS
from tests.engine.asking import request
from tests.engine.asking import run
from tests.engine.asking import start

CONFIG = dataclasses.replace(tiny.ENGINE, max_rows=8, cache_tokens=1024)
ASKED = [(1, 3), (8, 5), (17, 7), (31, 1), (32, 2), (33, 9), (50, 4), (9, 6)]


@pytest.fixture(
  scope='module',
  params=[
    pytest.param(('mixtral', 'float32'), marks=pytest.mark.slow),
    ('gpt_oss', 'int8'),
    pytest.param(('gpt_oss', 'float32'), marks=pytest.mark.slow),
    pytest.param(('mixtral', 'int8'), marks=pytest.mark.slow),
    pytest.param(('mixtral', 'int8_channel'), marks=pytest.mark.slow),
    pytest.param(('gpt_oss', 'bfloat16'), marks=pytest.mark.slow),
  ],
  ids='-'.join,
)
def engine(request):
  family, dtype = request.param
  engine = engine_lib.Engine(tiny.weights(family, dtype), CONFIG)
  yield engine
  assert engine.error is None
  assert engine.num_pages_used == 0
  engine.close()


@pytest.fixture(scope='module')
def wanted(engine):
  """What each request is answered alone."""
  return {
    (length, seed): run(engine, asked(length, seed))[0].bits()
    for length, seed in ASKED
  }


def asked(length, seed):
  return request(PROMPTS[length], seed=seed, max_tokens=12)


def test_d6_d1_alone_equals_in_a_crowd(engine, wanted):
  assert len({repr(bits) for bits in wanted.values()}) == len(ASKED)
  rng = random.Random(0)
  for size in (2, 3, 5, 8, 8, 8):
    crowd = rng.sample(ASKED, size)  # in another order each time
    sinks = run(engine, *(asked(*each) for each in crowd))
    for each, sink in zip(crowd, sinks, strict=True):
      assert sink.bits() == wanted[each], (each, crowd)


def test_d6_d2_random_arrivals(engine, wanted):
  rng = random.Random(1)
  noise = []
  for _ in range(4):
    for _ in range(4):
      prompt = rng.choice(list(PROMPTS.values()))
      what = request(
        prompt, seed=rng.randrange(2**31), n=rng.randint(1, 2),
        temperature=rng.choice([0.0, 2.0]), max_tokens=rng.randint(1, 20),
      )  # fmt: skip
      noise.append(start(engine, what))
    each = rng.choice(ASKED)
    assert run(engine, asked(*each))[0].bits() == wanted[each]
  for sink in noise:
    sink.wait()


def test_d6_choices_do_not_depend_on_n(engine):
  (many,) = run(engine, request(n=6, max_tokens=8))
  (few,) = run(engine, request(n=2, max_tokens=8))
  assert [few.bits(0), few.bits(1)] == [many.bits(0), many.bits(1)]


def test_d6_a_cached_prompt_gives_the_same_bits(engine):
  prompt = tuple(np.random.default_rng(77).integers(0, 256, 45).tolist())
  cold, warm = (run(engine, request(prompt, max_tokens=8))[0] for _ in range(2))
  assert warm.bits() == cold.bits()
