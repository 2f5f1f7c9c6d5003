"""POST /v1/completions by the official client, on a scripted engine."""

import asyncio
import contextlib
import itertools
import json
import logging
import socket
import time

import openai
import pytest

from chatjax import types
from chatjax.protocol import limits as limits_lib
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine
from tests.serve import harness

PATH = '/v1/completions'
BOS, EOS = byte_tokenizer.BOS, byte_tokenizer.EOS


def script(request, choice):
  """Says the prompt backwards, then which choice it is."""
  ids = [one for one in request.prompt_ids if one < BOS]
  return [*ids[::-1], ord('0') + choice, EOS]


@pytest.fixture(scope='module')
def served():
  with harness.Served(script, block=2) as one:
    yield one


@pytest.fixture
def endless():
  ids = [ord('x')] * 4000
  with harness.Served(lambda *_: ids, block=1, pause_s=0.02) as one:
    yield one


def create(one, prompt='ab', *, is_strict=True, **fields):
  args = one.client_args | {'_strict_response_validation': is_strict}
  with openai.OpenAI(**args) as client:
    answer = client.completions.create(model='tiny', prompt=prompt, **fields)
    return list(answer) if fields.get('stream') else answer


def post(one, **fields):
  body = {'model': 'tiny', 'prompt': 'ab', **fields}
  status, _, data = one.post(body, path=PATH)
  return status, json.loads(data)


def open_request(one, **fields):
  """A socket that has sent a request and reads nothing yet."""
  data = json.dumps({'model': 'tiny', **fields}).encode()
  connection = socket.create_connection(('127.0.0.1', one.port))
  connection.sendall(
    b'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n'
    b'Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s'
    % (len(data), data)
  )
  return connection


def test_create(served):
  answer = create(served, 'héy', seed=7, user='me')
  (choice,) = answer.choices
  assert (choice.text, choice.finish_reason) == ('y��h0', 'stop')
  assert choice.logprobs is None
  assert answer.object == 'text_completion'
  assert answer.id.startswith('cmpl-')
  assert abs(answer.created - time.time()) < 10
  assert (answer.model, answer.system_fingerprint) == ('tiny', 'fp_fake')
  assert answer.chatjax['seed'] == 7
  assert answer.usage.prompt_tokens == 5
  assert answer.usage.completion_tokens == 6
  assert served.engine.requests[-1].prompt_ids[0] == BOS


def test_max_tokens_is_16_unless_it_is_said(served):
  (choice,) = create(served, 'a' * 50).choices
  assert (choice.text, choice.finish_reason) == ('a' * 16, 'length')
  (choice,) = create(served, 'a' * 50, max_tokens=20).choices
  assert choice.text == 'a' * 20


@pytest.mark.parametrize(
  ('prompt', 'texts'),
  [
    ('ab', ['ba0', 'ba1']),
    (['ab', 'cd'], ['ba0', 'ba1', 'dc0', 'dc1']),
    ([97, 98], ['ba0', 'ba1']),
    ([[97, 98], [99]], ['ba0', 'ba1', 'c0', 'c1']),
  ],
)
def test_prompts(served, prompt, texts):
  answer = create(served, prompt, n=2)
  assert [one.index for one in answer.choices] == list(range(len(texts)))
  assert [one.text for one in answer.choices] == texts
  has_start = isinstance(prompt, str) or isinstance(prompt[0], str)
  num_given = sum(len(text) - 1 for text in texts[::2])
  assert answer.usage.prompt_tokens == (num_given + has_start * len(texts[::2]))
  assert answer.usage.completion_tokens == 2 * num_given + 2 * len(texts)
  chunks = create(
    served, prompt, n=2, stream=True, is_strict=False,
    stream_options={'include_usage': True},
  )  # fmt: skip
  found = ['' for _ in texts]
  for chunk in chunks[:-1]:
    assert chunk.usage is None
    found[chunk.choices[0].index] += chunk.choices[0].text
  assert found == texts
  assert chunks[-1].choices == []
  assert chunks[-1].usage == answer.usage


def test_logprobs(served):
  (choice,) = create(served, 'é', logprobs=2).choices
  told = choice.logprobs
  assert told.tokens == ['�', '�', '0', '<eos>']
  assert told.text_offset == [0, 1, 2, 3]
  assert told.token_logprobs[2] == fake_engine.fake_token(ord('0'), 0).logprob
  assert told.top_logprobs[2] == {'0': -0.5, '1': -1.0}
  assert create(served, logprobs=0).choices[0].logprobs.top_logprobs[0] == {
    'b': fake_engine.fake_token(ord('b'), 0).logprob
  }


def test_echo(served):
  answer = create(served, ['ab', 'c'], echo=True)
  assert [one.text for one in answer.choices] == ['abba0', 'cc0']
  assert answer.usage.completion_tokens == 4 + 3
  # The client's own types know no null, with which OpenAI's lists begin.
  told = create(served, echo=True, logprobs=1, is_strict=False)
  told = told.choices[0].logprobs
  assert told.tokens == ['<bos>', 'a', 'b', 'b', 'a', '0', '<eos>']
  assert told.text_offset == [0, 0, 1, 2, 3, 4, 5]
  assert told.token_logprobs[0] is told.top_logprobs[0] is None
  assert None not in told.token_logprobs[1:]
  assert told.top_logprobs[1] == {'a': -0.5}


def test_the_prompt_alone(served):
  status, answer = post(served, echo=True, max_tokens=0, logprobs=1, n=2)
  assert status == 200
  for choice in answer['choices']:
    assert (choice['text'], choice['finish_reason']) == ('ab', 'length')
    assert choice['logprobs']['tokens'] == ['<bos>', 'a', 'b']
  assert answer['usage']['completion_tokens'] == 0
  assert answer['usage']['total_tokens'] == 3
  assert served.engine.requests[-1].max_tokens == 1
  chunks = create(
    served, echo=True, max_tokens=0, stream=True, is_strict=False,
    stream_options={'include_usage': True},
  )  # fmt: skip
  assert [c.choices[0].text for c in chunks[:-1]] == ['ab']
  assert chunks[-1].usage.completion_tokens == 0


def test_an_echo_in_a_stream(served):
  fields = {'echo': True, 'logprobs': 1, 'n': 2, 'is_strict': False}
  whole = create(served, ['abc', 'd'], **fields)
  chunks = create(served, ['abc', 'd'], stream=True, **fields)
  for choice in whole.choices:
    gained = [
      one.choices[0] for one in chunks if one.choices[0].index == choice.index
    ]
    assert ''.join(one.text for one in gained) == choice.text
    assert gained[-1].finish_reason == choice.finish_reason
    assert {one.finish_reason for one in gained[:-1]} <= {None}
    for name in ('tokens', 'token_logprobs', 'top_logprobs', 'text_offset'):
      parts = [getattr(one.logprobs, name) for one in gained if one.logprobs]
      joined = list(itertools.chain.from_iterable(parts))
      assert joined == getattr(choice.logprobs, name)


def test_as_the_evaluation_harness_asks(served):
  """What it does with the lists: all but the context and the last token."""
  contexts, continuations = [b'ab', b'c'], [b'cd', b'EFG']
  pairs = list(zip(contexts, continuations, strict=True))
  status, answer = post(
    served, prompt=[[*a, *b] for a, b in pairs], temperature=0, max_tokens=1,
    logprobs=1, seed=1234, echo=True,
  )  # fmt: skip
  assert status == 200
  for choice, (context, rest) in zip(answer['choices'], pairs, strict=True):
    told = choice['logprobs']
    assert told['tokens'][len(context) : -1] == list(rest.decode())
    assert told['token_logprobs'][len(context) : -1] == [
      fake_engine.fake_prompt_token(one, 1).logprob for one in rest
    ]
    for top in told['top_logprobs'][len(context) : -1]:
      assert max(top.values()) == -0.5
  # The lists have one more entry even where the model ends at once.
  with harness.Served(lambda *_: [EOS]) as one:
    _, answer = post(one, echo=True, logprobs=1, max_tokens=1, prompt=[97, 98])
  assert answer['choices'][0]['text'] == 'ab'
  assert answer['choices'][0]['logprobs']['tokens'] == ['a', 'b', '<eos>']


def test_extensions(served):
  answer = create(
    served, ['ab', 'c'],
    extra_body={
      'return_token_ids': True, 'prompt_logprobs': 1,
      'add_special_tokens': False, 'ignore_eos': True, 'priority': -2,
      'speculation': 'off', 'cache_salt': 's', 'min_tokens': 2, 'top_k': 3,
    },
  )  # fmt: skip
  first, second = answer.choices
  assert first.prompt_token_ids == [97, 98]
  assert second.token_ids == [*b'c0', EOS]
  assert first.prompt_logprobs[0] is None
  assert list(first.prompt_logprobs[1]) == ['98']
  assert len(second.prompt_logprobs) == 1
  asked = served.engine.requests[-1]
  assert asked.stop_ids == frozenset()
  assert (asked.priority, asked.speculation) == (-2, 'off')
  assert 's' in asked.cache_salt
  assert (asked.sampling.min_tokens, asked.sampling.top_k) == (2, 3)


def test_stops(served):
  for stop in ('a0', ['zz', 'a']):
    (choice,) = create(served, 'abc', stop=stop, logprobs=0).choices
    assert (choice.text, choice.finish_reason) == ('cb', 'stop')
    assert choice.logprobs.tokens == ['c', 'b']
  kept = {'include_stop_str_in_output': True}
  (choice,) = create(served, 'abc', stop='a0', extra_body=kept).choices
  assert choice.text == 'cba0'
  (choice,) = create(
    served, 'abc', extra_body={'stop_token_ids': [ord('b')]}
  ).choices
  assert (choice.text, choice.finish_reason) == ('c', 'stop')


def test_grammars_reach_the_engine(served):
  for fields in (
    {'structured_outputs': {'choice': ['yes', 'no']}},
    {'response_format': {'type': 'json_object'}},
    {'bad_words': ['x']},
  ):
    create(served, extra_body=fields)
    assert served.engine.requests[-1].constraint is not None
  create(served)
  assert served.engine.requests[-1].constraint is None


def test_the_stream_as_bytes(served):
  status, headers, data = served.post(
    {'model': 'tiny', 'prompt': 'a', 'stream': True, 'seed': 3}, path=PATH
  )
  assert (status, headers['cache-control']) == (200, 'no-cache')
  *events, done, rest = data.decode().split('\n\n')
  assert (done, rest) == ('data: [DONE]', '')
  events = [json.loads(event.removeprefix('data: ')) for event in events]
  assert {event['object'] for event in events} == {'text_completion'}
  assert [event.get('chatjax', {}).get('seed') for event in events] == (
    [3] + [None] * (len(events) - 1)
  )
  assert all('usage' not in event for event in events)
  assert headers['x-request-id'] == events[0]['id']


def test_padding(served):
  fields = {'stream': True, 'prompt': 'abcdef' * 9, 'max_tokens': 60}
  options = {'include_obfuscation': True}
  for more, has_padding in (({}, False), ({'stream_options': options}, True)):
    body = {'model': 'tiny', **fields, **more}
    _, _, data = served.post(body, path=PATH)
    first = json.loads(data.split(b'\n\n')[1].removeprefix(b'data: '))
    assert ('obfuscation' in first) == has_padding


@pytest.mark.parametrize('is_stream', [False, True])
@pytest.mark.parametrize(
  ('fields', 'param', 'code'),
  [
    ({'suffix': 'x'}, 'suffix', 'unsupported_parameter'),
    ({'best_of': 3}, 'best_of', 'unsupported_parameter'),
    ({'messages': []}, 'messages', 'unknown_parameter'),
    ({'max_tokens': 0}, 'max_tokens', 'invalid_value'),
    ({'logprobs': 6}, 'logprobs', 'invalid_value'),
    ({'logprobs': True}, 'logprobs', 'invalid_type'),
    ({'prompt': [97, 258]}, 'prompt', 'invalid_value'),
    ({'prompt': [[97], [258]]}, 'prompt', 'invalid_value'),
    ({'prompt': []}, 'prompt', 'invalid_type'),
    ({'prompt': ['a'] * 200}, 'prompt', 'invalid_value'),
    ({'prompt': 'x' * 4096}, 'prompt', 'context_length_exceeded'),
    ({'prompt': '', 'add_special_tokens': False}, 'prompt', 'invalid_value'),
    ({'n': limits_lib.Limits().max_n + 1}, 'n', 'invalid_value'),
    ({'stop_token_ids': [258]}, 'stop_token_ids', 'invalid_value'),
    ({'logit_bias': {'258': 1}}, 'logit_bias', 'invalid_value'),
    (
      {'structured_outputs': {'regex': '('}},
      'structured_outputs.regex',
      'invalid_value',
    ),
  ],
)
def test_refusals(served, fields, param, code, is_stream):
  status, body = post(served, **fields, stream=is_stream)
  told = harness.error_of(json.dumps(body))
  assert (status, told['param'], told['code']) == (400, param, code)
  harness.wait_until(lambda: served.engine.num_open == 0)


def test_other_refusals(served):
  with served.client() as client, pytest.raises(openai.NotFoundError) as caught:
    client.completions.create(model='gpt-9', prompt='x')
  assert caught.value.code == 'model_not_found'
  status, _, data = served.post(b'{"model"', path=PATH)
  assert (status, harness.error_of(data)['code']) == (400, 'invalid_json')
  status, headers, _ = served.raw('GET', PATH)
  assert (status, headers['allow']) == (405, 'POST')
  status, _, _ = served.raw('POST', PATH, b'{}', {'Content-Type': 'text/plain'})
  assert status == 400


def test_a_full_queue_refuses_all_prompts():
  ids = [ord('x')] * 4000
  with harness.Served(lambda *_: ids, pause_s=0.02, max_open=2) as one:
    status, body = post(one, prompt=['a', 'b', 'c'], max_tokens=3000)
    assert (status, body['error']['code']) == (503, 'server_overloaded')
    harness.wait_until(lambda: one.engine.num_open == 0)


def failing(request, choice):
  if request.prompt_ids[-1] == ord('b'):
    raise types.RequestError(
      'out of time', code='deadline_exceeded', status=504
    )
  return [ord('x')] * 4000


def test_a_failure_of_one_prompt_ends_all(caplog):
  caplog.set_level(logging.INFO, logger='chatjax')
  with harness.Served(failing, block=1, pause_s=0.02) as one:
    status, body = post(one, prompt=['a', 'b', 'c'], max_tokens=3000)
    assert (status, body['error']['code']) == (504, 'deadline_exceeded')
    harness.wait_until(lambda: one.engine.num_open == 0)
    harness.wait_until(lambda: len(caplog.messages) == 3)
  outcomes = sorted(
    (line.split()[0].rpartition('-')[2], line.split()[3])
    for line in caplog.messages
  )
  assert outcomes == [
    ('0', 'outcome=cancelled'), ('1', 'outcome=error'),
    ('2', 'outcome=cancelled'),
  ]  # fmt: skip


def test_a_failure_inside_a_stream():
  ids = [ord('x')] * 400
  with harness.Served(
    lambda *_: ids, block=1, pause_s=0.02, fail_after=9
  ) as one:
    _, _, data = one.post(
      {'model': 'tiny', 'prompt': ['a', 'b'], 'stream': True,
       'max_tokens': 300},
      path=PATH,
    )  # fmt: skip
  *_, last, rest = data.decode().split('\n\n')
  assert rest == ''
  assert json.loads(last.removeprefix('data: '))['error']['code'] == (
    'internal_error'
  )


@pytest.mark.parametrize('is_stream', [False, True])
def test_a_reader_who_leaves_stops_all(endless, is_stream):
  connection = open_request(
    endless, prompt=['a', 'b', 'c'], n=2, stream=is_stream, max_tokens=3000
  )
  harness.wait_until(lambda: endless.engine.num_open == 6)
  connection.close()
  harness.wait_until(lambda: endless.engine.num_open == 0)
  harness.wait_until(lambda: endless.gate.num_inside == 0)


def test_a_drain_ends_all(endless):
  connection = open_request(endless, prompt=['a', 'b'], max_tokens=3000)
  with contextlib.closing(connection):
    harness.wait_until(lambda: endless.engine.num_open == 2)
    endless.loop.call_soon_threadsafe(endless.gate.clear)
    assert b'server_shutting_down' in read_all(connection)
  assert endless.engine.num_open == 0


def read_all(connection):
  connection.settimeout(5)
  data = b''
  while b'}}' not in data:
    data += connection.recv(65536)
  return data


def test_chunks_of_prompts_come_as_they_are_made(endless):
  """No prompt waits for another's end."""
  with endless.client() as client:
    stream = client.completions.create(
      model='tiny', prompt=['a', 'b', 'c'], max_tokens=3000, stream=True
    )
    with stream:
      seen = [next(stream).choices[0].index for _ in range(12)]
  assert {seen.count(index) for index in range(3)} <= {3, 4, 5}


def test_async_client(served):
  async def ask():
    async with openai.AsyncOpenAI(
      **served.client_args, _strict_response_validation=True
    ) as client:
      return await client.completions.create(model='tiny', prompt=['ab', 'c'])

  answer = asyncio.run(ask())
  assert [one.text for one in answer.choices] == ['ba0', 'c0']


def test_every_prompt_has_its_line_in_the_log(served, caplog):
  caplog.set_level(logging.INFO, logger='chatjax')
  answer = create(served, ['ab', 'cde'], user='me')
  harness.wait_until(lambda: len(caplog.messages) == 2)
  lines = sorted(caplog.messages)
  for which, (line, num) in enumerate(zip(lines, (3, 4), strict=True)):
    assert line.startswith(f'id={answer.id}-{which} model=tiny status=200 ')
    assert f' prompt_tokens={num} ' in line
    assert " user='me'" in line
  assert 'ab' not in ''.join(lines).replace(answer.id, '')


def test_capabilities_tell_of_it(served):
  _, _, data = served.raw('GET', '/v1/capabilities')
  rows = {row['path'] for row in json.loads(data)['completion_parameters']}
  assert {'prompt', 'echo', 'suffix', 'stream_options.include_usage'} <= rows
