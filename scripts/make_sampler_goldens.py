"""Writes tests/sampling/goldens.json: what a seed draws, pinned.

A change of these values breaks every seed that was ever reported: raise
`keys.SAMPLER_VERSION` with it. Run from the repository's root:

  python scripts/make_sampler_goldens.py
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import jax
import numpy as np

from chatjax import types
from chatjax.sampling import keys
from chatjax.sampling import sampler

PATH = pathlib.Path(__file__).parent.parent / 'tests/sampling/goldens.json'

SEEDS = (0, 5, 5 + 2**32, -1, 2**63 - 1, -(2**63))
NUM_TOKENS = 12
VOCAB_SIZE = 10_000

PARAMS = (
  {},
  {'temperature': 0.0},
  {'temperature': 0.7, 'top_k': 40, 'top_p': 0.95},
  {'temperature': 1.5, 'top_p': 0.9},
  {'temperature': 1.5, 'top_k': 1000, 'min_p': 0.02},
)


def logits_row() -> np.ndarray:
  """Logits f32[VOCAB_SIZE] without a random generator: a chaotic wave."""
  i_V = np.arange(VOCAB_SIZE, dtype=np.float64)
  return (4 * np.sin(i_V * i_V * 0.37) + 3 * np.cos(i_V * 0.11)).astype(
    np.float32
  )


def measure() -> dict[str, Any]:
  """Draws everything that the goldens pin."""
  rows: dict[str, Any] = {'sampler_version': keys.SAMPLER_VERSION}
  rows['keys'] = {
    str(seed): [keys.key_hex(keys.choice_key(seed, i)) for i in range(3)]
    for seed in SEEDS
  }
  rows['uniforms'] = {
    str(seed): [
      keys.uniform_words(keys.token_key(keys.choice_key(seed, 1), t)).tolist()
      for t in range(4)
    ]
    for seed in SEEDS
  }
  logits_V = logits_row()
  draw = jax.jit(
    lambda p, key, step: sampler.sample_row(logits_V, p, key=key, step=step)
  )
  rows['draws'] = []
  for kwargs in PARAMS:
    params = sampler.host_params(types.SamplingParams(**kwargs))
    key = jax.random.key_data(keys.choice_key(5, 0))
    draws = [draw(params, key, np.int32(t)) for t in range(NUM_TOKENS)]
    rows['draws'].append({
        'params': kwargs,
        'tokens': [int(one.token) for one in draws],
        'logprobs': [round(float(one.logprob), 4) for one in draws],
        'fell_back': bool(draws[0].fell_back),
    })  # fmt: skip
  return rows


def main() -> None:
  PATH.write_text(json.dumps(measure(), indent=1) + '\n')


if __name__ == '__main__':
  main()
