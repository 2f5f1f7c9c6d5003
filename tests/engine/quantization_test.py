"""The seed contract with weights of every quantization."""

import dataclasses

import pytest

from chatjax import config as config_lib
from chatjax.engine import engine as engine_lib
from chatjax.engine import fingerprint
from chatjax.testing import tiny
from tests.engine.asking import PROMPTS
from tests.engine.asking import request
from tests.engine.asking import run
from tests.engine.asking import start

CONFIG = dataclasses.replace(tiny.ENGINE, context=64, cache_tokens=256)
ASKED = [(33, 1), (7, 1), (7, 2), (17, 3)]
# Other tests hold int8 to it, in both forms.
WEIGHTS = [
  ('llama', 'int4_weight'), ('llama', 'int8_weight'), ('llama', 'fp8'),
  ('gemma3', 'int4_weight'), ('mixtral', 'int4_weight'),
  ('mixtral', 'int8_weight'), ('gpt_oss', 'fp8'),
]  # fmt: skip
DEFAULT = ('llama', 'int4_weight')


@pytest.fixture(
  scope='module',
  params=[
    pytest.param(x, marks=() if x == DEFAULT else pytest.mark.slow)
    for x in WEIGHTS
  ],
  ids='-'.join,
)
def engine(request):
  family, dtype = request.param
  config = dataclasses.replace(CONFIG, dtype=dtype)
  engine = engine_lib.Engine(tiny.weights(family, dtype), config)
  yield engine
  assert engine.error is None
  assert engine.num_compilations == 0
  assert engine.num_pages_used == 0
  engine.close()


def asked(length, seed):
  return request(PROMPTS[length], seed=seed, max_tokens=12)


def test_alone_equals_in_a_crowd(engine):
  alone = [run(engine, asked(*each))[0].bits() for each in ASKED]
  assert len(set(map(repr, alone))) == len(ASKED)
  for crowd in (ASKED[::-1], ASKED[2:] + ASKED[:2]):
    sinks = run(engine, *(asked(*each) for each in crowd))
    for each, sink in zip(crowd, sinks, strict=True):
      assert sink.bits() == alone[ASKED.index(each)], (each, crowd)


def test_pages_come_back_from_the_host(engine):
  wanted = run(engine, asked(33, 7))[0].bits()
  what = asked(33, 7)
  sink = start(engine, what)
  sink.wait_for_first()
  engine.preempt(what.request_id)
  assert sink.wait().bits() == wanted


def test_the_fingerprint_names_the_quantization(engine):
  parts = engine.fingerprint_parts
  assert parts['weight_storage'] == parts['engine']['dtype']
  for name in config_lib.DTYPES:
    other = fingerprint.digest(parts | {'weight_storage': name})
    is_same = name == parts['weight_storage']
    assert (other == engine.fingerprint) == is_same
