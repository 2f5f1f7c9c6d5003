"""Answers as the official client reads them, strictly."""

import json

import httpx
import openai
from openai.types import chat as openai_chat
import pytest

from chatjax import types
from chatjax.protocol import build
from chatjax.protocol import response

STOP, LENGTH = types.FinishReason.STOP, types.FinishReason.LENGTH
CALLS = types.FinishReason.TOOL_CALLS
WEATHER = types.ToolCall(id='call_1', name='weather', arguments='{"a": "é"}')
TIME = types.ToolCall(id='call_2', name='time', arguments='{}')
SHELL = types.ToolCall(id='call_3', name='sh', arguments='ls\n', is_custom=True)
ASKED = {'model': 'm', 'messages': [{'role': 'user', 'content': 'hi'}]}


def meta(**fields):
  return response.Meta(
    **{
      'id': 'chatcmpl-1', 'created': 5, 'model': 'm',
      'system_fingerprint': 'fp', 'seed': 7, 'choice_keys': ('k',),
      'sampler_version': 1, 'n': 1, 'prompt_ids': (1, 2, 3),
      'has_logprobs': False, 'has_token_ids': False, 'include_usage': True,
      'has_tools': True, **fields,
    }
  )  # fmt: skip


def result(*, text='', ids=(4, 5), reason=STOP, **fields):
  return types.ChoiceResult(
    text=text, token_ids=ids, logprobs=(), finish_reason=reason, **fields
  )


def whole(choice, more=None, **fields):
  """What a strict client makes of a whole answer, and the plain JSON."""
  answer = build.completion(
    meta(**fields),
    types.Completion(
      choices=(choice,), prompt_ids=(1, 2, 3), num_cached=0, seed=7,
      **(more or {}),
    ),
  )  # fmt: skip
  data = answer.model_dump_json(exclude_unset=True)
  with client(data, 'application/json') as one:
    read = one.chat.completions.create(**ASKED)
  openai_chat.ChatCompletion.model_validate(json.loads(data), strict=True)
  return read, json.loads(data)


def chunks_of(*deltas, **fields):
  builder = build.ChunkBuilder(meta(**fields))
  made = list(builder.start())
  for delta in deltas:
    made += builder.add(delta)
  made += builder.end(0, types.Drafted())
  return [
    json.loads(chunk.model_dump_json(exclude_unset=True)) for chunk in made
  ]


def accumulated(chunks):
  """What the client's own helper makes of a stream."""
  events = ''.join(f'data: {json.dumps(chunk)}\n\n' for chunk in chunks)
  data = f'{events}data: [DONE]\n\n'
  with (
    client(data, 'text/event-stream') as one,
    one.chat.completions.stream(**ASKED) as stream,
  ):
    return stream.get_final_completion()


def client(data, kind):
  def answer(request):
    return httpx.Response(200, content=data, headers={'content-type': kind})

  return openai.OpenAI(
    api_key='x',
    base_url='http://x/v1',
    http_client=httpx.Client(transport=httpx.MockTransport(answer)),
    _strict_response_validation=True,
  )


def delta(text='', ids=(), **fields):
  return types.Delta(choice=0, text=text, token_ids=ids, **fields)


def test_calls_without_text():
  read, plain = whole(result(calls=(WEATHER, TIME), reason=CALLS))
  message = read.choices[0].message
  assert message.content is None
  assert [call.id for call in message.tool_calls] == ['call_1', 'call_2']
  assert [call.type for call in message.tool_calls] == ['function'] * 2
  called = message.tool_calls[0].function
  assert (called.name, called.arguments) == ('weather', '{"a": "é"}')
  assert read.choices[0].finish_reason == 'tool_calls'
  shown = plain['choices'][0]['message']
  assert shown['content'] is None
  assert set(shown) == {
    'role', 'content', 'refusal', 'annotations', 'tool_calls'
  }  # fmt: skip


def test_custom_calls():
  read, _ = whole(result(text='ok', calls=(SHELL,), reason=CALLS))
  assert read.choices[0].message.content == 'ok'
  call = read.choices[0].message.tool_calls[0]
  assert (call.type, call.custom.name, call.custom.input) == (
    'custom', 'sh', 'ls\n'
  )  # fmt: skip


@pytest.mark.parametrize(
  ('fields', 'reason', 'shown'),
  [
    ({}, CALLS, 'tool_calls'),
    ({'is_named_choice': True}, CALLS, 'stop'),
    ({'is_named_choice': True}, LENGTH, 'length'),
    ({'uses_functions': True}, CALLS, 'function_call'),
    ({'uses_functions': True}, STOP, 'stop'),
    ({'uses_functions': True, 'is_named_choice': True}, CALLS, 'stop'),
  ],
)
def test_finish_reasons(fields, reason, shown):
  read, _ = whole(result(calls=(WEATHER,), reason=reason), **fields)
  assert read.choices[0].finish_reason == shown
  chunks = chunks_of(delta(calls=(WEATHER,), finish_reason=reason), **fields)
  assert chunks[-2]['choices'][0]['finish_reason'] == shown


def test_the_old_form():
  read, plain = whole(result(calls=(WEATHER,)), uses_functions=True)
  message = read.choices[0].message
  assert message.function_call.name == 'weather'
  assert message.function_call.arguments == '{"a": "é"}'
  assert 'tool_calls' not in plain['choices'][0]['message']
  chunks = chunks_of(
    delta(calls=(WEATHER,), ids=(4,)),
    delta(finish_reason=CALLS),
    uses_functions=True,
  )
  final = accumulated(chunks).choices[0]
  assert final.finish_reason == 'function_call'
  assert final.message.function_call == message.function_call
  assert final.message.content is None


def test_reasoning():
  read, plain = whole(
    result(text='x', reasoning='hm', num_reasoning=1), has_tools=False
  )
  shown = plain['choices'][0]['message']
  assert (shown['reasoning'], shown['reasoning_content']) == ('hm', 'hm')
  assert read.usage.completion_tokens_details.reasoning_tokens == 1
  _, plain = whole(result(text='x'))
  assert 'reasoning' not in plain['choices'][0]['message']
  deltas = [
    delta(reasoning='h', ids=(1,), num_reasoning=1),
    delta(reasoning='m', text='x', ids=(2, 3), num_reasoning=1),
    delta(finish_reason=STOP),
  ]
  final = accumulated(chunks_of(*deltas))
  assert final.choices[0].message.reasoning == 'hm'
  assert final.choices[0].message.reasoning_content == 'hm'
  assert final.choices[0].message.content == 'x'
  assert final.usage.completion_tokens == 3
  assert final.usage.completion_tokens_details.reasoning_tokens == 2


def test_calls_come_whole_and_once():
  deltas = [
    delta(text='a', calls=(WEATHER,), ids=(1, 2)),
    delta(calls=(TIME,), ids=(3,), finish_reason=CALLS),
  ]
  chunks = chunks_of(*deltas, has_token_ids=True)
  gains = [one['choices'][0] for one in chunks[1:-1]]
  assert [gain['token_ids'] for gain in gains] == [[1, 2], [], [3], []]
  assert gains[0]['delta'] == {'content': 'a'}
  assert gains[1]['delta'] == {
    'tool_calls': [
      {
        'index': 0,
        'id': 'call_1',
        'type': 'function',
        'function': {'name': 'weather', 'arguments': '{"a": "é"}'},
      }
    ]
  }
  assert [c['index'] for c in gains[2]['delta']['tool_calls']] == [1]
  assert gains[3]['delta'] == {}
  assert [g['finish_reason'] for g in gains] == [None] * 3 + ['tool_calls']
  final = accumulated(chunks).choices[0].message
  read, _ = whole(result(text='a', calls=(WEATHER, TIME)))
  assert [
    (c.id, c.function.name, c.function.arguments) for c in final.tool_calls
  ] == [
    (c.id, c.function.name, c.function.arguments)
    for c in read.choices[0].message.tool_calls
  ]


def test_custom_calls_in_a_stream():
  chunks = chunks_of(delta(calls=(SHELL,)), delta(finish_reason=CALLS))
  assert chunks[1]['choices'][0]['delta'] == {
    'tool_calls': [
      {
        'index': 0,
        'id': 'call_3',
        'custom': {'name': 'sh', 'input': 'ls\n'},
      }
    ]
  }
  call = accumulated(chunks).choices[0].message.tool_calls[0]
  assert call.id == 'call_3'
  assert call.custom == {'name': 'sh', 'input': 'ls\n'}


@pytest.mark.parametrize(
  ('deltas', 'has_tools', 'content'),
  [
    ([delta(calls=(WEATHER,)), delta(finish_reason=CALLS)], True, None),
    ([delta(finish_reason=STOP)], True, ''),
    ([delta(finish_reason=STOP)], False, ''),
    ([delta('a'), delta('b', finish_reason=STOP)], True, 'ab'),
    ([delta('a'), delta('b', finish_reason=STOP)], False, 'ab'),
  ],
)
def test_content_is_null_only_next_to_calls(deltas, has_tools, content):
  chunks = chunks_of(*deltas, has_tools=has_tools)
  assert accumulated(chunks).choices[0].message.content == content
  for chunk in chunks:
    openai_chat.ChatCompletionChunk.model_validate(chunk, strict=True)


def test_metadata_and_tier():
  read, plain = whole(
    result(text='x'), metadata={'a': 'b'}, service_tier='flex'
  )
  assert read.metadata == {'a': 'b'}
  assert read.service_tier == 'flex'
  _, plain = whole(result(text='x'))
  assert 'metadata' not in plain
  assert plain['service_tier'] == 'default'
  chunks = chunks_of(delta(finish_reason=STOP), service_tier='priority')
  assert {chunk['service_tier'] for chunk in chunks} == {'priority'}


def test_prompt_logprobs():
  entry = types.PromptLogprob(
    id=2, token='b', logprob=-1.5, rank=2,
    top=(types.PromptLogprob(id=9, token='c', logprob=-0.5, rank=1),
         types.PromptLogprob(id=2, token='b', logprob=-1.5, rank=2)),
  )  # fmt: skip
  low = types.PromptLogprob(id=3, token='d', logprob=-float('inf'), rank=99)
  more = {'prompt_logprobs': (None, entry, low)}
  _, plain = whole(result(text='x'), more)
  assert plain['prompt_logprobs'] == [
    None,
    {
      '2': {'logprob': -1.5, 'rank': 2, 'decoded_token': 'b'},
      '9': {'logprob': -0.5, 'rank': 1, 'decoded_token': 'c'},
    },
    {'3': {'logprob': -9999.0, 'rank': 99, 'decoded_token': 'd'}},
  ]
  _, plain = whole(result(text='x'))
  assert 'prompt_logprobs' not in plain
