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
