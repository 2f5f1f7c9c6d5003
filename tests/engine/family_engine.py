"""Families' tiny models in engines, and what is asked of each."""

import dataclasses
import pathlib
import random

import numpy as np

from chatjax.engine import engine as engine_lib
from chatjax.models import load
from chatjax.testing import tiny
from tests.engine import asking
from tests.models import folders

CONFIG = dataclasses.replace(
  tiny.ENGINE, dtype='float32', context=64, cache_tokens=512
)
PROMPTS = {
  length: tuple(np.random.default_rng(length).integers(0, 100, length).tolist())
  for length in (3, 17, 33)
}
ASKED = [(length, seed) for length in PROMPTS for seed in (1, 2)]


def start(name: str, checkpoints: pathlib.Path) -> engine_lib.Engine:
  """An engine with one of `folders.ALL`, through loader and converter."""
  weights = load.load(
    folders.ALL[name], 'digest', dtype='float32', checkpoints=checkpoints
  )
  return engine_lib.Engine(weights, CONFIG)


def alone_and_in_a_crowd(engine: engine_lib.Engine):
  """Bits of seeded answers, in the order of ASKED: one by one, and at once."""

  def asked(length, seed):
    # At 1.0 the tiny Gemmas would be sure of every token.
    return asking.request(
      PROMPTS[length], seed=seed, max_tokens=12, temperature=10.0
    )

  alone = [asking.run(engine, asked(*each))[0].bits() for each in ASKED]
  order = random.Random(0).sample(range(len(ASKED)), len(ASKED))
  sinks = asking.run(engine, *(asked(*ASKED[i]) for i in order))
  crowd = {i: sink.bits() for i, sink in zip(order, sinks, strict=True)}
  return alone, [crowd[i] for i in range(len(ASKED))]
