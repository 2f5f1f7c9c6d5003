"""The official client against a real server with a scripted engine."""

import contextlib
import http.client
import json
import logging
import socket
import threading
import time

import openai
from openai.types import chat as openai_chat
import pytest
import uvicorn

from chatjax import types
from chatjax.chat import session as session_lib
from chatjax.protocol import limits as limits_lib
from chatjax.serve import app as app_lib
from chatjax.serve import server
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine

MESSAGES = [{'role': 'user', 'content': 'hi'}]
KEY = 'sk-ключ-1'
IDS = {'return_token_ids': True}


class Served:
  """A server on a free port, with its engine and clients."""

  def __init__(self, script, *, api_key=None, limits=None, **engine_args):
    self.engine = fake_engine.FakeEngine(script, **engine_args)
    session = session_lib.Session(
      self.engine,
      byte_tokenizer.ByteTokenizer(),
      byte_tokenizer.ByteChatFormat(),
      model_id='tiny',
      sampler_version=1,
    )
    app = app_lib.create_app(
      session,
      limits=limits,
      api_key=api_key,
      allowed_hosts=server.LOOPBACK_NAMES,
    )

    @app.get('/crash')
    async def crash():
      raise ZeroDivisionError('/secret/path')

    self._listener = server.listen('127.0.0.1', 0, is_guarded=False)
    self.port = self._listener.getsockname()[1]
    config = uvicorn.Config(app, http='h11', log_config=None, lifespan='off')
    self._server = uvicorn.Server(config)
    self._thread = threading.Thread(
      target=self._server.run, kwargs={'sockets': [self._listener]}
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

  def __exit__(self, *unused):
    self._server.should_exit = True
    self._server.force_exit = True
    self._thread.join()
    self._listener.close()

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

  def open_request(self, **fields):
    """A socket that has sent a request and reads nothing yet."""
    body = {'model': 'tiny', 'messages': MESSAGES, **fields}
    data = json.dumps(body).encode()
    connection = socket.create_connection(('127.0.0.1', self.port))
    connection.sendall(
      b'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n'
      b'Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s'
      % (len(data), data)
    )
    return connection


def wait_until(is_true, timeout_s=1.0):
  deadline_s = time.monotonic() + timeout_s
  while not is_true():
    assert time.monotonic() < deadline_s, 'did not happen in time'
    time.sleep(0.005)


@pytest.fixture(scope='module')
def served():
  script = fake_engine.text_script('héllo wörld', 'second', 'third one')
  with Served(script) as one:
    yield one


@pytest.fixture
def endless():
  script = fake_engine.text_script('x' * 4000, end=False)
  with Served(script, block=1, pause_s=0.02) as one:
    yield one


def test_create(served):
  answer = served.create(seed=7)
  assert answer.choices[0].message.content == 'héllo wörld'
  assert answer.choices[0].finish_reason == 'stop'
  assert answer.id.startswith('chatcmpl-')
  assert answer.system_fingerprint == 'fp_fake'
  assert answer.chatjax['seed'] == 7
  assert len(answer.chatjax['choice_keys']) == 1
  assert answer.usage.completion_tokens == len('héllo wörld'.encode()) + 1


def test_the_exact_object(served):
  body = {'model': 'tiny', 'messages': MESSAGES, 'seed': -1, 'max_tokens': 2}
  status, headers, data = served.post(body)
  answer = json.loads(data)
  assert (status, headers['content-type']) == (200, 'application/json')
  assert abs(answer.pop('created') - time.time()) < 10
  assert len(answer.pop('id')) == len('chatcmpl-') + 32
  assert answer == {
    'object': 'chat.completion',
    'model': 'tiny',
    'system_fingerprint': 'fp_fake',
    'service_tier': 'default',
    'choices': [
      {
        'index': 0,
        'message': {
          'role': 'assistant',
          'content': 'h\ufffd',
          'refusal': None,
          'annotations': [],
        },
        'logprobs': None,
        'finish_reason': 'length',
      }
    ],
    'usage': {
      'prompt_tokens': 9,
      'completion_tokens': 2,
      'total_tokens': 11,
      'prompt_tokens_details': {'cached_tokens': 0, 'audio_tokens': 0},
      'completion_tokens_details': {
        'reasoning_tokens': 0,
        'audio_tokens': 0,
        'accepted_prediction_tokens': 0,
        'rejected_prediction_tokens': 0,
      },
    },
    'chatjax': {
      'seed': -1,
      'choice_keys': ['413979c44e58fb3f'],
      'sampler_version': 1,
    },
  }


def test_answers_validate_strictly_against_the_official_types(served):
  fields = {
    'model': 'tiny', 'messages': MESSAGES, 'n': 2, 'logprobs': True,
    'top_logprobs': 2, 'return_token_ids': True,
  }  # fmt: skip
  _, _, data = served.post(fields)
  openai_chat.ChatCompletion.model_validate(json.loads(data), strict=True)
  options = {'include_usage': True}
  _, headers, data = served.post(
    {**fields, 'stream': True, 'stream_options': options}
  )
  assert headers['content-type'].startswith('text/event-stream')
  events = data.decode().split('\n\n')
  assert events.pop() == ''
  assert events.pop() == 'data: [DONE]'
  for event in events:
    chunk = json.loads(event.removeprefix('data: '))
    openai_chat.ChatCompletionChunk.model_validate(chunk, strict=True)
    assert 'usage' in chunk


def test_stream(served):
  options = {'include_usage': True}
  chunks = served.stream(n=3, stream_options=options, extra_body=IDS)
  *parts, last = chunks
  first_seen = list(
    dict.fromkeys(c.index for chunk in parts for c in chunk.choices)
  )
  assert first_seen == [0, 1, 2]
  assert last.choices == []
  assert last.usage == served.create(n=3).usage
  assert all(chunk.usage is None for chunk in parts)
  for field in ('id', 'created', 'model', 'system_fingerprint'):
    assert len({getattr(chunk, field) for chunk in chunks}) == 1
  assert [hasattr(chunk, 'chatjax') for chunk in chunks].count(True) == 1
  assert len(chunks[0].chatjax['choice_keys']) == 3
  assert len(chunks[0].prompt_token_ids) == last.usage.prompt_tokens
  mine = [
    [c for chunk in parts for c in chunk.choices if c.index == i]
    for i in range(3)
  ]
  text = [''.join(c.delta.content or '' for c in one) for one in mine]
  assert text == ['héllo wörld', 'second', 'third one']
  for one in mine:
    assert [bool(c.delta.role) for c in one].count(True) == 1
    reasons = [c.finish_reason for c in one]
    assert reasons == [None] * (len(one) - 1) + ['stop']
  num_ids = sum(len(c.token_ids) for one in mine for c in one)
  assert num_ids == last.usage.completion_tokens


def test_no_usage_unless_asked(served):
  chunks = served.stream()
  assert all('usage' not in chunk.model_fields_set for chunk in chunks)
  assert all(chunk.choices for chunk in chunks)


def test_the_accumulating_stream_helper(served):
  with (
    served.client() as client,
    client.chat.completions.stream(
      model='tiny',
      messages=MESSAGES,
      n=2,
      logprobs=True,
      stream_options={'include_usage': True},
    ) as stream,
  ):
    final = stream.get_final_completion()
  plain = served.create(n=2, logprobs=True)
  assert [c.message.content for c in final.choices] == ['héllo wörld', 'second']
  assert final.usage == plain.usage
  for streamed, whole in zip(final.choices, plain.choices, strict=True):
    assert streamed.logprobs == whole.logprobs


def test_choices_logprobs_and_usage(served):
  answer = served.create(n=3, logprobs=True, top_logprobs=2)
  assert [c.index for c in answer.choices] == [0, 1, 2]
  for choice in answer.choices:
    entries = choice.logprobs.content
    joined = b''.join(bytes(entry.bytes) for entry in entries)
    assert joined.decode() == choice.message.content
    assert all(len(entry.top_logprobs) == 2 for entry in entries)
    assert choice.logprobs.refusal is None
  entry = answer.choices[1].logprobs.content[0]
  assert entry.logprob == fake_engine.fake_token(ord('s'), 0).logprob
  total = sum(len(c.message.content.encode()) + 1 for c in answer.choices)
  assert answer.usage.completion_tokens == total
  assert answer.usage.prompt_tokens == len('user: hi') + 1
  assert answer.usage.total_tokens == total + answer.usage.prompt_tokens


def test_stop_and_token_ids(served):
  answer = served.create(stop=['o w', 'zzz'], extra_body=IDS)
  assert answer.choices[0].message.content == 'héll'
  assert answer.choices[0].finish_reason == 'stop'
  assert answer.choices[0].token_ids == list('héllo w'.encode())
  assert answer.prompt_token_ids == [256, *b'user: hi']


def test_extensions_through_the_client(served):
  served.create(
    extra_body={'top_k': 5, 'min_p': 0.1, 'ignore_eos': True}, max_tokens=3
  )
  sampling = served.engine.requests[-1].sampling
  assert (sampling.top_k, sampling.min_p) == (5, 0.1)
  assert sampling.ignore_eos


def test_an_answer_can_be_sent_back(served):
  answer = served.create().choices[0].message
  served.create(messages=[*MESSAGES, answer, *MESSAGES])
  assert b'assistant: h' in bytes(served.engine.requests[-1].prompt_ids[1:])


def test_async_client(served):
  import asyncio

  async def ask():
    async with openai.AsyncOpenAI(**served.client_args) as client:
      create = client.chat.completions.create
      whole, stream = await asyncio.gather(
        create(model='tiny', messages=MESSAGES),
        create(model='tiny', messages=MESSAGES, stream=True),
      )
      text = [
        choice.delta.content or ''
        async for chunk in stream
        for choice in chunk.choices
      ]
      return whole.choices[0].message.content, ''.join(text)

  assert asyncio.run(ask()) == ('héllo wörld', 'héllo wörld')


@pytest.mark.parametrize('is_stream', [False, True])
def test_errors_are_typed(served, is_stream):
  cases = [
    ({'temperature': 3}, 'temperature', 'invalid_value'),
    ({'store': True}, 'store', 'unsupported_parameter'),
    ({'extra_body': {'best': 1}}, 'best', 'unknown_parameter'),
    ({'logit_bias': {'258': 1}}, 'logit_bias', 'invalid_value'),
    (
      {'messages': [{'role': 'user', 'content': 'x' * 5000}]},
      'messages',
      'context_length_exceeded',
    ),
  ]
  for fields, param, code in cases:
    with pytest.raises(openai.BadRequestError) as caught:
      served.create(stream=is_stream, **fields)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.type == 'invalid_request_error'
  with pytest.raises(openai.NotFoundError) as caught:
    served.create(model='gpt-9', stream=is_stream)
  assert (caught.value.param, caught.value.code) == ('model', 'model_not_found')


def test_models(served):
  with served.client() as client:
    assert [model.id for model in client.models.list()] == ['tiny']
    assert client.models.retrieve('tiny').owned_by == 'chatjax'
    with pytest.raises(openai.NotFoundError) as caught:
      client.models.retrieve('other/one')
  assert caught.value.code == 'model_not_found'


def test_health(served):
  status, _, data = served.raw('GET', '/health')
  assert (status, json.loads(data)) == (200, {'status': 'ok'})


def error_of(data):
  body = json.loads(data)
  assert set(body) == {'error'}
  assert set(body['error']) == {'message', 'type', 'param', 'code'}
  return body['error']


def test_framework_errors_have_the_same_shape(served):
  for method, path, status, code in (
    ('GET', '/nothing', 404, 'not_found'),
    ('GET', '/docs', 404, 'not_found'),
    ('GET', '/openapi.json', 404, 'not_found'),
    ('GET', '/v1/chat/completions', 405, 'method_not_allowed'),
    ('POST', '/v1/models', 405, 'method_not_allowed'),
    ('GET', '/' + 'x' * 5000, 404, 'not_found'),
  ):
    got, _, data = served.raw(method, path)
    error = error_of(data)
    assert (got, error['code']) == (status, code)
    assert error['type'] == 'invalid_request_error'
    assert error['param'] is None
    assert error['message'].startswith(f'Invalid URL ({method} {path[:90]}')
    assert len(error['message']) < 200


def test_a_wrong_method_is_told_the_right_one(served):
  for method, path, right in (
    ('GET', '/v1/chat/completions', ['POST']),
    ('DELETE', '/v1/models', ['GET', 'HEAD']),
  ):
    status, headers, data = served.raw(method, path)
    assert (status, sorted(headers['allow'].split(', '))) == (405, right)
    assert error_of(data)['message'] == (
      f'Invalid URL ({method} {path}); the method must be {" or ".join(right)}'
    )
  _, _, data = served.raw('GET', '/no%0Athing')
  assert error_of(data)['message'] == r'Invalid URL (GET /no\nthing)'


def test_a_crash_tells_nothing(served, caplog):
  caplog.set_level(logging.CRITICAL, logger='uvicorn.error')
  status, _, data = served.raw('GET', '/crash')
  error = error_of(data)
  assert (status, error['type']) == (500, 'server_error')
  assert b'secret' not in data


def test_bad_bodies(served):
  for body in (b'', b'{', b'[]', b'{"a": NaN}', b'\xff', b'[' * 10**5):
    status, _, data = served.post(body)
    assert (status, error_of(data)['code']) == (400, 'invalid_json')
  good = {'model': 'tiny', 'messages': MESSAGES}
  for kind in ('text/plain', 'application/x-www-form-urlencoded', ''):
    status, _, data = served.post(good, headers={'Content-Type': kind})
    assert (status, error_of(data)['code']) == (400, 'invalid_content_type')
  kind = 'Application/JSON; charset=utf-8'
  assert served.post(good, headers={'Content-Type': kind})[0] == 200


def test_body_limit():
  script = fake_engine.text_script('x')
  with Served(script, limits=limits_lib.Limits(max_body_bytes=1000)) as one:
    good = {'model': 'tiny', 'messages': MESSAGES}
    padded = json.dumps(good).encode().ljust(1000)
    assert one.post(padded)[0] == 200
    for data in (padded + b' ', padded.ljust(10**6)):
      status, _, answer = one.post(data)
      assert (status, error_of(answer)['code']) == (413, 'body_too_large')
    # Without a length in the header it is counted as it comes.
    status, _, answer = one.raw(
      'POST', '/v1/chat/completions', iter([padded, b' ']), {}
    )
    assert (status, error_of(answer)['code']) == (413, 'body_too_large')
    assert one.post(padded)[0] == 200


def test_limits_are_the_servers_own():
  script = fake_engine.text_script('x')
  with Served(script, limits=limits_lib.Limits(max_n=2)) as one:
    assert len(one.create(n=2).choices) == 2
    with pytest.raises(openai.BadRequestError, match='between 1 and 2'):
      one.create(n=3)


def test_foreign_host_names_are_refused(served):
  for host, status in (
    ('localhost', 200),
    ('127.0.0.1:1', 200),
    ('[::1]:8000', 200),
    ('evil.example', 400),
    ('localhost.evil.example', 400),
    ('localhost:8000.evil.example', 400),
    ('[::1].evil.example', 400),
    ('evil.example:[::1]', 400),
    ('127.0.0.2', 400),
    ('', 400),
  ):
    got, _, data = served.raw('GET', '/health', headers={'Host': host})
    assert got == status
    if status == 400:
      error = error_of(data)
      assert error['code'] == 'invalid_host'
      assert repr(host) in error['message']
      assert 'localhost or 127.0.0.1 or [::1]' in error['message']


def test_head_is_get_without_a_body(served):
  for path in ('/health', '/v1/models', '/v1/models/tiny', '/v1/models/other'):
    want, want_headers, data = served.raw('GET', path)
    got, headers, nothing = served.raw('HEAD', path)
    assert (got, nothing) == (want, b'')
    assert int(headers['content-length']) == len(data)
    assert headers['content-type'] == want_headers['content-type']


def test_api_key():
  with Served(fake_engine.text_script('x'), api_key=KEY) as one:
    assert one.raw('GET', '/health')[0] == 200
    for path in ('/v1/models', '/v1/models/tiny', '/nothing', '/health/'):
      for given in ({}, {'Authorization': f'Bearer {"x" * 9}'}):
        status, headers, data = one.raw('GET', path, headers=given)
        assert (status, error_of(data)['code']) == (401, 'invalid_api_key')
        assert headers['www-authenticate'] == 'Bearer'
    with pytest.raises(openai.AuthenticationError):
      one.create()
    right = {'Authorization': f'Bearer {KEY}'.encode()}
    assert one.raw('GET', '/v1/models', headers=right)[0] == 200
    short = {'Authorization': f'Bearer {KEY[:-1]}'.encode()}
    assert one.raw('GET', '/v1/models', headers=short)[0] == 401


@pytest.mark.parametrize('is_stream', [False, True])
def test_disconnect_frees_the_rows_within_a_second(endless, is_stream):
  with contextlib.closing(endless.open_request(n=3, stream=is_stream)):
    wait_until(lambda: endless.engine.num_open == 3)
    time.sleep(0.1)
    assert endless.engine.num_open == 3
  wait_until(lambda: endless.engine.num_open == 0, timeout_s=1.0)


def test_disconnect_before_the_first_token():
  script = fake_engine.text_script('x' * 99)
  for is_stream in (False, True):
    with Served(script, pause_s=2.0) as one:
      with contextlib.closing(one.open_request(stream=is_stream)):
        wait_until(lambda: one.engine.num_open == 1)
      wait_until(lambda: one.engine.num_open == 0, timeout_s=1.0)


def test_many_leave_and_one_more_is_answered(endless):
  connections = [endless.open_request(stream=idx % 2 == 0) for idx in range(30)]
  wait_until(lambda: endless.engine.num_open == 30, timeout_s=5)
  for connection in connections:
    connection.close()
  wait_until(lambda: endless.engine.num_open == 0, timeout_s=2)
  assert endless.create(max_tokens=2).choices[0].message.content == 'xx'


def test_the_client_closing_a_stream_frees_the_rows(endless):
  with endless.client() as client:
    stream = client.chat.completions.create(
      model='tiny', messages=MESSAGES, stream=True
    )
    next(stream)
    stream.close()
  wait_until(lambda: endless.engine.num_open == 0, timeout_s=1.0)


def test_a_failure_before_the_first_token_is_a_real_status():
  for is_stream in (False, True):
    with Served(fake_engine.text_script('x' * 99), fail_after=0) as one:
      with pytest.raises(openai.InternalServerError) as caught:
        one.create(stream=is_stream)
      assert caught.value.status_code == 500
      assert 'scripted' not in str(caught.value)
      with pytest.raises(openai.InternalServerError) as caught:
        one.create(stream=is_stream)
      assert caught.value.status_code == 503
      status, _, data = one.raw('GET', '/health')
      assert (status, error_of(data)['code']) == (503, 'engine_stopped')


@pytest.mark.parametrize('is_stream', [False, True])
def test_the_engines_words_go_to_the_log_alone(is_stream, monkeypatch, caplog):
  def submit(request, sink):
    if is_stream:
      sink.tokens(0, [fake_engine.fake_token(ord('x'), 0)])
    sink.error(types.ChatjaxError('page 7 of /secret is odd'))

  with Served(fake_engine.text_script('x')) as one:
    monkeypatch.setattr(one.engine, 'submit', submit)
    body = {'model': 'tiny', 'messages': MESSAGES, 'stream': is_stream}
    status, _, data = one.post(body)
  if is_stream:
    data = data.removesuffix(b'\n\n').rpartition(b'data: ')[2]
  assert status == (200 if is_stream else 500)
  error = error_of(data)
  assert (error['type'], error['code']) == ('server_error', 'internal_error')
  assert 'secret' not in error['message']
  assert 'page 7 of /secret is odd' in caplog.text


def test_a_full_queue_says_when_to_come_back():
  script = fake_engine.text_script('x' * 4000, end=False)
  body = {'model': 'tiny', 'messages': MESSAGES, 'n': 2}
  with Served(script, block=1, pause_s=0.02, max_open=3) as one:
    with contextlib.closing(one.open_request(n=2)):
      wait_until(lambda: one.engine.num_open == 2)
      status, headers, data = one.post(body)
      assert (status, error_of(data)['code']) == (503, 'server_overloaded')
      assert headers['retry-after'] == '1'
    wait_until(lambda: one.engine.num_open == 0)
    assert one.post({**body, 'max_tokens': 1})[0] == 200


def test_a_failure_inside_a_stream_is_an_event():
  with Served(fake_engine.text_script('x' * 99), fail_after=2) as one:
    with pytest.raises(openai.APIError, match='server failed') as caught:
      one.stream()
    assert caught.value.code == 'internal_error'
  with Served(fake_engine.text_script('x' * 99), fail_after=2) as one:
    body = {'model': 'tiny', 'messages': MESSAGES, 'stream': True}
    status, _, data = one.post(body)
    assert status == 200
    *_, last, empty = data.decode().split('\n\n')
    assert empty == ''
    assert error_of(last.removeprefix('data: '))['type'] == 'server_error'


def test_nothing_of_a_prompt_is_logged(served, caplog):
  caplog.set_level(logging.DEBUG)
  secret = [{'role': 'user', 'content': 'pr1vate'}]
  served.create(messages=secret, user='bob\nforged line')
  with pytest.raises(openai.BadRequestError):
    served.create(messages=secret, temperature=9)
  with pytest.raises(openai.BadRequestError):
    served.create(messages=[{'role': 'user', 'pr1vate': 'pr1vate'}])
  mine = [r for r in caplog.records if r.name.startswith(('chatjax', 'uvic'))]
  text = '\n'.join(record.getMessage() for record in mine)
  assert 'pr1vate' not in text
  assert "user='bob\\nforged line'" in text
