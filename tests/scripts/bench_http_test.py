"""The HTTP benchmark's pieces, against a server with a scripted engine."""

import importlib.util
import json
import pathlib
import runpy
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).parents[2] / 'scripts'

# The real application; a token every 10 ms and row, prompts are free.
SERVER = """
import itertools, sys
from chatjax.chat import session
from chatjax.serve import server
from chatjax.testing import byte_tokenizer, fake_engine
engine = fake_engine.FakeEngine(
  lambda request, choice: itertools.repeat(65, request.max_tokens),
  block=1, pause_s=0.01)
server.run(
  session.Session(
    engine, byte_tokenizer.ByteTokenizer(), byte_tokenizer.ByteChatFormat(),
    model_id='tiny', sampler_version=1),
  server.listen('127.0.0.1', int(sys.argv[1]), is_guarded=False))
"""
# Says what a worker in Python says; makes 100 tokens a second and answer.
WORKER = """
import json, sys
print('{}', flush=True)
for line in sys.stdin:
  bodies = json.loads(line)['bodies']
  tokens = [body['max_tokens'] for body in bodies]
  print(json.dumps({
    'output_tokens': sum(tokens), 'duration_s': max(tokens) / 100}), flush=True)
"""


@pytest.fixture(name='modules')
def _modules(monkeypatch):
  monkeypatch.syspath_prepend(SCRIPTS)
  import bench_figures
  import bench_http
  import peers

  return peers, bench_http, bench_figures


@pytest.fixture(name='plan')
def _plan(modules):
  _, bench_http, _ = modules
  return bench_http.Plan(
    streams=(1, 3), input_words=5, output_tokens=12, shared_words=20
  )


@pytest.fixture(name='measured')
def _measured(modules):
  """A server as two peers would be, and a worker; ended in any case."""
  peers, bench_http, _ = modules
  port = peers.free_port()
  server = peers.Server(
    'chatjax', [sys.executable, '-c', SERVER, str(port)], port=port, extra={}
  )
  try:
    worker = peers.Process(bench_http.PYTHON, [sys.executable, '-c', WORKER])
  except BaseException:
    server.stop()
    raise
  yield [bench_http.OverHttp(server, 'tiny'), bench_http.InPython(worker)]
  worker.stop()
  server.stop()


def test_rounds_ratios_and_the_plot(modules, plan, measured, tmp_path):
  _, bench_http, figures = modules
  for peer in measured:
    bench_http.warm_up(peer, plan)
  samples = bench_http.bench(measured, plan, 2)
  # In turn, and the other way round in the second round.
  names = ['chatjax', bench_http.PYTHON]
  assert [sample['peer'] for sample in samples] == names + names[::-1]
  metrics = bench_http.metrics(plan.streams)
  assert set(samples[0]) == set(metrics) | {
    'shared_input_tokens', 'shared_cached_tokens', 'peer', 'round',
    'idle_peers_cpu',
  }  # fmt: skip
  summary = figures.summarise(samples, metrics)
  # 12 tokens in 12 pauses of 10 ms; three streams make three times that.
  assert 20 < summary['output_tok_s_1']['chatjax']['median'] < 101
  assert 10 <= summary['ttft_ms_1']['chatjax']['median'] < 300
  assert 30 < summary['decode_tok_s_3']['chatjax']['median'] < 3 * 110
  python = summary['output_tok_s_3'][bench_http.PYTHON]
  assert python['median'] == pytest.approx(300)
  assert python['chatjax_ratio'] == pytest.approx(
    summary['output_tok_s_3']['chatjax']['median'] / 300, rel=0.5
  )
  assert bench_http.PYTHON not in summary['ttft_ms_3']
  figures.print_table(summary, {}, metrics)
  _check_plot(summary, tmp_path)


def _check_plot(summary, tmp_path):
  source, target = tmp_path / 'in.json', tmp_path / 'out.png'
  source.write_text(json.dumps({'summary': summary}))
  plot = runpy.run_path(str(SCRIPTS / 'plot_http.py'))
  assert [n for n, _ in plot['rates'](summary)['chatjax']] == [1, 3]
  assert list(plot['first_tokens'](summary)) == [
    '1 at once', '3 at once', 'shared,\nfirst', 'shared,\nsecond',
  ]  # fmt: skip
  plot['draw'](json.loads(source.read_text()), str(target))
  assert target.read_bytes().startswith(b'\x89PNG')


def test_an_answer_of_another_length_is_an_error(modules, plan, measured):
  peers, bench_http, _ = modules
  unknown = bench_http.OverHttp(measured[0].program, 'other')
  with pytest.raises(RuntimeError, match=r'sent 0 tokens; 12 were.*404'):
    unknown.sample(plan, 0)
  liar = WORKER.replace('sum(tokens)', '7')
  worker = peers.Process('liar', [sys.executable, '-c', liar])
  try:
    with pytest.raises(RuntimeError, match='made 7 tokens; 36 were'):
      bench_http.InPython(worker).sample(plan, 0)
  finally:
    worker.stop()


def test_questions_are_the_same_for_all_and_new_in_every_round(plan):
  first = plan.questions('random', 3, 0)
  assert first == plan.questions('random', 3, 0)
  asked = [
    question.messages[-1]['content']
    for round_number in range(3)
    for count in plan.streams
    for question in plan.questions('random', count, round_number)
  ]
  assert len(set(asked)) == len(asked) == 3 * (1 + 3)
  systems = [
    plan.questions('shared-prefix', 2, number)[0].messages[0]['content']
    for number in range(3)
  ]
  assert len(set(systems)) == 3


def test_python_is_compared_at_the_most_streams_up_to_eight(modules):
  _, bench_http, _ = modules
  for streams, want in (((1, 4, 8, 16), 8), ((1, 4), 4), ((16,), 16)):
    plan = bench_http.Plan(
      streams=streams, input_words=1, output_tokens=1, shared_words=1
    )
    assert plan.python_streams == want


def test_without_matplotlib_it_says_so(monkeypatch):
  plot = runpy.run_path(str(SCRIPTS / 'plot_http.py'))
  plot['require']()
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(SystemExit, match=r'\[notebooks\] extra'):
    plot['require']()


def test_the_worker_streams_what_it_is_asked_for(monkeypatch):
  """With the session of a scripted engine in the model's place."""
  import itertools

  from chatjax import api
  from chatjax.chat import session as session_lib
  from chatjax.testing import byte_tokenizer
  from chatjax.testing import fake_engine

  engine = fake_engine.FakeEngine(
    lambda request, choice: itertools.repeat(65, request.max_tokens),
    block=1,
    pause_s=0.01,
  )
  session = session_lib.Session(
    engine,
    byte_tokenizer.ByteTokenizer(),
    byte_tokenizer.ByteChatFormat(),
    model_id='tiny',
    sampler_version=1,
  )
  monkeypatch.syspath_prepend(SCRIPTS)
  import engine_worker

  body = {
    'messages': [{'role': 'user', 'content': 'Hi'}], 'max_tokens': 9,
    'temperature': 0, 'ignore_eos': True,
  }  # fmt: skip
  got = engine_worker.answer(api.Chat(session), [body] * 3)
  assert got['output_tokens'] == 27
  # Side by side: 9 pauses, not 27.
  assert 0.09 <= got['duration_s'] < 0.25
