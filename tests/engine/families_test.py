"""Every family's tiny model through loader and engine: seeds and greedy."""

import dataclasses
import random

import numpy as np
import pytest

from chatjax.engine import engine as engine_lib
from chatjax.models import load
from chatjax.testing import tiny
from tests.engine.asking import request
from tests.engine.asking import run
from tests.models import folders

CONFIG = dataclasses.replace(
  tiny.ENGINE, dtype='float32', context=64, cache_tokens=512
)
# It computes what no other test does.
DEFAULT = {'gemma2'}
PROMPTS = {
  length: tuple(np.random.default_rng(length).integers(0, 100, length).tolist())
  for length in (3, 17, 33)
}
ASKED = [(length, seed) for length in PROMPTS for seed in (1, 2)]


@pytest.fixture(
  scope='module',
  params=[
    pytest.param(name, marks=() if name in DEFAULT else pytest.mark.slow)
    for name in sorted(folders.ALL)
  ],
)
def named_engine(request, tmp_path_factory):
  weights = load.load(
    folders.ALL[request.param],
    'digest',
    dtype='float32',
    checkpoints=tmp_path_factory.mktemp('checkpoints'),
  )
  engine = engine_lib.Engine(weights, CONFIG)
  yield request.param, engine
  assert engine.error is None
  engine.close()


def asked(length, seed):
  return request(PROMPTS[length], seed=seed, max_tokens=12)


def test_alone_equals_in_a_crowd(named_engine):
  _, engine = named_engine
  alone = {each: run(engine, asked(*each))[0].bits() for each in ASKED}
  assert len({repr(bits) for bits in alone.values()}) == len(ASKED)
  crowd = random.Random(0).sample(ASKED, len(ASKED))
  sinks = run(engine, *(asked(*each) for each in crowd))
  for each, sink in zip(crowd, sinks, strict=True):
    assert sink.bits() == alone[each], each


def test_greedy_answers_are_those_of_transformers(named_engine):
  name, engine = named_engine
  golden = folders.golden(name)
  ids, answer = golden['ids'].tolist(), golden['greedy'].tolist()
  what = request(ids, temperature=0.0, max_tokens=len(answer))
  assert run(engine, what)[0].ids() == answer
