"""Malformed requests beside running streams."""

import json
import threading
import time

import pytest

from chatjax.engine import engine as engine_lib
from chatjax.testing import tiny
from tests.serve import harness

BAD = [
  b'{', b'[]', b'{"model": 5}', b'{"model": "tiny", "messages": "x"}',
  json.dumps({'model': 'tiny', 'messages': [{'role': 'x'}] * 900}).encode(),
  json.dumps({
    'model': 'tiny', 'messages': harness.MESSAGES,
    'logit_bias': {str(i): 'x' for i in range(290)},
  }).encode(),
  json.dumps({
    'model': 'tiny', 'messages': harness.MESSAGES,
    'structured_outputs': {'regex': '(a{90}){90}{90}('},
  }).encode(),
  json.dumps({
    'model': 'tiny', 'messages': harness.MESSAGES,
    'response_format': {'type': 'json_schema', 'json_schema': {
      'name': 'x', 'schema': {'type': 'integer', 'multipleOf': 999983},
    }},
  }).encode(),
  b'{"model": "tiny", "messages": [' + b'[' * 5000 + b']' * 5000 + b']}',
  b'\xff' * 20_000,
]  # fmt: skip


@pytest.fixture(scope='module')
def served():
  engine = engine_lib.Engine(tiny.weights('llama', 'int8'), tiny.ENGINE)
  with harness.Served(None, engine=engine) as one:
    yield one
  assert engine.error is None
  engine.close()


def stream(served, seed, gaps):
  """The ids of one stream; notes the longest time between two chunks."""
  ids, last = [], time.monotonic()
  with served.client() as client:
    for chunk in client.chat.completions.create(
      model='tiny', messages=harness.MESSAGES, seed=seed, stream=True,
      max_tokens=100, extra_body={'ignore_eos': True, 'return_token_ids': True},
    ):  # fmt: skip
      now = time.monotonic()
      gaps.append(now - last)
      last = now
      for choice in chunk.choices:
        ids += choice.token_ids or []
  return ids


def test_a_flood_of_malformed_requests_stalls_nobody(served):
  want = {seed: stream(served, seed, []) for seed in range(3)}
  ends = threading.Event()
  statuses, busy_s = [], []

  def flood():
    """Half of a core: as long asleep as it waits for answers."""
    while not ends.is_set():
      for body in BAD:
        start = time.monotonic()
        statuses.append(served.post(body)[0])
        busy_s.append(time.monotonic() - start)
        time.sleep(busy_s[-1])

  flooding = threading.Thread(target=flood)
  flooding.start()
  try:
    deadline = time.monotonic() + 6
    gaps, got = [], {}
    while time.monotonic() < deadline:
      threads = [
        threading.Thread(
          target=lambda seed=seed: got.update(
            {seed: stream(served, seed, gaps)}
          )
        )
        for seed in want
      ]
      for thread in threads:
        thread.start()
      for thread in threads:
        thread.join()
      assert got == want
  finally:
    ends.set()
    flooding.join()
  assert max(gaps) < 1
  assert set(statuses) == {400}
  assert len(statuses) > 30
