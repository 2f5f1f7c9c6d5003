"""What binds an answer from its first token on."""

import numpy as np
import pytest

from chatjax import types
from chatjax.chat import session as session_lib
from chatjax.chat.parsers import formats
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine

JSON = {'grammar': types.Grammar(kind='json_object')}
CALL = {
  'tools': (types.Tool(name='f', parameters={'type': 'object'}),),
  'tool_choice': types.ToolChoice(mode='required'),
}


def first_bytes(template, text='', **fields):
  """What an answer may begin with, or go on with after `text`."""
  engine = fake_engine.FakeEngine(fake_engine.text_script('x'))
  session = session_lib.Session(
    engine,
    byte_tokenizer.ByteTokenizer(),
    byte_tokenizer.ByteChatFormat(template_source=template),
    model_id='m',
    sampler_version=1,
    output_format=formats.get('hermes'),
  )
  messages = [{'role': 'user', 'content': 'hi'}]
  session.create(types.Request(messages=messages, **fields))
  constraint = engine.requests[-1].constraint()
  constraint.advance(list(text.encode()))
  mask_GW = np.zeros((1, -(-engine.vocab_size // 32)), np.uint32)
  constraint.masks((), mask_GW)
  bits = np.unpackbits(mask_GW.view(np.uint8), bitorder='little')
  return {chr(one) for one in np.flatnonzero(bits[:128])}


@pytest.mark.parametrize(
  ('template', 'begins'), [('<think></think>', True), ('', False)]
)
def test_s3_only_a_model_that_can_think_does_so_before_json(template, begins):
  assert '{' in first_bytes(template, **JSON)
  assert ('<' in first_bytes(template, **JSON)) == begins


@pytest.mark.parametrize(
  ('template', 'goes_on'), [('<think></think>', {'o', 'h'}), ('', {'o'})]
)
def test_s3_nor_before_a_forced_call(template, goes_on):
  """`<t` begins `<think>` and `<tool_call>`."""
  assert first_bytes(template, '<t', **CALL) == goes_on
