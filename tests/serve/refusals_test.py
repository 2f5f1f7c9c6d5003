"""What the server does not answer: one error shape, the right status."""

import json
import logging

import openai
import pytest

from chatjax import types
from chatjax.protocol import limits as limits_lib
from chatjax.testing import fake_engine
from tests.serve import harness

KEY = 'sk-ключ-1'


@pytest.fixture(scope='module')
def served():
  with harness.Served(fake_engine.text_script('x')) as one:
    yield one


@pytest.mark.parametrize('is_stream', [False, True])
def test_errors_are_typed(served, is_stream):
  cases = [
    ({'temperature': 3}, 'temperature', 'invalid_value'),
    ({'extra_body': {'moderation': {}}}, 'moderation', 'unsupported_parameter'),
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


@pytest.mark.parametrize(
  ('fields', 'param'),
  [
    ({'min_tokens': -1}, 'min_tokens'),
    ({'min_tokens': 2**31}, 'min_tokens'),
    ({'min_tokens': 4, 'max_tokens': 3}, 'min_tokens'),
    ({'stop_token_ids': [5, 258]}, 'stop_token_ids'),
    ({'stop_token_ids': [-1]}, 'stop_token_ids[0]'),
    ({'logit_bias': {'258': -100}}, 'logit_bias'),
    ({'repetition_penalty': 1000.5}, 'repetition_penalty'),
  ],
)
def test_fields_beyond_the_model_are_named(served, fields, param):
  num_before = len(served.engine.requests)
  body = {'model': 'tiny', 'messages': harness.MESSAGES, **fields}
  for is_stream in (False, True):
    status, _, data = served.post({**body, 'stream': is_stream})
    error = harness.error_of(data)
    assert (status, error['param']) == (400, param)
    assert error['type'] == 'invalid_request_error'
  assert len(served.engine.requests) == num_before


@pytest.mark.parametrize('is_stream', [False, True])
def test_what_the_engine_refuses_is_named(is_stream, monkeypatch):
  def submit(request, sink):
    raise types.RequestError(
      '17 stop ids are too many.', param='stop_token_ids'
    )

  with harness.Served(fake_engine.text_script('x')) as one:
    monkeypatch.setattr(one.engine, 'submit', submit)
    body = {'model': 'tiny', 'messages': harness.MESSAGES, 'stream': is_stream}
    status, _, data = one.post(body)
  assert (status, harness.error_of(data)['param']) == (400, 'stop_token_ids')
  assert harness.error_of(data)['message'] == '17 stop ids are too many.'


def test_framework_errors_have_the_same_shape(served):
  for method, path, status, code in (
    ('GET', '/nothing', 404, 'not_found'),
    ('GET', '/docs', 404, 'not_found'),
    ('GET', '/openapi.json', 404, 'not_found'),
    ('GET', '/v1/completions', 405, 'method_not_allowed'),
    ('POST', '/v1/models', 405, 'method_not_allowed'),
    ('GET', '/' + 'x' * 5000, 404, 'not_found'),
  ):
    got, _, data = served.raw(method, path)
    error = harness.error_of(data)
    assert (got, error['code']) == (status, code)
    assert error['type'] == 'invalid_request_error'
    assert error['param'] is None
    assert error['message'].startswith(f'Invalid URL ({method} {path[:90]}')
    assert len(error['message']) < 200


def test_a_wrong_method_is_told_the_right_one(served):
  for method, path, right in (
    ('GET', '/v1/completions', ['POST']),
    ('DELETE', '/v1/models', ['GET', 'HEAD']),
    ('DELETE', '/v1/chat/completions', ['GET', 'POST']),
    ('PUT', '/v1/chat/completions/x', ['DELETE', 'GET', 'POST']),
  ):
    status, headers, data = served.raw(method, path)
    assert (status, sorted(headers['allow'].split(', '))) == (405, right)
    assert harness.error_of(data)['message'] == (
      f'Invalid URL ({method} {path}); the method must be {" or ".join(right)}'
    )
  _, _, data = served.raw('GET', '/no%0Athing')
  assert harness.error_of(data)['message'] == r'Invalid URL (GET /no\nthing)'


def test_a_crash_tells_nothing(served, caplog):
  caplog.set_level(logging.CRITICAL, logger='uvicorn.error')
  status, _, data = served.raw('GET', '/crash')
  error = harness.error_of(data)
  assert (status, error['type']) == (500, 'server_error')
  assert b'secret' not in data


def test_bad_bodies(served):
  for body in (b'', b'{', b'[]', b'{"a": NaN}', b'\xff', b'[' * 10**5):
    status, _, data = served.post(body)
    assert (status, harness.error_of(data)['code']) == (400, 'invalid_json')
  good = {'model': 'tiny', 'messages': harness.MESSAGES}
  for kind in ('text/plain', 'application/x-www-form-urlencoded', ''):
    status, _, data = served.post(good, headers={'Content-Type': kind})
    assert (status, harness.error_of(data)['code']) == (
      400,
      'invalid_content_type',
    )
  kind = 'Application/JSON; charset=utf-8'
  assert served.post(good, headers={'Content-Type': kind})[0] == 200


def test_body_limit():
  script = fake_engine.text_script('x')
  with harness.Served(
    script, limits=limits_lib.Limits(max_body_bytes=1000)
  ) as one:
    good = {'model': 'tiny', 'messages': harness.MESSAGES}
    padded = json.dumps(good).encode().ljust(1000)
    assert one.post(padded)[0] == 200
    for data in (padded + b' ', padded.ljust(10**6)):
      status, _, answer = one.post(data)
      assert (status, harness.error_of(answer)['code']) == (
        413,
        'body_too_large',
      )
    # Without a length in the header it is counted as it comes.
    status, _, answer = one.raw(
      'POST', '/v1/chat/completions', iter([padded, b' ']), {}
    )
    assert (status, harness.error_of(answer)['code']) == (413, 'body_too_large')
    assert one.post(padded)[0] == 200


def test_limits_are_the_servers_own():
  script = fake_engine.text_script('x')
  with harness.Served(script, limits=limits_lib.Limits(max_n=2)) as one:
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
      error = harness.error_of(data)
      assert error['code'] == 'invalid_host'
      assert repr(host) in error['message']
      assert 'localhost or 127.0.0.1 or [::1]' in error['message']


def test_api_key():
  with harness.Served(fake_engine.text_script('x'), api_keys=[KEY]) as one:
    assert one.raw('GET', '/health')[0] == 200
    for path in ('/v1/models', '/v1/models/tiny', '/nothing', '/health/'):
      for given in ({}, {'Authorization': f'Bearer {"x" * 9}'}):
        status, headers, data = one.raw('GET', path, headers=given)
        assert (status, harness.error_of(data)['code']) == (
          401,
          'invalid_api_key',
        )
        assert headers['www-authenticate'] == 'Bearer'
    with pytest.raises(openai.AuthenticationError):
      one.create()
    right = {'Authorization': f'Bearer {KEY}'.encode()}
    assert one.raw('GET', '/v1/models', headers=right)[0] == 200
    for scheme in ('bearer', 'BEARER'):
      alike = {'Authorization': f'{scheme} {KEY}'.encode()}
      assert one.raw('GET', '/v1/models', headers=alike)[0] == 200
    for wrong in (f'Basic {KEY}', KEY, f'Bearer{KEY}', f' {KEY}'):
      refused = {'Authorization': wrong.encode()}
      assert one.raw('GET', '/v1/models', headers=refused)[0] == 401
    short = {'Authorization': f'Bearer {KEY[:-1]}'.encode()}
    assert one.raw('GET', '/v1/models', headers=short)[0] == 401
