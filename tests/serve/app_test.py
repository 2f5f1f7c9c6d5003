"""The official client against a real server with a scripted engine."""

import contextlib
import json
import logging
import time

import openai
from openai.types import chat as openai_chat
import pytest

from chatjax import types
from chatjax.testing import fake_engine
from tests.serve import harness

IDS = {'return_token_ids': True}


@pytest.fixture(scope='module')
def served():
  script = fake_engine.text_script('héllo wörld', 'second', 'third one')
  with harness.Served(script) as one:
    yield one


@pytest.fixture
def endless():
  script = fake_engine.text_script('x' * 4000, end=False)
  with harness.Served(script, block=1, pause_s=0.02) as one:
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
  body = {
    'model': 'tiny',
    'messages': harness.MESSAGES,
    'seed': -1,
    'max_tokens': 2,
  }
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
      'prompt_tokens_details': {
        'cached_tokens': 0,
        'audio_tokens': 0,
        'image_tokens': 0,
      },
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
    'model': 'tiny', 'messages': harness.MESSAGES, 'n': 2, 'logprobs': True,
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
      messages=harness.MESSAGES,
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
  served.create(messages=[*harness.MESSAGES, answer, *harness.MESSAGES])
  assert b'assistant: h' in bytes(served.engine.requests[-1].prompt_ids[1:])


def test_async_client(served):
  import asyncio

  async def ask():
    async with openai.AsyncOpenAI(**served.client_args) as client:
      create = client.chat.completions.create
      whole, stream = await asyncio.gather(
        create(model='tiny', messages=harness.MESSAGES),
        create(model='tiny', messages=harness.MESSAGES, stream=True),
      )
      text = [
        choice.delta.content or ''
        async for chunk in stream
        for choice in chunk.choices
      ]
      return whole.choices[0].message.content, ''.join(text)

  assert asyncio.run(ask()) == ('héllo wörld', 'héllo wörld')


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


def test_head_is_get_without_a_body(served):
  for path in ('/health', '/v1/models', '/v1/models/tiny', '/v1/models/other'):
    want, want_headers, data = served.raw('GET', path)
    got, headers, nothing = served.raw('HEAD', path)
    assert (got, nothing) == (want, b'')
    assert int(headers['content-length']) == len(data)
    assert headers['content-type'] == want_headers['content-type']


@pytest.mark.parametrize('is_stream', [False, True])
def test_disconnect_frees_the_rows_within_a_second(endless, is_stream):
  with contextlib.closing(endless.open_request(n=3, stream=is_stream)):
    harness.wait_until(lambda: endless.engine.num_open == 3)
    time.sleep(0.1)
    assert endless.engine.num_open == 3
  harness.wait_until(lambda: endless.engine.num_open == 0, timeout_s=1.0)


def test_disconnect_before_the_first_token():
  script = fake_engine.text_script('x' * 99)
  for is_stream in (False, True):
    with harness.Served(script, pause_s=2.0) as one:
      with contextlib.closing(one.open_request(stream=is_stream)):
        harness.wait_until(lambda: one.engine.num_open == 1)
      harness.wait_until(lambda: one.engine.num_open == 0, timeout_s=1.0)


def test_many_leave_and_one_more_is_answered(endless):
  connections = [endless.open_request(stream=idx % 2 == 0) for idx in range(30)]
  harness.wait_until(lambda: endless.engine.num_open == 30, timeout_s=5)
  for connection in connections:
    connection.close()
  harness.wait_until(lambda: endless.engine.num_open == 0, timeout_s=2)
  assert endless.create(max_tokens=2).choices[0].message.content == 'xx'


def test_the_client_closing_a_stream_frees_the_rows(endless):
  with endless.client() as client:
    stream = client.chat.completions.create(
      model='tiny', messages=harness.MESSAGES, stream=True
    )
    next(stream)
    stream.close()
  harness.wait_until(lambda: endless.engine.num_open == 0, timeout_s=1.0)


def test_a_failure_before_the_first_token_is_a_real_status():
  for is_stream in (False, True):
    with harness.Served(fake_engine.text_script('x' * 99), fail_after=0) as one:
      with pytest.raises(openai.InternalServerError) as caught:
        one.create(stream=is_stream)
      assert caught.value.status_code == 500
      assert 'scripted' not in str(caught.value)
      with pytest.raises(openai.InternalServerError) as caught:
        one.create(stream=is_stream)
      assert caught.value.status_code == 503
      status, _, data = one.raw('GET', '/health')
      assert (status, harness.error_of(data)['code']) == (503, 'engine_stopped')


@pytest.mark.parametrize('is_stream', [False, True])
def test_the_engines_words_go_to_the_log_alone(is_stream, monkeypatch, caplog):
  def submit(request, sink):
    if is_stream:
      sink.tokens(0, [fake_engine.fake_token(ord('x'), 0)])
    sink.error(types.ChatjaxError('page 7 of /secret is odd'))

  with harness.Served(fake_engine.text_script('x')) as one:
    monkeypatch.setattr(one.engine, 'submit', submit)
    body = {'model': 'tiny', 'messages': harness.MESSAGES, 'stream': is_stream}
    status, _, data = one.post(body)
  if is_stream:
    data = data.removesuffix(b'\n\n').rpartition(b'data: ')[2]
  assert status == (200 if is_stream else 500)
  error = harness.error_of(data)
  assert (error['type'], error['code']) == ('server_error', 'internal_error')
  assert 'secret' not in error['message']
  assert 'page 7 of /secret is odd' in caplog.text


def test_a_full_queue_says_when_to_come_back():
  script = fake_engine.text_script('x' * 4000, end=False)
  body = {'model': 'tiny', 'messages': harness.MESSAGES, 'n': 2}
  with harness.Served(script, block=1, pause_s=0.02, max_open=3) as one:
    with contextlib.closing(one.open_request(n=2)):
      harness.wait_until(lambda: one.engine.num_open == 2)
      status, headers, data = one.post(body)
      assert (status, harness.error_of(data)['code']) == (
        503,
        'server_overloaded',
      )
      assert headers['retry-after'] == '1'
    harness.wait_until(lambda: one.engine.num_open == 0)
    assert one.post({**body, 'max_tokens': 1})[0] == 200


def test_a_failure_inside_a_stream_is_an_event():
  with harness.Served(fake_engine.text_script('x' * 99), fail_after=2) as one:
    with pytest.raises(openai.APIError, match='server failed') as caught:
      one.stream()
    assert caught.value.code == 'internal_error'
  with harness.Served(fake_engine.text_script('x' * 99), fail_after=2) as one:
    body = {'model': 'tiny', 'messages': harness.MESSAGES, 'stream': True}
    status, _, data = one.post(body)
    assert status == 200
    *_, last, empty = data.decode().split('\n\n')
    assert empty == ''
    assert (
      harness.error_of(last.removeprefix('data: '))['type'] == 'server_error'
    )


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
