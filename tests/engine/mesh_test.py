"""An engine on a mesh of fake devices: the same answers, the same contract."""

import dataclasses

import jax
import pytest

from chatjax import config as config_lib
from chatjax.engine import engine as engine_lib
from chatjax.engine import fingerprint
from chatjax.models import load
from chatjax.testing import tiny
from tests.engine.asking import PROMPTS
from tests.engine.asking import request
from tests.engine.asking import run
from tests.engine.asking import start
from tests.models import folders

# Every prompt's ids must be of the small vocabulary.
LONG, SHORT = (tuple(x % 100 for x in PROMPTS[n]) for n in (33, 7))
ENGINES = {
  'qwen3-float32': config_lib.MeshConfig(model=2),
  'gemma2-float32': config_lib.MeshConfig(model=4),
  'mixtral-float32': config_lib.MeshConfig(expert=5),
  'qwen3-bfloat16': config_lib.MeshConfig(data=2, model=4),
  'llama-int8': config_lib.MeshConfig(model=2),
}
DEFAULT = 'qwen3-float32'


@pytest.fixture(
  scope='module',
  params=[
    pytest.param(name, marks=() if name == DEFAULT else pytest.mark.slow)
    for name in ENGINES
  ],
)
def named_engine(request, tmp_path_factory):
  name, dtype = request.param.split('-')
  config = dataclasses.replace(
      tiny.ENGINE, dtype=dtype, context=64, cache_tokens=256,
      mesh=ENGINES[request.param],
  )  # fmt: skip
  weights = load.load(
    folders.ALL[name],
    'digest',
    dtype=dtype,
    checkpoints=tmp_path_factory.mktemp('checkpoints'),
    mesh=config.mesh,
  )
  engine = engine_lib.Engine(weights, config)
  yield name, engine
  assert engine.error is None
  assert engine.num_compilations == 0
  assert engine.num_pages_used == 0
  engine.close()


def asked(prompt, seed):
  return request(prompt, seed=seed, max_tokens=12)


def test_alone_equals_in_a_crowd(named_engine):
  _, engine = named_engine
  pairs = [(LONG, 1), (SHORT, 1), (SHORT, 2), (LONG[:17], 3)]
  alone = [run(engine, asked(*pair))[0].bits() for pair in pairs]
  assert len(set(map(repr, alone))) == len(pairs)
  crowd = run(engine, *(asked(*pair) for pair in reversed(pairs)))
  assert [sink.bits() for sink in reversed(crowd)] == alone


def test_greedy_answers_are_those_of_transformers(named_engine):
  name, engine = named_engine
  golden = folders.golden(name)
  ids, answer = golden['ids'].tolist(), golden['greedy'].tolist()
  what = request(ids, temperature=0.0, max_tokens=len(answer))
  (sink,) = run(engine, what)
  if engine.fingerprint_parts['weight_storage'] == 'float32':
    assert sink.ids() == answer
  assert sink.bits() == run(engine, what)[0].bits()


def test_pages_come_back_from_the_host(named_engine):
  _, engine = named_engine
  wanted = run(engine, asked(LONG, 7))[0].bits()
  what = asked(LONG, 7)
  sink = start(engine, what)
  sink.wait_for_first()
  engine.preempt(what.request_id)
  assert sink.wait().bits() == wanted


def test_it_lies_on_the_mesh_and_the_fingerprint_says_so(named_engine):
  _, engine = named_engine
  parts = engine.fingerprint_parts
  mesh = config_lib.MeshConfig(**parts['engine']['mesh'])
  assert mesh.num_devices > 1
  for leaf in jax.tree.leaves(engine.params):
    assert len(leaf.sharding.device_set) == mesh.num_devices
  other = {'engine': parts['engine'] | {'mesh': {}}}
  assert fingerprint.digest(parts) == engine.fingerprint
  assert fingerprint.digest(parts | other) != engine.fingerprint
