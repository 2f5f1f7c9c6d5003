"""/metrics as a scraper reads it, and the log line of every request."""

import contextlib
import logging
import re

from prometheus_client import parser
import pytest

from chatjax.engine import stats
from chatjax.serve import histogram
from chatjax.serve import journal
from chatjax.serve import timeouts as timeouts_lib
from chatjax.testing import fake_engine
from tests.serve import harness

KEY = 'sk-test'


def scrape(one, **headers):
  """{(sample name, its labels but the model's): value}."""
  status, got, data = one.raw('GET', '/metrics', headers=headers)
  assert status == 200
  assert got['content-type'].startswith('text/plain')
  samples = {}
  for family in parser.text_string_to_metric_families(data.decode()):
    for sample in family.samples:
      labels = dict(sample.labels)
      assert labels.pop('model_name') == 'tiny'
      key = (sample.name, *labels.values())
      assert key not in samples
      samples[key] = sample.value
  return samples


@pytest.fixture
def served():
  script = fake_engine.text_script('héllo wörld')
  with harness.Served(script, num_cached=3, pause_s=0.02) as one:
    yield one


def ended(one, count):
  harness.wait_until(lambda: sum(
      value for (name, *_), value in scrape(one).items()
      if name == 'vllm:request_success_total'
  ) == count)  # fmt: skip
  return scrape(one)


def test_the_names_that_dashboards_know(served):
  names = {name for name, *_ in scrape(served)}
  counters = (
    'prefix_cache_queries prefix_cache_hits num_preemptions prompt_tokens'
    ' generation_tokens request_success spec_decode_num_draft_tokens'
    ' spec_decode_num_accepted_tokens'
  )
  histograms = (
    'time_to_first_token_seconds inter_token_latency_seconds'
    ' request_queue_time_seconds e2e_request_latency_seconds'
    ' request_prompt_tokens request_generation_tokens'
  )
  assert names == {
    'vllm:num_requests_running',
    'vllm:num_requests_waiting',
    'vllm:kv_cache_usage_perc',
    *(f'vllm:{name}_total' for name in counters.split()),
    *(
      f'vllm:{name}_{part}'
      for name in histograms.split()
      for part in ('bucket', 'count', 'sum')
    ),
    'chatjax:requests_swapped',
    'chatjax:pages_used',
    'chatjax:weight_bytes',
    'chatjax:decode_steps_total',
    'chatjax:decode_seconds_total',
    'chatjax:host_gap_seconds_total',
    'chatjax:compilations_total',
  }


def test_counters_and_histograms(served):
  served.create(n=2)
  served.stream(max_tokens=5)
  served.create(stop='llo')
  got = ended(served, 3)
  num_tokens = 13 + 1
  assert got['vllm:prompt_tokens_total',] == 27
  assert got['vllm:prefix_cache_queries_total',] == 27
  assert got['vllm:prefix_cache_hits_total',] == 9
  assert got['vllm:generation_tokens_total',] >= 2 * num_tokens + 5 + 6
  # A stop string is a stop, though the engine only knows that it was told to.
  assert got['vllm:request_success_total', 'stop'] == 2
  assert got['vllm:request_success_total', 'length'] == 1
  assert got['vllm:request_prompt_tokens_bucket', '5.0'] == 0
  assert got['vllm:request_prompt_tokens_bucket', '10.0'] == 3
  assert got['vllm:request_generation_tokens_sum',] == 2 * num_tokens + 5 + 6
  for name in ('time_to_first_token', 'request_queue_time',
               'e2e_request_latency'):  # fmt: skip
    assert got[f'vllm:{name}_seconds_count',] == 3
  assert got['vllm:time_to_first_token_seconds_bucket', '0.01'] == 0
  assert got['vllm:time_to_first_token_seconds_sum',] >= 3 * 0.02
  # By blocks of four: the first of each choice has none before it.
  assert got['vllm:inter_token_latency_seconds_count',] >= 2 * 10 + 1
  served.engine.totals.preemptions = 7
  assert scrape(served)['vllm:num_preemptions_total',] == 7


def test_gauges():
  script = fake_engine.text_script('x' * 4000, end=False)
  with harness.Served(script, pause_s=0.02, max_running=2) as one:
    connections = [one.open_request(n=n) for n in (2, 1, 3)]
    harness.wait_until(lambda: one.engine.num_open == 6)
    harness.wait_until(lambda: len(one.engine._running) == 2)
    got = scrape(one)
    running = got['vllm:num_requests_running',]
    assert 3 <= running <= 5
    assert got['vllm:num_requests_waiting',] == 6 - running
    assert got['chatjax:pages_used',] == running
    assert got['vllm:kv_cache_usage_perc',] == running / 100
    assert got['chatjax:weight_bytes',] == 1000
    for connection in connections:
      connection.close()
    got = ended(one, 3)
    assert got['vllm:request_success_total', 'abort'] == 3
    for name in ('num_requests_running', 'num_requests_waiting'):
      assert got[f'vllm:{name}',] == 0


def test_metrics_want_the_key_and_probes_do_not():
  with harness.Served(fake_engine.text_script('x'), api_keys=[KEY]) as one:
    assert one.raw('GET', '/metrics')[0] == 401
    scrape(one, Authorization=f'Bearer {KEY}')
    for path in ('/health', '/ready'):
      for method in ('GET', 'HEAD'):
        assert one.raw(method, path)[0] == 200
    one.engine.close()
    for path in ('/health', '/ready'):
      status, _, data = one.raw('GET', path)
      assert (status, harness.error_of(data)['code']) == (503, 'engine_stopped')
      assert one.raw('HEAD', path)[0] == 503


def test_openmetrics_for_those_who_ask(served):
  accept = {'Accept': 'application/openmetrics-text; version=1.0.0'}
  _, headers, data = served.raw('GET', '/metrics', headers=accept)
  assert headers['content-type'].startswith('application/openmetrics-text')
  assert data.endswith(b'# EOF\n')


def test_many_observations_at_once():
  one, other = (histogram.Histogram('a', 'b', (0.5, 1, 2)) for _ in range(2))
  for value, count in ((0.25, 3), (1, 2), (1.5, 1), (8, 4)):
    one.observe(value, count)
    for _ in range(count):
      other.observe(value)
  values = {
    (sample.name, sample.labels.get('le')): sample.value
    for sample in one.family('m').samples
  }
  assert values == {
    ('a_bucket', '0.5'): 3, ('a_bucket', '1.0'): 5, ('a_bucket', '2.0'): 6,
    ('a_bucket', '+Inf'): 10, ('a_count', None): 10, ('a_sum', None): 36.25,
  }  # fmt: skip
  assert one.family('m').samples == other.family('m').samples
  assert histogram.one_two_five(100) == [1, 2, 5, 10, 20, 50, 100]
  assert histogram.one_two_five(99) == [1, 2, 5, 10, 20, 50]


def log_lines(caplog):
  name = 'chatjax.serve.journal'
  return [r.getMessage() for r in caplog.records if r.name == name]


def fields(line):
  return dict(re.findall(r"(\w+)=('[^']*'|\S+)", line))


def test_one_line_per_request(served, caplog):
  caplog.set_level(logging.INFO)
  answer = served.create(n=2, user='Jo\u2028 Bloggs\n\x1b[1m id=x')
  served.stream(max_tokens=5, safety_identifier='who')
  served.create(stop='llo')
  with contextlib.suppress(Exception):
    served.create(temperature=9)  # refused: the access log has it
  harness.wait_until(lambda: len(log_lines(caplog)) == 3)
  first, second, third = map(fields, log_lines(caplog))
  assert first['id'] == answer.id
  assert first['user'] == r"'Jo\u2028 Bloggs\n\x1b[1m id=x'"
  assert {
    'model': 'tiny', 'status': '200', 'outcome': 'stop', 'code': '-',
    'prompt_tokens': '9', 'cached_tokens': '3', 'generated_tokens': '28',
    'n': '2', 'stream': 'False', 'preemptions': '0',
  }.items() <= first.items()  # fmt: skip
  assert (second['stream'], second['outcome']) == ('True', 'length')
  assert (second['generated_tokens'], second['user']) == ('5', '-')
  assert second['safety_identifier'] == "'who'"
  assert (third['outcome'], third['generated_tokens']) == ('stop', '6')
  for one in (first, second, third):
    assert 0 <= float(one['queue_ms']) <= float(one['ttft_ms'])
    assert 20 <= float(one['ttft_ms']) <= float(one['e2e_ms'])
  assert 5 <= float(first['tpot_ms']) <= 50
  assert '\n' not in ''.join(log_lines(caplog))


def test_lines_of_those_who_leave_or_fail(caplog):
  caplog.set_level(logging.INFO)
  script = fake_engine.text_script('x' * 4000, end=False)
  timeouts = timeouts_lib.Timeouts(answer_s=0.8)
  with harness.Served(script, pause_s=0.02, timeouts=timeouts) as one:
    for is_stream in (False, True):
      with contextlib.closing(one.open_request(stream=is_stream)):
        harness.wait_until(lambda: one.engine.num_running == 1)
        harness.wait_until(lambda: one.engine.totals.generated_tokens > 4)
      harness.wait_until(lambda: one.engine.num_open == 0)
      one.engine.totals.generated_tokens = 0
    for is_stream in (False, True):
      one.post({'model': 'tiny', 'messages': harness.MESSAGES,
                'stream': is_stream})  # fmt: skip
    harness.wait_until(lambda: len(log_lines(caplog)) == 4)
  got = [
    (one['status'], one['outcome'], one['code'])
    for one in map(fields, log_lines(caplog))
  ]
  assert got[0] == ('499', 'cancelled', '-')
  assert got[1][1:] == ('cancelled', '-')
  assert got[2:] == [
    ('504', 'error', 'deadline_exceeded'),
    ('200', 'error', 'deadline_exceeded'),
  ]


def test_times_that_never_came_are_dashes():
  visit = journal.Visit(
    model='m', status=499, outcome='cancelled', code=None, n=1,
    is_stream=True, num_generated=0, user=None, safety_identifier=None,
  )  # fmt: skip
  timeline = stats.Timeline(
    request_id='r', num_prompt=1, arrived=1.0, ended=1.5
  )
  line = journal.line(visit, timeline)
  assert 'queue_ms=- ttft_ms=- tpot_ms=- e2e_ms=500.0' in line
