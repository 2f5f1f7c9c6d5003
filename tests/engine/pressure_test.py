"""The contract when pages are short, prefixes are shared and blocks overlap."""

import dataclasses
import random
import time

import jax
import pytest

from chatjax import types
from chatjax.engine import engine as engine_lib
from chatjax.testing import tiny
from tests.engine.asking import PROMPTS
from tests.engine.asking import request
from tests.engine.asking import run
from tests.engine.asking import start

# One pool of pages, and two: Gemma 3 has sliding windows.
FAMILIES = ['gemma3', pytest.param('qwen2', marks=pytest.mark.slow)]
STEM = tuple(range(40, 90))


@pytest.fixture(params=FAMILIES)
def family(request):
  return request.param


def make_engine(family, dtype='int8', **fields):
  config = dataclasses.replace(tiny.ENGINE, dtype=dtype, **fields)
  return engine_lib.Engine(tiny.weights(family, dtype), config)


@pytest.fixture(scope='module')
def roomy():
  engine = make_engine('gemma3')
  yield engine
  assert engine.error is None
  assert engine.num_pages_used == 0
  assert engine.totals.preemptions == 0
  engine.close()


def test_d3_cold_warm_and_partly_warm(roomy):
  """Every border between what is cached and what is computed."""
  cold = make_cold(roomy)
  for length in (15, 16, 17, 32, 33, 48, 49, 50):
    prompt = STEM[:length]
    want = cold(prompt)
    for _ in range(2):
      (sink,) = run(roomy, request(prompt))
      assert sink.bits() == want, (length, sink.num_cached)
  assert sink.num_cached == 48
  branch = (*STEM[:40], 7, 7, 7)
  want = cold(branch)
  (sink,) = run(roomy, request(branch))
  assert sink.num_cached == 32
  assert sink.bits() == want


def make_cold(engine):
  """Bits without any cached prefix: nobody else has the salt."""

  def bits(prompt):
    salted = dataclasses.replace(
      request(prompt), cache_salt=f'{random.random()}'
    )
    (sink,) = run(engine, salted)
    assert sink.num_cached == 0
    return sink.bits()

  return bits


def test_n_choices_share_a_cached_prompt(roomy):
  want = run(roomy, request(PROMPTS[50], n=4))[0]
  (again,) = run(roomy, request(PROMPTS[50], n=4))
  assert again.num_cached == 48
  for choice in range(4):
    assert again.bits(choice) == want.bits(choice)


@pytest.mark.parametrize('lookahead', [0, 1])
def test_preempted_rows_go_on_as_if_nothing_had_been(family, lookahead):
  """A pool of one context for four rows: somebody is always put out."""
  roomy = make_engine(family)
  asked = [
    request(prompt, seed=i, max_tokens=60, presence_penalty=0.5, n=1 + i % 2)
    for i, prompt in enumerate(list(PROMPTS.values())[3:])
  ]
  wanted = [run(roomy, one)[0] for one in asked]
  roomy.close()
  # Gemma's local layers would have pages left when the global ones have none.
  tight = make_engine(family, cache_tokens=128, lookahead=lookahead)
  sinks = run(tight, *map(fresh, asked))
  for want, sink, one in zip(wanted, sinks, asked, strict=True):
    for choice in range(one.n):
      assert sink.bits(choice) == want.bits(choice)
  assert tight.totals.preemptions > 3
  assert tight.num_pages_used == 0
  assert tight.num_swapped == 0
  tight.close()


def fresh(one):
  """The same request under another id."""
  return dataclasses.replace(one, request_id=f'{random.random()}')


def test_preempt_on_demand():
  engine = make_engine('gemma3')
  want = run(engine, request(max_tokens=60, n=2))[0]
  one = request(max_tokens=60, n=2)
  sink = start(engine, one)
  for _ in range(6):
    engine.preempt(one.request_id)
    time.sleep(0.02)
  sink.wait()
  assert engine.totals.preemptions > 1
  for choice in range(2):
    assert sink.bits(choice) == want.bits(choice)
  engine.preempt('nobody')
  engine.close()


def test_blocks_in_flight_change_nothing():
  """As on an accelerator: the next block is dispatched before one is read."""
  engine = make_engine('gemma3')
  wanted = {n: run(engine, request(p))[0].bits() for n, p in PROMPTS.items()}
  engine.close()
  engine = make_engine('gemma3', lookahead=2)
  rng = random.Random(4)
  for _ in range(2):
    sinks = []
    for n, prompt in PROMPTS.items():
      sinks.append((n, start(engine, request(prompt))))
      noise = request(prompt, seed=n, n=rng.randint(1, 3), max_tokens=30)
      start(engine, noise)
      if rng.random() < 0.5:
        time.sleep(rng.random() * 0.01)
        engine.cancel(noise.request_id, rng.choice([None, 0]))
    for n, sink in sinks:
      assert sink.wait().failure is None
      assert sink.bits() == wanted[n]
  wait_until(lambda: engine.num_open == 0)
  assert engine.num_pages_used == 0
  engine.close()


def wait_until(condition, timeout_s=60):
  until_s = time.monotonic() + timeout_s
  while not condition():
    assert time.monotonic() < until_s
    time.sleep(0.005)


def test_what_is_not_done_in_time_fails(roomy):
  late = dataclasses.replace(request(max_tokens=100), timeout_s=0.0)
  with_time = dataclasses.replace(request(max_tokens=10), timeout_s=60.0)
  sink, other = start(roomy, late), start(roomy, with_time)
  failure = sink.wait().failure
  assert isinstance(failure, types.RequestError)
  assert failure.status == 504
  assert failure.code == 'deadline_exceeded'
  assert other.wait().failure is None
  assert roomy.num_open == 0


def test_200_who_leave_at_any_stage_leave_nothing(roomy):
  """Queued, in prefill, in decode: rows and pages come back (HARDENING G2)."""
  rng = random.Random(5)
  want = run(roomy, request())[0].bits()
  ids = []
  for i in range(200):
    one = request(rng.choice(list(PROMPTS.values())), seed=i, max_tokens=60)
    start(roomy, one)
    ids.append(one.request_id)
    if rng.random() < 0.3:
      roomy.cancel(ids.pop(rng.randrange(len(ids))))
    if rng.random() < 0.1:
      time.sleep(0.01)
  for request_id in ids:
    roomy.cancel(request_id)
  wait_until(lambda: roomy.num_open == 0)
  assert (roomy.num_running, roomy.num_swapped) == (0, 0)
  assert roomy.num_pages_used == 0
  assert run(roomy, request())[0].bits() == want


def test_totals_and_timelines():
  engine = make_engine('gemma3')
  timelines = []
  engine.listeners.append(timelines.append)
  run(engine, request(PROMPTS[33], max_tokens=10, n=2))
  run(engine, request(PROMPTS[33], max_tokens=10))
  victim = request(PROMPTS[33], max_tokens=90)
  start(engine, victim).wait_for_first()
  engine.cancel(victim.request_id)
  wait_until(lambda: len(timelines) == 3)
  first, second, third = timelines
  assert (first.num_prompt, first.num_cached) == (33, 0)
  assert (first.num_generated, first.outcome) == (20, 'length')
  assert second.num_cached == 32
  assert second.arrived <= second.started <= second.first_token <= second.ended
  assert sum(count for _, count in second.gaps) == 9
  assert all(gap >= 0 for gap, _ in second.gaps)
  assert third.outcome == 'cancelled'
  totals = engine.totals
  assert (totals.prompt_tokens, totals.cached_tokens) == (99, 64)
  assert totals.generated_tokens == 30 + third.num_generated
  assert totals.finished == {
    'length': 2, 'stop': 0, 'cancelled': 1, 'error': 0,
  }  # fmt: skip
  assert totals.decode_steps >= 18
  assert totals.decode_s > totals.host_gap_s > 0
  engine.close()


def test_urgent_requests_go_first(roomy):
  """Four rows are taken; of those that wait the urgent one starts first."""
  for i in range(4):
    start(roomy, request(seed=i, max_tokens=60))
  timelines = []
  roomy.listeners.append(timelines.append)
  waiting = [request(seed=i, max_tokens=2) for i in range(3)]
  urgent = dataclasses.replace(request(max_tokens=2), priority=-1)
  sinks = [start(roomy, one) for one in (*waiting, urgent)]
  for sink in sinks:
    sink.wait()
  wait_until(lambda: roomy.num_open == 0)
  roomy.listeners.clear()
  starts = {timeline.request_id: timeline.started for timeline in timelines}
  others = [starts[one.request_id] for one in waiting]
  assert starts[urgent.request_id] < min(others)


def test_the_loop_hands_nothing_over_unasked():
  """A transfer that nobody wrote down stops the engine."""
  engine = make_engine('qwen2')
  replica = engine._replica
  prefill = replica.programs.prefill
  seen = []

  def spy(*args):
    seen.extend(jax.tree.leaves(args))
    return prefill(*args)

  replica.programs = dataclasses.replace(replica.programs, prefill=spy)
  run(engine, request())
  assert seen
  assert all(isinstance(x, jax.Array) for x in seen)
  replica.programs = dataclasses.replace(
    replica.programs, score=lambda params, x, index: x[0] + 1
  )
  assert isinstance(start(engine, request()).wait().failure, Exception)
  assert 'transfer' in str(engine.error)


def test_nothing_is_compiled_under_a_mixed_load(family):
  """Sampling of every kind, choices, cached prompts, swaps, departures."""
  engine = make_engine(family, cache_tokens=128)
  rng = random.Random(6)
  sinks, ids = [], []
  for i in range(24):
    one = request(
      STEM[: rng.randint(1, 50)], seed=i, n=rng.randint(1, 4),
      max_tokens=rng.randint(1, 60), temperature=rng.choice([0.0, 0.7, 1.5]),
      top_k=rng.choice([0, 1, 40]), top_p=rng.choice([0.3, 1.0]),
      min_p=rng.choice([0.0, 0.1]), presence_penalty=rng.random(),
      repetition_penalty=rng.uniform(0.8, 1.5), logit_bias={i: -100.0},
      min_tokens=i % 3, top_logprobs=i % 20, stop_ids=range(i % 5),
    )  # fmt: skip
    sinks.append(start(engine, one))
    ids.append(one.request_id)
    time.sleep(rng.random() * 0.02)
    if i % 4 == 3:
      engine.cancel(rng.choice(ids), rng.choice([None, 0]))
      engine.preempt(rng.choice(ids))
  wait_until(lambda: engine.num_open == 0)
  assert engine.error is None
  assert engine.totals.preemptions > 0
  assert engine.totals.cached_tokens > 0
  assert engine.num_compilations == 0
  assert engine.num_pages_used == 0
  engine.close()
