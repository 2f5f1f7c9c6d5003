"""A real server on a scripted engine, for the tests of this room."""

import contextlib
import http.client
import json
import socket
import threading
import time

import openai
import uvicorn

from chatjax.chat import session as session_lib
from chatjax.chat.parsers import formats
from chatjax.protocol import limits as limits_lib
from chatjax.serve import app as app_lib
from chatjax.serve import gate as gate_lib
from chatjax.serve import server
from chatjax.store import store as store_lib
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine

MESSAGES = [{'role': 'user', 'content': 'hi'}]


class Served:
  """A server on a free port, with its engine and clients."""

  def __init__(
    self, script=None, *, api_keys=(), max_per_key=0, limits=None,
    timeouts=None, engine=None, session=None, store=None, batches=None,
    output_format='plain', **engine_args,
  ):  # fmt: skip
    if session is not None:
      engine = session.engine
    self.engine = engine or fake_engine.FakeEngine(script, **engine_args)
    self.gate = gate_lib.Gate()
    session = session or session_lib.Session(
      self.engine,
      byte_tokenizer.ByteTokenizer(),
      byte_tokenizer.ByteChatFormat(),
      model_id='tiny',
      sampler_version=1,
      output_format=formats.get(output_format),
      open_store=store and (lambda: store_lib.Store.in_file(store)),
    )
    self.session = session
    kept = {}
    if batches is not None:
      kept = server.open_batches(
        session, batches, limits or limits_lib.Limits()
      )
    self.jobs = kept.get('jobs')
    app = app_lib.create_app(
      session,
      limits=limits,
      timeouts=timeouts,
      gate=self.gate,
      api_keys=api_keys,
      max_per_key=max_per_key,
      allowed_hosts=server.LOOPBACK_NAMES,
      **kept,
    )

    @app.get('/crash')
    async def crash():
      raise ZeroDivisionError('/secret/path')

    self.listener = server.listen('127.0.0.1', 0, is_guarded=False)
    self.port = self.listener.getsockname()[1]
    config = uvicorn.Config(app, http='h11', log_config=None, lifespan='off')
    self._server = server.Server(config, self.gate, drain_s=30)
    self._thread = threading.Thread(
      target=self._server.run, kwargs={'sockets': [self.listener]}
    )
    self.client_args = {
      'base_url': f'http://127.0.0.1:{self.port}/v1',
      'api_key': 'none',
      'max_retries': 0,
    }

  def __enter__(self):
    self._thread.start()
    wait_until(lambda: self._server.started, timeout_s=10)
    return self

  @property
  def loop(self):
    return self._server.servers[0].get_loop()

  def __exit__(self, *unused):
    self._server.should_exit = True
    self._server.force_exit = True
    self._thread.join()
    if self.jobs is not None:
      self.jobs.close()
    self.listener.close()

  @contextlib.contextmanager
  def client(self):
    with openai.OpenAI(**self.client_args) as client:
      yield client

  def create(self, **fields):
    with self.client() as client:
      return client.chat.completions.create(
        **{'model': 'tiny', 'messages': MESSAGES, **fields}
      )

  def stream(self, **fields):
    with self.client() as client:
      return list(
        client.chat.completions.create(
          **{'model': 'tiny', 'messages': MESSAGES, **fields}, stream=True
        )
      )

  def raw(self, method, path, body=None, headers=None):
    """(status, headers, body) without a client library in between."""
    connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=10)
    with contextlib.closing(connection):
      headers = {'Content-Type': 'application/json', **(headers or {})}
      connection.request(method, path, body, headers)
      answer = connection.getresponse()
      return answer.status, answer.headers, answer.read()

  def post(self, body, path='/v1/chat/completions', headers=None):
    data = body if isinstance(body, bytes) else json.dumps(body)
    return self.raw('POST', path, data, headers)

  def open_request(self, *, key='none', **fields):
    """A socket that has sent a request and reads nothing yet."""
    body = {'model': 'tiny', 'messages': MESSAGES, **fields}
    data = json.dumps(body).encode()
    connection = socket.create_connection(('127.0.0.1', self.port))
    connection.sendall(
      b'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n'
      b'Content-Type: application/json\r\nAuthorization: Bearer %s\r\n'
      b'Content-Length: %d\r\n\r\n%s' % (key.encode(), len(data), data)
    )
    return connection


def wait_until(is_true, timeout_s=5.0):
  deadline_s = time.monotonic() + timeout_s
  while not is_true():
    assert time.monotonic() < deadline_s, 'did not happen in time'
    time.sleep(0.005)


def error_of(data):
  body = json.loads(data)
  assert set(body) == {'error'}
  assert set(body['error']) == {'message', 'type', 'param', 'code'}
  return body['error']
