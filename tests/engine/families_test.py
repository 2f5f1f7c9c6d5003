"""Every family's tiny model through loader and engine: seeds and greedy."""

import pytest

from tests.engine import family_engine
from tests.engine.asking import request
from tests.engine.asking import run
from tests.models import folders

# It computes what no other test does.
DEFAULT = {'gemma2'}


@pytest.fixture(
  scope='module',
  params=[
    pytest.param(name, marks=() if name in DEFAULT else pytest.mark.slow)
    for name in sorted(folders.ALL)
  ],
)
def named_engine(request, tmp_path_factory):
  checkpoints = tmp_path_factory.mktemp('checkpoints')
  engine = family_engine.start(request.param, checkpoints)
  yield request.param, engine
  assert engine.error is None
  engine.close()


def test_alone_equals_in_a_crowd(named_engine):
  alone, crowd = family_engine.alone_and_in_a_crowd(named_engine[1])
  assert len(set(map(repr, alone))) == len(alone) == len(family_engine.ASKED)
  assert crowd == alone


def test_greedy_answers_are_those_of_transformers(named_engine):
  name, engine = named_engine
  golden = folders.golden(name)
  ids, answer = golden['ids'].tolist(), golden['greedy'].tolist()
  what = request(ids, temperature=0.0, max_tokens=len(answer))
  assert run(engine, what)[0].ids() == answer
