"""The benchmark's clockwork, against a scripted server."""

import pathlib
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).parents[2] / 'scripts'

# Answers every completion with three tokens, two of them in one chunk, and
# any GET with 200.
SERVER = """
import http.server, json, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    self.send_response(200)
    self.send_header('Content-Length', '0')
    self.end_headers()
  def do_POST(self):
    body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
    assert body['ignore_eos'] and body['min_tokens'] == body['max_tokens']
    self.send_response(200)
    self.end_headers()
    for ids in ([], [5], [6, 7]):
      delta = {'choices': [{'delta': {}, 'token_ids': ids}], 'usage': None}
      self.wfile.write(f'data: {json.dumps(delta)}\\n\\n'.encode())
      self.wfile.flush()
      time.sleep(0.05)
    usage = {'choices': [], 'usage': {'prompt_tokens': 11}}
    self.wfile.write(f'data: {json.dumps(usage)}\\n\\n'.encode())
    self.wfile.write(b'data: [DONE]\\n\\n')
address = ('127.0.0.1', int(sys.argv[1]))
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
"""


@pytest.fixture(name='modules')
def _modules(monkeypatch):
  monkeypatch.syspath_prepend(SCRIPTS)
  import bench_figures
  import peers

  return peers, bench_figures


@pytest.fixture(name='server')
def _server(modules):
  peers, _ = modules
  port = peers.free_port()
  server = peers.Server(
    'fake',
    [sys.executable, '-c', SERVER, str(port)],
    port=port,
    extra={'return_token_ids': True},
    min_tokens=True,
  )
  yield server
  server.stop()


def test_server_counts_tokens_and_not_chunks(server):
  timelines = server.run(['a', 'b'], 3)
  assert [[n for _, n in line.arrivals] for line in timelines] == [[1, 3]] * 2
  assert [line.prompt_tokens for line in timelines] == [11, 11]
  assert all(0.04 < line.last_s - line.first_s < 5 for line in timelines)


def test_server_refuses_an_answer_of_another_length(server):
  with pytest.raises(RuntimeError, match='sent 3 tokens'):
    server.run(['a'], 4)


def test_server_that_ends_is_an_error_with_its_words(modules):
  peers, _ = modules
  with pytest.raises(RuntimeError, match='no weights today'):
    peers.Server(
      'fake',
      [sys.executable, '-c', "raise SystemExit('no weights today')"],
      port=peers.free_port(),
      extra={},
    )


def test_decode_rate_is_of_the_time_when_all_decode(modules):
  peers, figures = modules
  early = peers.Timeline(
    prompt_tokens=1, arrivals=((1.0, 1), (2.0, 9), (3.0, 17), (4.0, 25))
  )
  late = peers.Timeline(
    prompt_tokens=1, arrivals=((2.0, 4), (3.0, 8), (6.0, 25))
  )
  # From 2 s (late's first) to 4 s (early's last): 16 and 4 tokens.
  assert figures.decode_rate([early, late]) == pytest.approx(10.0)
  # A first arrival of four tokens is not time spent on decoding them.
  assert figures.decode_rate([late]) == pytest.approx(21 / 4)


def test_decode_rate_of_answers_one_after_the_other_is_unknown(modules):
  peers, figures = modules
  first = peers.Timeline(prompt_tokens=1, arrivals=((1.0, 1), (2.0, 9)))
  second = peers.Timeline(prompt_tokens=1, arrivals=((3.0, 1), (4.0, 9)))
  assert figures.decode_rate([first, second]) is None


def test_ratios_are_paired_by_round(modules):
  _, figures = modules
  rows = [('chatjax', 10, 1), ('transformers', 2, 1)]
  rows += [('chatjax', 30, 2), ('transformers', 3, 2)]
  rows += [('chatjax', 12, 3), ('transformers', 2, 3)]
  samples = [
    dict.fromkeys(figures.METRICS, value) | {'peer': name, 'round': number}
    for name, value, number in rows
  ]
  row = figures.summarise(samples)['decode_1']['transformers']
  assert row == {'min': 2, 'median': 2, 'max': 3, 'chatjax_ratio': 6}
