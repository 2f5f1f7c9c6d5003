"""Compiled programs of a mesh send activations, neither weights nor pages."""

import dataclasses
import math
import re

import jax
import pytest

from chatjax import config as config_lib
from chatjax.engine import programs
from chatjax.models import load
from chatjax.nn import sharding
from chatjax.nn import transformer
from chatjax.testing import tiny

SENT = re.compile(r'= (?P<result>.*?) (all-gather|all-reduce|all-to-all|'
                  r'collective-permute|reduce-scatter)(-start)?\(')  # fmt: skip
ARRAY = re.compile(r'[a-z]+\d+\[([\d,]*)\]')
MESHES = {
  'model=4': config_lib.MeshConfig(model=4),  # two copies of each of two heads
  'data=2,model=4': config_lib.MeshConfig(data=2, model=4),
  'expert=2,model=2': config_lib.MeshConfig(expert=2, model=2),
}
CASES = [
  pytest.param(family, mesh, dtype, marks=() if is_quick else pytest.mark.slow)
  for family, mesh, dtype, is_quick in (
    ('llama', 'data=2,model=4', 'float32', True),
    ('llama', 'model=4', 'int8', True),
    ('llama', 'data=2,model=4', 'bfloat16', False),
    ('llama', 'data=2,model=4', 'int8', False),
    ('gemma3', 'model=4', 'float32', False),
    ('qwen2', 'model=4', 'int8', False),
    ('mixtral', 'expert=2,model=2', 'float32', False),
    ('mixtral', 'expert=2,model=2', 'int8', False),
  )
]


def planned(family, mesh, dtype):
  """The engine's programs, and the shapes of weights and pages."""
  # No product of rows has as many numbers as a weight.
  model = dataclasses.replace(tiny.CONFIGS[family], vocab_size=264, mlp_dim=136)
  if model.num_experts:  # so many that a mesh can split them
    model = dataclasses.replace(model, num_experts=4)
  engine = dataclasses.replace(tiny.ENGINE, dtype=dtype, mesh=MESHES[mesh])
  layout = sharding.layout(engine.mesh, model)
  stored = sharding.storage(dtype, engine.mesh)
  abstract = transformer.Transformer(model, stored).abstract_params()
  weights = load.Weights(
    config=model, abstract=abstract, restore=lambda placement=None: None,
    digest='', dtype=stored,
  )  # fmt: skip
  least = engine.max_rows * model.vocab_size
  plan = programs.plan(weights, engine, layout)
  _, (_, cache, *_) = plan['prefill']
  shapes = {x.shape for x in jax.tree.leaves((abstract, cache))}
  return plan, {x for x in shapes if math.prod(x) > least}


def sizes_sent(text):
  """How many numbers each collective gives a device."""
  found = [SENT.search(line) for line in text.splitlines()]
  arrays = [ARRAY.findall(each['result']) for each in found if each]
  return {
    math.prod(int(x) for x in axes.split(',') if x)
    for each in arrays for axes in each
  }  # fmt: skip


@pytest.mark.parametrize(('family', 'mesh', 'dtype'), CASES)
def test_neither_weights_nor_pages_are_sent(family, mesh, dtype):
  plan, shapes = planned(family, mesh, dtype)
  kept = {math.prod(shape): shape for shape in shapes}
  widest = max(key for key in plan if isinstance(key, tuple))
  for key in (widest, 'prefill', 'score'):
    program, args = plan[key]
    sent = sizes_sent(program.lower(*args).compile().as_text())
    gathered = [kept[size] for size in sent if size in kept]
    assert not gathered, key
    assert sent or key == 'score'
