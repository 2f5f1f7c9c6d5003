"""The arithmetic: percentiles against numpy, sums by hand."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from chatjax.cli import bench_serve_answer
from chatjax.cli import bench_serve_figures as figures
from chatjax.cli import bench_serve_load
from chatjax.cli import bench_serve_metrics as metrics

TIMES = st.lists(st.floats(0, 1e4), min_size=1, max_size=50)


@given(TIMES, st.sampled_from([0, 1, 50, 90, 99, 100]))
def test_percentiles_are_numpys(times, percent):
  got = figures.percentile(times, percent)
  np.testing.assert_allclose(got, np.percentile(times, percent), rtol=1e-9)


@given(TIMES)
def test_spread_is_numpys_in_milliseconds(times):
  got = figures.spread('x', times)
  for name, want in {
    'mean': np.mean(times), 'median': np.median(times), 'std': np.std(times),
    'p50': np.percentile(times, 50), 'p90': np.percentile(times, 90),
    'p99': np.percentile(times, 99),
  }.items():  # fmt: skip
    np.testing.assert_allclose(
      got[f'{name}_x_ms'], want * 1000, rtol=1e-6, atol=1e-6
    )


def answer(start_s, latency_s, **more):
  return bench_serve_answer.Answer(start_s=start_s, latency_s=latency_s, **more)


def test_a_run_in_figures():
  good = [
    answer(0.0, 2.0, ttft_s=1.0, itls_s=(0.25, 0.75), prompt_tokens=10,
           output_tokens=5, cached_tokens=3),
    answer(1.0, 3.0, ttft_s=2.0, itls_s=(1.0,), prompt_tokens=30,
           output_tokens=3),
  ]  # fmt: skip
  bad = [answer(0.0, 9.0, error='full')] * 2
  run = bench_serve_load.Run(answers=(*good, *bad), duration_s=4.0)
  got = figures.summary(run)
  want = {
    'duration': 4.0, 'completed': 2, 'failed': 2, 'total_input_tokens': 40,
    'total_cached_tokens': 3, 'total_output_tokens': 8,
    'request_throughput': 0.5, 'output_throughput': 2.0,
    'total_token_throughput': 12.0, 'max_concurrent_requests': 2,
    'mean_ttft_ms': 1500.0, 'median_tpot_ms': 375.0, 'p50_itl_ms': 750.0,
    'mean_e2el_ms': 2500.0,
  }  # fmt: skip
  assert {name: got[name] for name in want} == pytest.approx(want)
  assert got['failures'] == {'full': 2}


def test_nothing_completed_has_no_times():
  run = bench_serve_load.Run(
    answers=(answer(0.0, 1.0, error='x'),), duration_s=1.0
  )
  got = figures.summary(run)
  assert got['output_throughput'] == 0
  assert got['p99_ttft_ms'] is None
  assert got['max_concurrent_requests'] == 0


def test_one_that_ends_makes_room_for_one_that_starts():
  run = bench_serve_load.Run(
    answers=(answer(0.0, 1.0), answer(1.0, 1.0), answer(1.5, 1.0)),
    duration_s=3.0,
  )
  assert figures.summary(run)['max_concurrent_requests'] == 2


PAGE = """\
# HELP chatjax:decode_seconds_total Time.
# TYPE chatjax:decode_seconds_total counter
chatjax:decode_seconds_total {decode_s}
chatjax:decode_steps_total{{width="2"}} {steps}
chatjax:decode_steps_total{{width="8",le="}} 9"}} 10 1700000000
chatjax:host_gap_seconds_total {gap_s}
chatjax:compilations_total 7.0
chatjax:weight_bytes 4e8
chatjax:odd NaN
no value
"""


def page(**values):
  return metrics.parse(PAGE.format(**values))


def test_metrics_are_what_happened_in_between():
  before = page(decode_s=1.0, steps=10, gap_s=0.5)
  after = page(decode_s=4.0, steps=40, gap_s=1.5)
  assert before['chatjax:decode_steps_total'] == 20
  assert 'chatjax:odd' not in before
  got = metrics.figures(before, after)
  assert got == pytest.approx({
    'compilations': 0, 'host_gap_share': 0.25, 'decode_step_ms': 100.0,
    'weight_bytes': 4e8,
  })  # fmt: skip
  # 4e8 bytes ten times a second, of 1e10.
  share = metrics.bandwidth_share(got, weight_bytes=4e8, read_bytes_per_s=1e10)
  assert share == pytest.approx(0.4)


def test_what_a_server_does_not_tell_is_left_out():
  idle = page(decode_s=1.0, steps=10, gap_s=0.5)
  assert set(metrics.figures(idle, idle)) == {'compilations', 'weight_bytes'}
  assert metrics.figures({}, {}) == {}
  assert metrics.figures({}, {'chatjax:compilations_total': 3.0}) == {}
