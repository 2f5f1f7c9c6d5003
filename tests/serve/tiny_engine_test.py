"""The server on the real engine with a tiny model."""

import time

import pytest

from chatjax.engine import engine as engine_lib
from chatjax.testing import tiny
from tests.serve import harness
from tests.serve import load_test
from tests.serve import metrics_test

# Forty times the rows: most of them wait.
NUM_CLIENTS = 200
ENDLESS = {'max_tokens': 100, 'ignore_eos': True}
LONG = [{'role': 'user', 'content': 'once upon a time ' * 4}]


@pytest.fixture(scope='module')
def served():
  engine = engine_lib.Engine(tiny.weights('llama', 'int8'), tiny.ENGINE)
  with harness.Served(None, engine=engine) as one:
    yield one
  assert engine.error is None
  engine.close()


def cached_tokens(one, **keys):
  answer = one.create(messages=LONG, max_tokens=1, extra_body=keys)
  return answer.usage.prompt_tokens_details.cached_tokens


def test_g1_prefixes_are_shared_under_the_same_keys_only(served):
  seen = []
  for keys in (
    {},
    {'prompt_cache_key': 'a'},
    {'cache_salt': 'a'},
    {'prompt_cache_key': 'a', 'cache_salt': 'a'},
  ):
    seen.append((cached_tokens(served, **keys), cached_tokens(served, **keys)))
  chunk = tiny.ENGINE.chunk
  num_prompt = 1 + len('user: ') + len(LONG[0]['content'])
  assert seen == [(0, (num_prompt - 1) // chunk * chunk)] * 4
  got = metrics_test.scrape(served)
  assert got['vllm:prefix_cache_hits_total',] == sum(sum(x) for x in seen)
  assert got['vllm:prefix_cache_queries_total',] == 8 * num_prompt


def test_g1_priority_overtakes(served):
  """A later request with a smaller number ends first."""
  blockers = [served.open_request(**ENDLESS) for _ in range(20)]
  harness.wait_until(lambda: served.engine.num_open == 20)
  served.create(max_tokens=1, extra_body={'priority': -1})
  assert served.engine.num_open > 4, 'the others should still be waiting'
  for connection in blockers:
    connection.close()
  harness.wait_until(lambda: served.engine.num_open == 0, timeout_s=2)


def test_g2_200_clients_leave_a_real_engine(served):
  with load_test.pulse(served) as longest_s:
    connections = [
      served.open_request(stream=idx % 2 == 0, **ENDLESS)
      for idx in range(NUM_CLIENTS)
    ]
    harness.wait_until(lambda: served.gate.num_inside > 150, timeout_s=10)
    harness.wait_until(lambda: served.engine.num_open > 100, timeout_s=10)
    for connection in connections:
      connection.close()
    harness.wait_until(lambda: served.engine.num_open == 0, timeout_s=5)
    start_s = time.monotonic()
    served.create(max_tokens=1)
    answered_s = time.monotonic() - start_s
  engine = served.engine
  assert (engine.num_running, engine.num_swapped) == (0, 0)
  assert (engine.num_pages_used, engine.cache_usage) == (0, 0)
  assert answered_s < 2
  assert longest_s() < 1


def test_a_row_is_free_within_a_block_of_steps(served):
  """Nothing of what a client asked is computed once it has left."""
  totals = served.engine.totals
  num_left = totals.finished['cancelled']
  connection = served.open_request(stream=True, n=4, **ENDLESS)
  harness.wait_until(lambda: served.engine.num_running == 4)
  connection.close()
  harness.wait_until(lambda: served.gate.num_inside == 0)
  # The server has told the engine, which is in the middle of one block.
  before = totals.generated_tokens
  harness.wait_until(lambda: served.engine.num_running == 0)
  assert totals.generated_tokens - before <= 4 * tiny.ENGINE.decode_steps
  assert served.engine.num_pages_used == 0
  assert totals.finished['cancelled'] == num_left + 1


def test_serving_compiled_nothing(served):
  served.create(n=3, max_tokens=20, stop='zzz', logprobs=True, top_logprobs=2)
  got = metrics_test.scrape(served)
  assert got['chatjax:compilations_total',] == 0
  assert got['chatjax:decode_steps_total',] > 0
  assert got['chatjax:decode_seconds_total',] > 0
  assert got['chatjax:weight_bytes',] > 10_000
