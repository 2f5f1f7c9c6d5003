"""Under load: many leave, many are refused, some never read."""

import asyncio
import contextlib
import json
import socket
import time
import tracemalloc

import pytest

from chatjax.serve import timeouts as timeouts_lib
from chatjax.testing import fake_engine
from tests.serve import harness

BODY = {'model': 'tiny', 'messages': harness.MESSAGES}
ENDLESS = fake_engine.text_script('x' * 4000, end=False)


@contextlib.contextmanager
def pulse(one):
  """How late the server's event loop came back to a sleeper, at worst."""
  late_s = [0.0]

  async def beat():
    while True:
      start_s = time.monotonic()
      await asyncio.sleep(0.01)
      late_s.append(time.monotonic() - start_s - 0.01)

  beating = asyncio.run_coroutine_threadsafe(beat(), one.loop)
  try:
    yield lambda: max(late_s)
  finally:
    beating.cancel()


def test_g2_200_clients_leave_and_one_more_is_answered():
  with (
    harness.Served(
      ENDLESS, block=1, pause_s=0.02, max_running=40, num_cached=2
    ) as one,
    pulse(one) as longest_s,
  ):
    # Of five fourths run; the others are queued, as long as these last.
    connections = [
      one.open_request(stream=idx % 2 == 0, n=1 + idx % 3) for idx in range(200)
    ]
    num_choices = sum(1 + idx % 3 for idx in range(200))
    harness.wait_until(lambda: one.engine.num_open == num_choices, timeout_s=20)
    assert len(one.engine._running) == 40
    for connection in connections:
      connection.close()
    harness.wait_until(lambda: one.engine.num_open == 0, timeout_s=5)
    assert (one.engine.num_running, one.engine.num_pages_used) == (0, 0)
    start_s = time.monotonic()
    assert one.create(max_tokens=2).choices[0].message.content == 'xx'
    assert time.monotonic() - start_s < 2
    harness.wait_until(lambda: one.gate.num_inside == 0)
    harness.wait_until(lambda: sum(one.engine.totals.finished.values()) == 201)
  assert one.engine.totals.finished['cancelled'] == 200
  assert longest_s() < 3  # two cores, and another test beside this one


def test_ten_times_the_load_is_refused_at_once_and_costs_nothing():
  with harness.Served(ENDLESS, block=1, pause_s=0.05, max_open=8) as one:
    connections = [one.open_request(n=4) for _ in range(2)]
    harness.wait_until(lambda: one.engine.num_open == 8)

    def flood(times):
      for _ in range(times):
        status, headers, data = one.post(BODY)
        assert (status, headers['retry-after']) == (503, '1')
        assert harness.error_of(data)['code'] == 'server_overloaded'

    flood(20)
    tracemalloc.start()
    before, start_s = tracemalloc.get_traced_memory()[0], time.monotonic()
    flood(80)
    took_s = time.monotonic() - start_s
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert took_s / 80 < 0.2
    assert after - before < 2**18
    assert len(one.engine.requests) == 2
    connections.pop().close()
    harness.wait_until(lambda: one.engine.num_open == 4)
    assert one.post({**BODY, 'n': 5})[0] == 503
    assert one.post({**BODY, 'n': 4, 'max_tokens': 1})[0] == 200
    connections.pop().close()


@pytest.mark.parametrize('is_stream', [False, True])
def test_an_answer_has_its_time(is_stream):
  timeouts = timeouts_lib.Timeouts(answer_s=0.2)
  with harness.Served(ENDLESS, pause_s=0.02, timeouts=timeouts) as one:
    status, _, data = one.post({**BODY, 'stream': is_stream})
    if is_stream:
      data = data.removesuffix(b'\n\n').rpartition(b'data: ')[2]
    assert status == (200 if is_stream else 504)
    error = harness.error_of(data)
    assert (error['type'], error['code']) == (
      'server_error',
      'deadline_exceeded',
    )
    assert '0.2 s' in error['message']
    assert one.engine.num_open == 0
    assert one.post({**BODY, 'max_tokens': 1})[0] == 200


def test_who_never_reads_is_cut_off(caplog):
  caplog.set_level('INFO')
  timeouts = timeouts_lib.Timeouts(write_s=1.0)
  # More than the kernel's buffers hold.
  asked = {**BODY, 'stream': True, 'n': 8, 'logprobs': True,
           'top_logprobs': 20, 'max_tokens': 2000}  # fmt: skip
  with harness.Served(ENDLESS, timeouts=timeouts, block=50) as one:
    one.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with contextlib.closing(one.open_request(**asked)) as silent:
      harness.wait_until(lambda: one.gate.num_inside == 1)
      harness.wait_until(lambda: one.gate.num_inside == 0, timeout_s=8)
      harness.wait_until(lambda: 'code=write_timeout' in caplog.text)
      assert one.engine.num_open == 0
      silent.settimeout(10)
      received = b''.join(iter(lambda: silent.recv(2**20), b''))
      assert b'[DONE]' not in received
    # A reader that is slow, but reads, is not cut off.
    asked.update(n=1, max_tokens=1000)
    with contextlib.closing(one.open_request(**asked)) as slow:
      slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
      slow.settimeout(10)
      start_s, tail = time.monotonic(), b''
      while b'[DONE]' not in tail:
        time.sleep(0.02)
        data = slow.recv(2**14)
        assert data, 'cut off'
        tail = (tail + data)[-100:]
      assert time.monotonic() - start_s > timeouts.write_s


def test_what_waits_for_a_reader_is_bounded_by_the_request():
  """The model does not wait: its tokens lie in the request's own mailbox."""
  timeouts = timeouts_lib.Timeouts(write_s=None)
  asked = {**BODY, 'stream': True, 'max_tokens': 1000, 'n': 2}
  with harness.Served(ENDLESS, timeouts=timeouts, block=50) as one:
    one.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with contextlib.closing(one.open_request(**asked)) as silent:
      harness.wait_until(lambda: one.engine.totals.generated_tokens == 2000,
                         timeout_s=5)  # fmt: skip
      # Rows are free though nobody reads.
      harness.wait_until(lambda: one.engine.num_open == 0)
      time.sleep(0.2)
      assert one.engine.totals.generated_tokens == 2000
      silent.settimeout(10)
      data = b''
      while b'[DONE]' not in data:
        data += silent.recv(2**20)
    chunks = data.decode().count('"content":"x')
    assert chunks > 0
    text = ''.join(
      choice['delta'].get('content', '')
      for line in data.decode().splitlines()
      if line.startswith('data: {')
      for choice in json.loads(line[6:])['choices']
    )
    assert text == 'x' * 2000
