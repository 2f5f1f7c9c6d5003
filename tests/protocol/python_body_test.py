"""What notebooks pass instead of JSON's values."""

import numpy as np
from openai.types import chat as openai_chat
import pytest

from chatjax import types
from chatjax.protocol import python_body
from chatjax.protocol import request as request_lib
from chatjax.protocol import response

ASKED = {'role': 'user', 'content': 'hi'}
SAID = {'role': 'assistant', 'content': 'x'}


def parse(**fields):
  body = {'model': 'm', 'messages': [ASKED], **fields}
  return request_lib.parse(python_body.plain(body)).request


def test_numpy_numbers():
  given = {
    'n': np.int64(2), 'seed': np.int32(-5), 'max_tokens': np.uint8(9),
    'temperature': np.float32(0.5), 'top_p': np.float64(0.25),
    'logit_bias': {np.int64(5): np.float16(1)}, 'stop_token_ids': (np.int8(3),),
  }  # fmt: skip
  plain = {
    'n': 2, 'seed': -5, 'max_tokens': 9, 'temperature': 0.5, 'top_p': 0.25,
    'logit_bias': {5: 1.0}, 'stop_token_ids': [3],
  }  # fmt: skip
  assert parse(**given) == parse(**plain)
  for value in python_body.plain(given).values():
    assert type(value) in (int, float, dict, list)


def test_tuples():
  parts = ({'type': 'text', 'text': 'hi'},)
  messages = ({'role': 'user', 'content': parts},)
  assert parse(messages=messages, stop=('a', 'b')) == parse(stop=['a', 'b'])


@pytest.mark.parametrize(
  'message',
  [
    openai_chat.ChatCompletionMessage(role='assistant', content='x'),
    openai_chat.ChatCompletionMessage(
      role='assistant', content='x', annotations=[], tool_calls=[]
    ),
    response.Message(
      role='assistant', content='x', refusal=None, annotations=[]
    ),
  ],
)
def test_message_objects(message):
  assert parse(messages=[ASKED, message]).messages == [ASKED, SAID]


def test_answers_with_calls_can_be_sent_back():
  said = response.Message(
    role='assistant',
    content=None,
    refusal=None,
    annotations=[],
    reasoning='hm',
    reasoning_content='hm',
    tool_calls=[
      response.FunctionToolCall(
        id='a',
        type='function',
        function=response.FunctionCall(name='f', arguments='{"x": 1}'),
      ),
      response.CustomToolCall(
        id='b', type='custom', custom=response.CustomCall(name='c', input='y')
      ),
    ],
  )
  read = openai_chat.ChatCompletionMessage.model_validate(
    said.model_dump(exclude_unset=True)
  )
  results = [
    {'role': 'tool', 'tool_call_id': one, 'content': 'x'} for one in 'ab'
  ]
  for message in (said, read):
    _, called, *_ = parse(messages=[ASKED, message, *results]).messages
    assert called['reasoning_content'] == 'hm'
    assert [one['function'] for one in called['tool_calls']] == [
      {'name': 'f', 'arguments': {'x': 1}},
      {'name': 'c', 'arguments': {'input': 'y'}},
    ]


def test_what_holds_itself_is_refused():
  messages = []
  messages.append({'role': 'user', 'content': messages})
  with pytest.raises(types.RequestError, match='too deep'):
    parse(messages=messages)


def test_nothing_else_is_made_to_fit():
  for fields, param in (
    ({'n': np.bool_(True)}, 'n'),
    ({'n': True}, 'n'),
    ({'n': np.float32(1)}, 'n'),
    ({'seed': np.uint64(2**63)}, 'seed'),
    ({'temperature': np.float64('nan')}, 'temperature'),
    ({'messages': {'role', 'user'}}, 'messages'),
  ):
    with pytest.raises(types.RequestError) as caught:
      parse(**fields)
    assert caught.value.param == param
