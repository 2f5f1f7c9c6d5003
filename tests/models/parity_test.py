"""Real weights in float32 against `transformers` (see goldens/README.md)."""

import pathlib

import jax
import numpy as np
import pytest

from chatjax import config as config_lib
from chatjax import types
from chatjax.ckpt import home as home_lib
from chatjax.engine import engine as engine_lib
from chatjax.engine import programs as programs_lib
from chatjax.engine import runtime
from chatjax.models import load as load_lib
from chatjax.models import registry
from chatjax.testing import collect

pytestmark = pytest.mark.real_model
GOLDENS = pathlib.Path(__file__).parent / 'goldens'
CONFIG = config_lib.EngineConfig(
  dtype='float32', context=1024, cache_tokens=4096
)
# Logits are of the order of 10; what was seen is in docs/models.md.
MAX_DIFFERENCE = 2e-3
MIN_COSINE = 0.9999999


@pytest.fixture(scope='module', params=sorted(registry.REGISTRY))
def model(request):
  runtime.configure(home_lib.home())
  path = registry.fetch_weights(request.param, accept_license=True)
  weights = load_lib.load(
    path,
    registry.get(request.param).source.sha256,
    dtype='float32',
    checkpoints=home_lib.home() / 'checkpoints',
  )
  engine = engine_lib.Engine(weights, CONFIG)
  yield request.param, weights, engine
  engine.close()


def golden(model_id, name):
  return np.load(GOLDENS / f'{model_id}.{name}.npz')


def prefill(engine, weights, ids, positions):
  """Logits [Q, V] at some positions, by the engine's own programs."""
  programs = engine.programs
  cache = programs_lib.init_cache(weights.config, CONFIG)
  table_P = np.arange(1, CONFIG.pages_per_row + 1, dtype=np.int32)
  tables = (table_P,) * len(weights.config.kinds)
  out, chunk = [], CONFIG.chunk
  for start in range(0, len(ids), chunk):
    tokens = np.zeros(chunk, np.int32)
    part = ids[start : start + chunk]
    tokens[: len(part)] = part
    counts = np.int32(len(part)), np.int32(start)
    x, cache = programs.prefill(engine.params, cache, tokens, *counts, tables)
    for position in positions:
      if start <= position < start + chunk:
        index = np.int32(position - start)
        out.append(np.asarray(programs.score(engine.params, x, index)))
  return np.stack(out)


def test_logits(model, record_property):
  model_id, weights, engine = model
  want = golden(model_id, 'logits')
  worst, least = 0.0, 1.0
  for i in range(4):
    positions = want[f'positions_{i}']
    logits = prefill(engine, weights, want[f'ids_{i}'], positions)
    ids = np.concatenate(
      [
        want[f'top_ids_{i}'],
        np.broadcast_to(want['sampled_ids'], (len(positions), 200)),
      ],
      axis=1,
    )
    theirs = np.concatenate(
      [want[f'top_logits_{i}'], want[f'sampled_logits_{i}']], axis=1
    ).astype(np.float64)
    ours = np.take_along_axis(logits, ids, axis=1).astype(np.float64)
    cosine = (ours * theirs).sum(1) / (
      np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    )
    worst = max(worst, float(np.abs(ours - theirs).max()))
    least = min(least, float(cosine.min()))
    logsumexp = np.asarray(jax.nn.logsumexp(logits, axis=1))
    np.testing.assert_allclose(
      logsumexp, want[f'logsumexp_{i}'], atol=MAX_DIFFERENCE
    )
  print(f'{model_id}: max difference {worst:.2e}, cosine {least:.10f}')
  assert worst < MAX_DIFFERENCE
  assert least > MIN_COSINE


def test_greedy_continuations(model):
  """20 prompts, 32 tokens each, all at once through the engine."""
  model_id, _, engine = model
  want = golden(model_id, 'greedy')
  sampling = types.SamplingParams(temperature=0.0, logprobs=True)
  sinks = []
  for i in range(20):
    sinks.append(collect.Collected(1))
    request = types.TokenRequest(
      request_id=str(i),
      prompt_ids=tuple(want[f'prompt_{i}'].tolist()),
      sampling=sampling,
      seed=0,
      stop_ids=frozenset(),
      max_tokens=32,
    )
    engine.submit(request, sinks[-1])
  assert want['gap'].min() > 1e-3  # so no difference can be a near tie
  for i, sink in enumerate(sinks):
    assert sink.wait().ids() == want['tokens'][i].tolist(), i
    ours = [token.logprob for token in sink.choices[0]]
    np.testing.assert_allclose(ours, want['logprob'][i], atol=MAX_DIFFERENCE)
