"""Compilations are counted, and an engine that serves makes none."""

import jax
import jax.numpy as jnp
import numpy as np

from chatjax.engine import compilations
from chatjax.engine import engine as engine_lib
from chatjax.testing import tiny
from tests.engine import asking


def test_a_new_program_counts_once():
  double = jax.jit(lambda x: x * 2)
  x, longer = (np.zeros(n, np.float32) for n in (3, 4))  # nothing to compile
  before = compilations.counter().count
  double(x)
  double(x)
  assert compilations.counter().count == before + 1
  double(longer)
  assert compilations.counter().count == before + 2


def test_serving_compiles_nothing():
  engine = engine_lib.Engine(tiny.weights('llama', 'int8'), tiny.ENGINE)
  assert engine.num_compilations == 0
  asking.run(engine, *(asking.request(p, n=2) for p in asking.PROMPTS.values()))
  assert engine.num_compilations == 0
  jax.jit(lambda x: x + 3)(jnp.zeros(5))
  assert engine.num_compilations > 0
  weights = jax.tree.leaves(engine.params)
  assert engine.weight_bytes == sum(x.size * x.dtype.itemsize for x in weights)
  engine.close()
