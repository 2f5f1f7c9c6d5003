"""What binds an answer from its first token on."""

import numpy as np
import pytest

from chatjax import types
from chatjax.chat import outputs
from chatjax.chat import session as session_lib
from chatjax.chat.parsers import formats
from chatjax.grammar import compiler as compiler_lib
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine
from tests.chat import real_tokenizers

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


SCHEMA = {
  'type': 'object',
  'properties': {'a': {'type': 'integer'}},
  'required': ['a'],
  'additionalProperties': False,
}
THOUGHT = '<|channel|>analysis<|message|>so<|end|><|start|>assistant'


@pytest.mark.slow
@pytest.mark.parametrize('budget', [None, 5])
@pytest.mark.parametrize('tools', [(), (types.Tool(name='f'),)])
@pytest.mark.parametrize(
  ('kind', 'source', 'content'),
  [
    ('json_object', None, '{"b": "c"}'),
    ('json_schema', SCHEMA, '{"a": 1}'),
    ('choice', ['yes', 'no'], 'no'),
    ('regex', '[a-c]+', 'abc'),
    ('lark', 'start: "x" NUM\nNUM: /[0-9]+/', 'x12'),
  ],
)
def test_gpt_oss_keeps_to_it_in_its_final_message(
  kind, source, content, tools, budget
):
  tokenizer, chat_format = real_tokenizers.read('gptoss')
  planner = outputs.Planner(
    tokenizer, formats.get('harmony'), compiler_lib.Compiler(tokenizer)
  )
  grammar = types.Grammar(kind=kind, source=source, is_strict=True)
  messages = [{'role': 'user', 'content': 'hi'}]
  request = types.Request(messages=messages, grammar=grammar, tools=tools)
  plan = planner.plan(
    request, prompt=chat_format.render(messages), budget=budget, can_think=True
  )

  def takes(text):
    ids = tokenizer.encode_template(text, mark='\ufdd0')
    ids.append(tokenizer.special_ids['<|return|>'])
    constraint = plan.constraint()
    mask_GW = np.zeros((1, -(-tokenizer.vocab_size // 32)), np.uint32)
    for token_id in ids:
      constraint.masks((), mask_GW)
      if not mask_GW[0, token_id // 32] >> token_id % 32 & 1:
        return False
      constraint.advance([token_id])
    return True

  final = '<|channel|>final<|message|>'
  assert takes(final + content)
  assert takes(THOUGHT + final + content)
  assert not takes(content)
  assert not takes(final + 'Hello')
  assert not takes(final + content + ' and more')
