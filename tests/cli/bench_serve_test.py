"""The whole command against the real application with a scripted engine."""

import asyncio
import contextlib
import itertools
import json
import math
import re
import socket
import statistics
import threading
import time

import pytest
import uvicorn

from chatjax.chat import session as session_lib
from chatjax.cli import bench_machine
from chatjax.cli import bench_serve_client
from chatjax.cli import bench_serve_load
from chatjax.cli import bench_serve_workload
from chatjax.serve import app as app_lib
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine

SIZES = bench_serve_workload.Sizes(input_len=8, output_len=12, prefix_len=9)


def endless(request, choice):
  return itertools.repeat(65, request.max_tokens)


@contextlib.contextmanager
def serving(engine, wrap=lambda app: app, **options):
  """The application on a port; yields its address."""
  session = session_lib.Session(
    engine,
    byte_tokenizer.ByteTokenizer(),
    byte_tokenizer.ByteChatFormat(),
    model_id='tiny',
    sampler_version=1,
  )
  app = wrap(app_lib.create_app(session, **options))
  # Without a logging config: one closes what absl logs to, which is pytest's.
  server = uvicorn.Server(uvicorn.Config(app, log_config=None))
  with socket.create_server(('127.0.0.1', 0)) as listener:
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
      yield f'http://127.0.0.1:{listener.getsockname()[1]}'
    finally:
      server.should_exit = True
      thread.join()


@pytest.fixture
def bench(fake):
  """(url, *flags) -> (exit code, stdout, stderr) of `chatjax bench serve`."""
  return lambda url, *more: fake('', 'bench', 'serve', f'--base_url={url}',
                                 '--random_input_len=8',
                                 '--random_output_len=12', *more)  # fmt: skip


def is_one_sentence(err):
  return re.fullmatch(r'chatjax: [^\n]{10,600}\.\n', err) is not None


@pytest.mark.parametrize('name', bench_serve_workload.WORKLOADS)
def test_figures_of_every_workload(name, bench, tmp_path):
  engine = fake_engine.FakeEngine(endless, pause_s=0.02)
  out = tmp_path / 'out.json'
  with serving(engine) as url:
    code, text, err = bench(
      f'{url}/v1', f'--dataset_name={name}', '--num_prompts=8', f'--json={out}',
      '--max_concurrency=4', '--num_warmups=3',
    )  # fmt: skip
  assert (code, err) == (0, '')
  result = json.loads(out.read_text())
  assert (result['completed'], result['failed']) == (8, 0)
  assert result['model_id'] == 'tiny'
  assert result['max_concurrent_requests'] == 4
  # Before them a try and the warm-ups.
  asked = engine.requests[4:]
  assert len(asked) == 8
  assert result['total_input_tokens'] == sum(len(r.prompt_ids) for r in asked)
  want = sum(r.max_tokens * r.n for r in asked)
  assert result['total_output_tokens'] == want
  assert result['expected_output_tokens'] == want
  # Four tokens come every 20 ms at best.
  assert result['p50_ttft_ms'] >= 19
  # A busy machine may read two of them at once, or late.
  assert 1 <= result['p50_itl_ms'] <= 500
  assert result['server'] == {'compilations': 0, 'weight_bytes': 1000}
  for title in ('TTFT', 'TPOT', 'ITL', 'E2EL', 'output tok/s'):
    assert title in text


def test_all_at_once_and_in_turn(bench, tmp_path):
  out = tmp_path / 'out.json'
  for bound, most in (('--max_concurrency=9', 6), ('--max_concurrency=1', 1)):
    engine = fake_engine.FakeEngine(endless, pause_s=0.02)
    with serving(engine) as url:
      assert bench(url, '--num_prompts=6', f'--json={out}', bound)[0] == 0
    assert json.loads(out.read_text())['max_concurrent_requests'] == most


def test_refusals_are_counted_with_their_reason(bench, tmp_path):
  engine = fake_engine.FakeEngine(endless, pause_s=0.05, max_open=2)
  out = tmp_path / 'out.json'
  with serving(engine) as url:
    code, text, err = bench(url, '--num_prompts=6', f'--json={out}')
  result = json.loads(out.read_text())
  assert (code, result['completed'], result['failed']) == (1, 2, 4)
  assert result['failures'] == {'status 503: The queue is full': 4}
  assert 'failed: 4 of 6: status 503' in text
  assert is_one_sentence(err)
  assert '4 of 6 requests failed' in err


def test_an_engine_that_dies_is_counted(bench, tmp_path):
  engine = fake_engine.FakeEngine(endless, fail_after=4)
  out = tmp_path / 'out.json'
  with serving(engine) as url:
    code, _, err = bench(
      url, '--num_prompts=3', '--max_concurrency=1', '--num_warmups=0',
      f'--json={out}',
    )  # fmt: skip
  # A turn for the try, three for the first answer.
  result = json.loads(out.read_text())
  assert (code, result['completed'], result['failed']) == (1, 1, 2)
  assert is_one_sentence(err)


def test_nobody_there_is_one_sentence(bench):
  with socket.create_server(('127.0.0.1', 0)) as taken:
    port = taken.getsockname()[1]
  for more in ([], ['--model=tiny']):
    code, out, err = bench(f'http://127.0.0.1:{port}', *more)
    assert (code, out) == (1, '')
    assert is_one_sentence(err)
    assert 'No server answers at' in err
    assert 'Connection refused' in err


def test_a_name_that_no_address_belongs_to_is_one_sentence(bench):
  code, out, err = bench('http://no.such.host.invalid')
  assert (code, out) == (1, '')
  assert is_one_sentence(err)
  assert 'No server answers at http://no.such.host.invalid' in err
  assert 'Unknown error' not in err


def test_a_key_that_is_no_header_is_one_sentence(bench, monkeypatch):
  monkeypatch.setenv('CHATJAX_API_KEY', 'two\nlines')
  with serving(fake_engine.FakeEngine(endless)) as url:
    code, out, err = bench(url)
  assert (code, out) == (1, '')
  assert is_one_sentence(err)


def test_an_unknown_model_is_one_sentence(bench):
  with serving(fake_engine.FakeEngine(endless)) as url:
    code, out, err = bench(url, '--model=other')
  assert (code, out) == (1, '')
  assert is_one_sentence(err)
  assert "status 404: The model 'other'" in err


def test_a_key_is_sent(bench, monkeypatch):
  with serving(fake_engine.FakeEngine(endless), api_keys=['sesame']) as url:
    monkeypatch.delenv('CHATJAX_API_KEY', raising=False)
    code, _, err = bench(url, '--model=tiny')
    assert (code, 'status 401' in err) == (1, True)
    monkeypatch.setenv('CHATJAX_API_KEY', 'sesame')
    assert bench(url, '--num_prompts=1')[0] == 0


def test_more_fields_reach_the_server(bench):
  engine = fake_engine.FakeEngine(endless)
  with serving(engine) as url:
    assert bench(url, '--num_prompts=1', '--extra_body={"top_k": 7}')[0] == 0
  assert engine.requests[-1].sampling.top_k == 7


def with_metrics(app):
  """Beside the application a page whose counters grow with every look."""
  looks = itertools.count(1)

  async def wrapped(scope, receive, send):
    if scope.get('path') != '/metrics':
      await app(scope, receive, send)
      return
    look = next(looks)
    page = (
      f'chatjax:decode_seconds_total {look}\n'
      f'chatjax:decode_steps_total {look * 10}\n'
      f'chatjax:host_gap_seconds_total {look * 0.25}\n'
      f'chatjax:compilations_total {look * 3}\n'
    )
    headers = [(b'content-length', b'%d' % len(page))]
    await send(
      {'type': 'http.response.start', 'status': 200, 'headers': headers}
    )
    await send({'type': 'http.response.body', 'body': page.encode()})

  return wrapped


def test_what_the_server_says_of_itself(bench, tmp_path, monkeypatch):
  monkeypatch.setattr(bench_machine, 'read_bandwidth', lambda: 1e10)
  out = tmp_path / 'out.json'
  engine = fake_engine.FakeEngine(endless)
  with serving(engine, with_metrics) as url:
    code, text, _ = bench(
      url, '--num_prompts=2', f'--json={out}', '--weight_bytes=500000000'
    )
  assert code == 0
  assert json.loads(out.read_text())['server'] == pytest.approx({
    'compilations': 3, 'decode_step_ms': 100.0, 'host_gap_share': 0.2,
    'weight_bytes': 5e8, 'read_bytes_per_s': 1e10, 'bandwidth_share': 0.5,
  })  # fmt: skip
  assert 'compilations after warm-up  3' in text
  assert 'share of bandwidth limit    50%' in text


USAGE_ERRORS = {
  '--base_url=nowhere': "'nowhere' is not the address",
  '--base_url=http://h:99999': 'is not the address',
  '--base_url=http://[::1': 'is not the address',
  '--request_rate=0': '--request_rate=0.0 is not positive',
  '--request_rate=nan': '--request_rate=nan is not positive',
  '--max_concurrency=0': '--max_concurrency=0 is not',
  '--num_prompts=x': '--num_prompts=x is not a positive integer',
  '--dataset_name=sharegpt': 'is not one of random, shared-prefix',
  '--extra_body=[1]': 'is not a JSON object',
  '--json=no/such/file': 'there is no such folder',
  '--dataset=random': 'Unknown flag --dataset.*--dataset_name',
  'now': "Unexpected argument 'now'",
}


@pytest.mark.parametrize('flag', USAGE_ERRORS)
def test_usage_errors(flag, fake):
  code, out, err = fake('', 'bench', 'serve', flag)
  assert (code, out) == (2, '')
  assert is_one_sentence(err), err
  assert re.search(USAGE_ERRORS[flag], err), err


def ask(url, prompts, load, **options):
  client = bench_serve_client.Client(url, model='tiny', **options)
  return asyncio.run(bench_serve_load.drive(client, prompts, load))


def test_no_answer_in_time_is_a_failure():
  engine = fake_engine.FakeEngine(endless, pause_s=0.2)
  prompts = bench_serve_workload.make('random', 1, SIZES, seed=0)
  with serving(engine) as url:
    run = ask(url, prompts, bench_serve_load.Load(), timeout_s=0.3)
  assert run.answers[0].error == 'no answer within 0.3 s'


async def half_an_answer(reader, writer):
  await reader.readuntil(b'\r\n\r\n')
  writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nda')
  writer.close()


def test_a_connection_that_breaks_is_a_failure():
  prompts = bench_serve_workload.make('random', 1, SIZES, seed=0)

  async def run():
    server = await asyncio.start_server(half_an_answer, '127.0.0.1', 0)
    async with server:
      port = server.sockets[0].getsockname()[1]
      client = bench_serve_client.Client(f'http://127.0.0.1:{port}')
      return await client.ask(prompts[0])

  assert 'peer closed connection' in asyncio.run(run()).error


def test_arrivals_are_seeded_and_poisson():
  load = bench_serve_load.Load(request_rate=20.0, seed=1)
  times = bench_serve_load.arrivals(4000, load)
  assert times == bench_serve_load.arrivals(4000, load)
  other = bench_serve_load.Load(request_rate=20.0, seed=2)
  assert times != bench_serve_load.arrivals(4000, other)
  gaps = [b - a for a, b in itertools.pairwise(times)]
  assert times[0] == 0
  assert min(gaps) > 0
  # Of exponential gaps, mean and deviation are the same.
  assert statistics.mean(gaps) == pytest.approx(1 / 20, rel=0.1)
  assert statistics.pstdev(gaps) == pytest.approx(1 / 20, rel=0.1)
  assert bench_serve_load.arrivals(3, bench_serve_load.Load()) == [0.0] * 3
  assert math.isinf(bench_serve_load.Load().request_rate)


def test_requests_are_sent_when_they_arrive():
  load = bench_serve_load.Load(request_rate=30.0, seed=5)
  prompts = bench_serve_workload.make('random', 8, SIZES, seed=0)
  with serving(fake_engine.FakeEngine(endless)) as url:
    begin_s = time.perf_counter()
    run = ask(url, prompts, load)
  want = bench_serve_load.arrivals(8, load)
  for answer, after_s in zip(run.answers, want, strict=True):
    assert answer.error is None
    assert 0 <= answer.start_s - begin_s - after_s < 0.5
  assert run.duration_s >= want[-1]
