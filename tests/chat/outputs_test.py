"""What binds an answer from its first token on."""

import numpy as np
import pytest

from chatjax import types
from chatjax.chat import session as session_lib
from chatjax.chat.parsers import formats
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine

# What sloppy clients send as the schema of a tool.
SLOPPY = (
  {'type': 'object', 'properties': {'a': {'type': 'str'}}},
  {'type': 'object', 'required': None, 'properties': {'a': {}}},
  {'type': 'object', 'properties': None},
  {'type': 'object', 'properties': 5},
  {'type': 'object', 'properties': {'a': None}},
  {'type': [{}]},
  {'anyOf': 5},
  {'properties': {'a': {'anyOf': 5}}},
  {'properties': {'a': {'$ref': 5}}},
  {'properties': {'a': {'$ref': '#/x'}}, 'x': {'type': 'str'}},
  {'properties': {'a': {'items': ['string']}}},
)
JSON = {'grammar': types.Grammar(kind='json_object', param='response_format')}
CALL = {
  'tools': (types.Tool(name='f', parameters={'type': 'object'}),),
  'tool_choice': types.ToolChoice(mode='required'),
}


def first_bytes(template, text='', output_format='hermes', **fields):
  """What an answer may begin with, or go on with after `text`."""
  engine = fake_engine.FakeEngine(fake_engine.text_script('x'))
  session = session_lib.Session(
    engine,
    byte_tokenizer.ByteTokenizer(),
    byte_tokenizer.ByteChatFormat(template_source=template),
    model_id='m',
    sampler_version=1,
    output_format=formats.get(output_format),
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


@pytest.mark.parametrize('parameters', SLOPPY)
@pytest.mark.parametrize('name', sorted(set(formats.FORMATS) - {'harmony'}))
@pytest.mark.parametrize('more', [{}, JSON], ids=['forced', 'json'])
def test_a_sloppy_schema_is_a_guide_or_refused(name, parameters, more):
  mode = 'auto' if more else 'required'
  fields = {
    'tools': (types.Tool(name='f', parameters=parameters),),
    'tool_choice': types.ToolChoice(mode=mode),
  }
  try:
    begins = first_bytes('', output_format=name, **fields, **more)
  except types.RequestError as error:
    begins = error.param
  # Either some text may come, or a field is named.
  assert begins


def test_a_strict_function_without_parameters_takes_none():
  tool = types.Tool(name='f', is_strict=True)
  fields = {'tools': (tool,), 'tool_choice': CALL['tool_choice']}
  call = '<tool_call>\n{"name": "f", "arguments": {'
  assert first_bytes('', call, **fields) == {'}'}
