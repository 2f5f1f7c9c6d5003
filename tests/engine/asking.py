"""Requests of many shapes, and engines that are asked them."""

import random

import numpy as np

from chatjax import types
from chatjax.testing import collect

PROMPTS = {  # every way to meet a page (8) and a chunk (16) border
  length: tuple(int(x) for x in np.random.default_rng(length).integers(
      0, 256, length))
  for length in (1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 50)
}  # fmt: skip


def request(prompt=PROMPTS[17], *, seed=5, n=1, max_tokens=20, **fields):
  fields = {'logprobs': True, 'top_logprobs': 3, **fields}
  stop_ids = frozenset(fields.pop('stop_ids', ()))
  return types.TokenRequest(
    request_id=f'{random.random()}',
    prompt_ids=tuple(prompt),
    sampling=types.SamplingParams(**fields),
    seed=seed,
    stop_ids=stop_ids,
    max_tokens=max_tokens,
    n=n,
  )


def start(engine, what):
  sink = collect.Collected(what.n)
  engine.submit(what, sink)
  return sink


def run(engine, *requests):
  sinks = [start(engine, one) for one in requests]
  for sink in sinks:
    sink.wait()
    assert sink.failure is None
  return sinks
