"""Tools and what must be called; what the text must be."""

import pytest

from chatjax import types
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import request as request_lib
from tests.protocol import samples

FUNCTIONS = [{'name': 'f'}, {'name': 'g', 'parameters': samples.SCHEMA}]


def parse(*, limits=None, **fields):
  body = samples.body(**fields)
  return request_lib.parse(body, limits=limits).request


def refuse(**fields):
  with pytest.raises(types.RequestError) as caught:
    parse(**fields)
  return caught.value


def function(name='f', **fields):
  return {'type': 'function', 'function': {'name': name, **fields}}


def custom(**fields):
  return {'type': 'custom', 'custom': {'name': 'c', **fields}}


def allowed(*tools, mode='auto'):
  return {
    'type': 'allowed_tools',
    'allowed_tools': {'mode': mode, 'tools': list(tools)},
  }


def grammar(syntax, definition):
  grammar = {'syntax': syntax, 'definition': definition}
  return {'type': 'grammar', 'grammar': grammar}


def schema_format(**fields):
  schema = {'name': 's', 'schema': samples.SCHEMA, **fields}
  return {'type': 'json_schema', 'json_schema': schema}


def test_allowed_tools_may_be_whole_definitions():
  tools = [samples.FUNCTION, function('g', strict=False)]
  choice = parse(tools=tools, tool_choice=allowed(*tools)).tool_choice
  assert choice.allowed == {'f', 'g'}
  strict = samples.FUNCTION['function']['strict']
  for name, other in (
    ('description', 'another'), ('parameters', {}), ('strict', not strict),
  ):  # fmt: skip
    row = function(**samples.FUNCTION['function'] | {name: other})
    error = refuse(tools=tools, tool_choice=allowed(function('g'), row))
    place = 'tool_choice.allowed_tools.tools[1].function'
    assert error.param == f'{place}.{name}'


def test_tools():
  tools = [
    samples.FUNCTION,
    function('g'),
    samples.CUSTOM,
    {'type': 'custom', 'custom': {'name': 'd', 'format': {'type': 'text'}}},
  ]
  assert parse(tools=tools).tools == (
    types.Tool(
      name='f',
      description='What it does.',
      parameters=samples.SCHEMA,
      is_strict=True,
    ),
    types.Tool(name='g'),
    types.Tool(
      name='c',
      description='What it does.',
      is_custom=True,
      input_format=types.Grammar(
        kind='regex',
        source='a+',
        param='tools[2].custom.format.grammar.definition',
      ),
    ),
    types.Tool(name='d', is_custom=True),
  )
  lark = parse(tools=[custom(format=grammar('lark', 'start: "a"'))])
  assert lark.tools[0].input_format.kind == 'lark'
  assert not lark.uses_functions
  assert parse(tools=[]) == parse()


def test_the_old_form():
  request = parse(functions=FUNCTIONS)
  assert request.tools == (
    types.Tool(name='f'),
    types.Tool(name='g', parameters=samples.SCHEMA),
  )
  assert request.uses_functions
  assert not request.parallel_tool_calls
  assert request.tool_choice == types.ToolChoice()
  named = parse(functions=FUNCTIONS, function_call={'name': 'g'})
  assert named.tool_choice == types.ToolChoice(
    mode='required', allowed=frozenset({'g'}), is_named=True
  )
  for word in ('none', 'auto'):
    request = parse(functions=FUNCTIONS, function_call=word)
    assert request.tool_choice == types.ToolChoice(mode=word)
    assert parse(function_call=word).tool_choice == request.tool_choice
  assert parse(functions=FUNCTIONS, parallel_tool_calls=False).uses_functions


@pytest.mark.parametrize(
  ('choice', 'expected'),
  [
    ('none', types.ToolChoice(mode='none')),
    ('auto', types.ToolChoice(mode='auto')),
    ('required', types.ToolChoice(mode='required')),
    (
      samples.NAMED,
      types.ToolChoice(
        mode='required', allowed=frozenset({'f'}), is_named=True
      ),
    ),
    (
      samples.NAMED_CUSTOM,
      types.ToolChoice(
        mode='required', allowed=frozenset({'c'}), is_named=True
      ),
    ),
    (
      allowed(samples.NAMED, samples.NAMED_CUSTOM),
      types.ToolChoice(mode='auto', allowed=frozenset({'c', 'f'})),
    ),
    (
      allowed(samples.NAMED, mode='required'),
      types.ToolChoice(mode='required', allowed=frozenset({'f'})),
    ),
  ],
)
def test_choices(choice, expected):
  got = parse(tools=samples.TOOLS, tool_choice=choice).tool_choice
  assert got == expected


@pytest.mark.parametrize('name', ['f', 'A-z_0', 'x' * 64])
def test_good_names(name):
  assert parse(tools=[function(name)]).tools[0].name == name


@pytest.mark.parametrize('name', ['', 'a b', 'é', 'x' * 65, 'a\n', 'a.b', '٣'])
def test_bad_names(name):
  assert refuse(tools=[function(name)]).param == 'tools[0].function.name'
  assert refuse(functions=[{'name': name}]).param == 'functions[0].name'
  shown = refuse(response_format=schema_format(name=name))
  assert shown.param == 'response_format.json_schema.name'


@pytest.mark.parametrize(
  ('fields', 'param'),
  [
    ({'tool_choice': 'required'}, 'tool_choice'),
    ({'tool_choice': 'required', 'tools': []}, 'tool_choice'),
    ({'tool_choice': samples.NAMED}, 'tool_choice'),
    ({'tool_choice': allowed(samples.NAMED)}, 'tool_choice'),
    ({'tool_choice': 'any'}, 'tool_choice'),
    ({'tool_choice': {'type': 'auto'}}, 'tool_choice.type'),
    (
      {'tools': [function('g')], 'tool_choice': samples.NAMED},
      'tool_choice.function.name',
    ),
    (  # of the other kind
      {'tools': [function('c')], 'tool_choice': samples.NAMED_CUSTOM},
      'tool_choice.custom.name',
    ),
    (
      {
        'tools': [samples.FUNCTION],
        'tool_choice': allowed(samples.NAMED, samples.NAMED_CUSTOM),
      },
      'tool_choice.allowed_tools.tools[1].custom.name',
    ),
    (
      {'tools': [samples.FUNCTION], 'tool_choice': allowed()},
      'tool_choice.allowed_tools.tools',
    ),
    (
      {'tools': [samples.FUNCTION], 'tool_choice': {'type': 'function'}},
      'tool_choice.function',
    ),
    (
      {
        'tools': samples.TOOLS,
        'tool_choice': samples.NAMED | {'custom': {'name': 'c'}},
      },
      'tool_choice.custom',
    ),
    ({'tools': [function(), function()]}, 'tools'),
    ({'tools': [function('c'), custom()]}, 'tools'),
    ({'tools': [function(f'f{i}') for i in range(129)]}, 'tools'),
    ({'tools': [{'type': 'function'}]}, 'tools[0].function'),
    ({'tools': [{'function': {'name': 'f'}}]}, 'tools[0].type'),
    ({'tools': [{'type': 'web_search'}]}, 'tools[0].type'),
    ({'tools': [function() | {'custom': {'name': 'c'}}]}, 'tools[0].custom'),
    ({'tools': [{'type': 'function', 'function': {}}]},
     'tools[0].function.name'),
    (
      {'tools': [custom(format={'type': 'text', 'grammar': {}})]},
      'tools[0].custom.format.grammar.syntax',
    ),
    (
      {'tools': [custom(format=grammar('lark', 'x') | {'type': 'text'})]},
      'tools[0].custom.format.grammar',
    ),
    (
      {'tools': [custom(format={'type': 'grammar'})]},
      'tools[0].custom.format.grammar',
    ),
    (
      {'tools': [custom(format=grammar('regex', 'x' * (2**16 + 1)))]},
      'tools[0].custom.format.grammar.definition',
    ),
    ({'tools': [custom(strict=True)]}, 'tools[0].custom.strict'),
    ({'functions': FUNCTIONS * 2}, 'functions'),
    ({'functions': [{'name': 'f', 'strict': True}]}, 'functions[0].strict'),
    ({'function_call': {'name': 'f'}}, 'function_call'),
    ({'function_call': 'required', 'functions': FUNCTIONS}, 'function_call'),
    (
      {'function_call': {'name': 'h'}, 'functions': FUNCTIONS},
      'function_call.name',
    ),
    ({'functions': FUNCTIONS, 'tools': samples.TOOLS}, 'functions'),
    ({'functions': FUNCTIONS, 'tool_choice': 'auto'}, 'functions'),
    ({'function_call': 'auto', 'tools': samples.TOOLS}, 'function_call'),
    (
      {'functions': FUNCTIONS, 'parallel_tool_calls': True},
      'parallel_tool_calls',
    ),
  ],
)  # fmt: skip
def test_what_does_not_fit(fields, param):
  error = refuse(**fields)
  assert error.param == param
  assert error.status == 400


def test_grammars():
  json_object = types.Grammar(kind='json_object', param='response_format')
  cases = (
    ({'type': 'text'}, None),
    ({'type': 'json_object'}, json_object),
    (schema_format(), schema_grammar(is_strict=False)),
    (schema_format(strict=False), schema_grammar(is_strict=False)),
    (
      schema_format(strict=True, description='x'),
      schema_grammar(is_strict=True),
    ),
  )
  for given, expected in cases:
    assert parse(response_format=given).grammar == expected


def schema_grammar(*, is_strict):
  return types.Grammar(
    kind='json_schema',
    source=samples.SCHEMA,
    is_strict=is_strict,
    param='response_format.json_schema.schema',
  )


@pytest.mark.parametrize(
  ('name', 'value', 'kind', 'source'),
  [
    ('json', samples.SCHEMA, 'json_schema', samples.SCHEMA),
    ('json', '{"type": "object"}', 'json_schema', {'type': 'object'}),
    ('json', {}, 'json_schema', {}),
    ('regex', 'a+', 'regex', 'a+'),
    ('choice', ['a', 'b'], 'choice', ('a', 'b')),
    ('grammar', 'start: "a"', 'lark', 'start: "a"'),
  ],
)
def test_structured_outputs(name, value, kind, source):
  for more in ({}, {'response_format': {'type': 'text'}}):
    request = parse(structured_outputs={name: value}, **more)
    assert request.grammar == types.Grammar(
      kind=kind, source=source, param=f'structured_outputs.{name}'
    )


@pytest.mark.parametrize(
  ('fields', 'param'),
  [
    ({'structured_outputs': {}}, 'structured_outputs'),
    ({'structured_outputs': {'json': None}}, 'structured_outputs'),
    ({'structured_outputs': {'regex': 'a', 'choice': ['b']}},
     'structured_outputs'),
    ({'structured_outputs': {'json_object': True}},
     'structured_outputs.json_object'),
    ({'structured_outputs': {'choice': []}}, 'structured_outputs.choice'),
    ({'structured_outputs': {'choice': ['a', '']}},
     'structured_outputs.choice'),
    ({'structured_outputs': {'choice': ['a'] * 1001}},
     'structured_outputs.choice'),
    ({'structured_outputs': {'regex': ''}}, 'structured_outputs.regex'),
    ({'structured_outputs': {'json': '{'}}, 'structured_outputs.json'),
    ({'structured_outputs': {'json': '[]'}}, 'structured_outputs.json'),
    ({'structured_outputs': {'regex': 'a'},
      'response_format': {'type': 'json_object'}}, 'structured_outputs'),
    ({'response_format': {'type': 'json_schema'}},
     'response_format.json_schema'),
    ({'response_format': {'type': 'grammar'}}, 'response_format.type'),
    ({'response_format': {'type': 'text', 'json_schema': None, 'a': 1}},
     'response_format.a'),
    ({'response_format': schema_format() | {'type': 'text'}},
     'response_format.json_schema'),
    ({'response_format': schema_format(schema=None)},
     'response_format.json_schema.schema'),
    ({'response_format': schema_format(schema=True)},
     'response_format.json_schema.schema'),
    ({'response_format': schema_format(schema={'a': 'x' * 2**16})},
     'response_format.json_schema.schema'),
    ({'response_format': 'json'}, 'response_format'),
    ({'prompt_logprobs': 1, 'stream': True}, 'prompt_logprobs'),
    ({'continue_final_message': True}, 'continue_final_message'),
    ({'continue_final_message': True, 'add_generation_prompt': True,
      'messages': [{'role': 'assistant', 'content': 'x'}]},
     'continue_final_message'),
    ({'continue_final_message': True,
      'messages': [samples.USER, samples.OLD_CALLED]},
     'continue_final_message'),
  ],
)  # fmt: skip
def test_formats_that_do_not_fit(fields, param):
  assert refuse(**fields).param == param


def test_bounds_of_schemas():
  def nested(depth):
    return {'a': nested(depth - 1)} if depth else {}

  limits = limits_lib.Limits(max_json_depth=5, max_schema_bytes=100)
  for schema in (nested(4), {'a': 'x' * 91}, {'a': 'é' * 45}):
    assert parse(tools=[function(parameters=schema)], limits=limits)
  for schema in (nested(5), {'a': 'x' * 92}, {'a': 'é' * 46}):
    error = refuse(tools=[function(parameters=schema)], limits=limits)
    assert error.param == 'tools[0].function.parameters'
