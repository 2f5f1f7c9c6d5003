"""Every parameter reaches `types.Request`; every limit is at its place."""

import dataclasses
import re
import time

import pytest

from chatjax import types
from chatjax.engine import admission
from chatjax.protocol import create as create_lib
from chatjax.protocol import json_body
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import parameters
from chatjax.protocol import request as request_lib
from chatjax.sampling import sampler

MESSAGES = [{'role': 'user', 'content': 'hi'}]
LIMITS = limits_lib.Limits()


def parse(**fields):
  body = {'model': 'm', 'messages': MESSAGES, **fields}
  return request_lib.parse(body, limits=LIMITS).request


def refuse(**fields) -> types.RequestError:
  with pytest.raises(types.RequestError) as caught:
    parse(**fields)
  assert len(str(caught.value)) < 400
  return caught.value


# Parameter, a value, the field of Request or SamplingParams, its value there.
EFFECTS = [
  ('temperature', 0.5, 'temperature', 0.5),
  ('temperature', 0, 'temperature', 0.0),
  ('top_p', 0.25, 'top_p', 0.25),
  ('top_p', 0, 'top_k', 1),
  ('max_completion_tokens', 7, 'max_tokens', 7),
  ('max_tokens', 7, 'max_tokens', 7),
  ('n', 3, 'n', 3),
  ('seed', -(2**63), 'seed', -(2**63)),
  ('seed', 2**63 - 1, 'seed', 2**63 - 1),
  ('stop', 'x', 'stop', ('x',)),
  ('stop', ['x', 'y'], 'stop', ('x', 'y')),
  ('presence_penalty', -2, 'presence_penalty', -2.0),
  ('frequency_penalty', 2, 'frequency_penalty', 2.0),
  ('logit_bias', {'5': -100}, 'logit_bias', {5: -100.0}),
  ('logprobs', True, 'logprobs', True),
  ('stream', True, 'stream', True),
  ('model', 'other', 'model', 'other'),
  ('top_k', 40, 'top_k', 40),
  ('min_p', 0.1, 'min_p', 0.1),
  ('repetition_penalty', 1.1, 'repetition_penalty', 1.1),
  ('min_tokens', 4, 'min_tokens', 4),
  ('ignore_eos', True, 'ignore_eos', True),
  ('stop_token_ids', [3, 4], 'stop_token_ids', (3, 4)),
  ('return_token_ids', True, 'return_token_ids', True),
  ('priority', -3, 'priority', -3),
  ('cache_salt', 's', 'cache_salt', 's'),
  ('prompt_cache_key', 'k', 'prompt_cache_key', 'k'),
  ('speculation', 'off', 'speculation', 'off'),
  ('prediction', {'type': 'content', 'content': 'ab'}, 'prediction', 'ab'),
  ('include_stop_str_in_output', True, 'include_stop', True),
  ('bad_words', ['x', 'y'], 'bad_words', ('x', 'y')),
  ('allowed_token_ids', [3, 4], 'allowed_token_ids', (3, 4)),
  ('logprobs_mode', 'sampled', 'logprobs_mode', 'sampled'),
  ('prompt_logprobs', 0, 'prompt_logprobs', 0),
  ('parallel_tool_calls', False, 'parallel_tool_calls', False),
  ('reasoning_effort', 'xhigh', 'reasoning_effort', 'xhigh'),
  ('thinking_token_budget', 0, 'thinking_token_budget', 0),
  ('verbosity', 'low', 'verbosity', 'low'),
  ('chat_template_kwargs', {'a': [1, {}]}, 'chat_template_kwargs',
   {'a': [1, {}]}),
  ('add_generation_prompt', False, 'add_generation_prompt', False),
  ('metadata', {'a': 'b'}, 'metadata', {'a': 'b'}),
  ('service_tier', 'auto', 'service_tier', 'default'),
  ('service_tier', 'default', 'service_tier', 'default'),
  ('service_tier', 'flex', 'service_tier', 'flex'),
  ('service_tier', 'flex', 'priority', 1),
  ('service_tier', 'priority', 'priority', -1),
  ('service_tier', 'priority', 'service_tier', 'priority'),
  ('service_tier', 'fast', 'service_tier', 'priority'),
  ('service_tier', 'fast', 'priority', -1),
  ('prediction',
   {'type': 'content', 'content': [
       {'type': 'text', 'text': 'a'}, {'type': 'text', 'text': 'b'}]},
   'prediction', 'ab'),
]  # fmt: skip


@pytest.mark.parametrize(('name', 'value', 'param'), [
    ('speculation', 'maybe', 'speculation'),
    ('speculation', True, 'speculation'),
    ('prediction', 'ab', 'prediction'),
    ('prediction', {'content': 'ab'}, 'prediction.type'),
    ('prediction', {'type': 'text', 'content': 'ab'}, 'prediction.type'),
    ('prediction', {'type': 'content'}, 'prediction.content'),
    ('prediction', {'type': 'content', 'content': 5}, 'prediction.content'),
    ('prediction', {'type': 'content', 'content': []}, 'prediction.content'),
    ('prediction', {'type': 'content', 'content': ['x'] * 200},
     'prediction.content'),
    ('prediction', {'type': 'content', 'content': 'ab', 'more': 1},
     'prediction.more'),
])  # fmt: skip
def test_guesses_are_checked(name, value, param):
  with pytest.raises(types.RequestError) as caught:
    parse(**{name: value})
  assert caught.value.param == param


@pytest.mark.parametrize(('name', 'value', 'field', 'expected'), EFFECTS)
def test_parameter_changes_the_request(name, value, field, expected):
  request, plain = parse(**{name: value}), parse()
  is_sampling = field in {f.name for f in dataclasses.fields(request.sampling)}
  got, before = (
    getattr(one.sampling if is_sampling else one, field)
    for one in (request, plain)
  )
  assert got == expected
  assert type(got) is type(expected)
  assert before != expected


def test_parameters_with_a_precondition():
  request = parse(logprobs=True, top_logprobs=5)
  assert request.sampling.top_logprobs == 5
  for name in ('include_usage', 'include_obfuscation'):
    for value in (True, False):
      request = parse(stream=True, stream_options={name: value})
      assert getattr(request, name) is value
  said = [*MESSAGES, {'role': 'assistant', 'content': 'x'}]
  request = parse(messages=said, continue_final_message=True)
  assert request.continue_final_message
  assert not request.add_generation_prompt
  assert parse(priority=5, service_tier='flex').priority == 5
  assert parse(priority=0, service_tier='priority').priority == 0


@pytest.mark.parametrize(
  ('name', 'value', 'field'),
  [
    ('user', 'u1', 'user'),
    ('safety_identifier', 's1', 'safety_identifier'),
    ('prompt_cache_retention', '24h', 'prompt_cache_retention'),
  ],
)
def test_what_is_recorded(name, value, field):
  body = {'model': 'm', 'messages': MESSAGES, name: value}
  parsed = request_lib.parse(body)
  assert parsed.request == parse()
  assert getattr(parsed, field) == value


def test_what_says_what_is_done_anyway():
  assert parse(modalities=['text']) == parse()
  assert parse(prompt_cache_options={'mode': 'implicit'}) == parse()
  assert parse(prompt_cache_options={}) == parse()
  assert parse(store=False) == parse()
  for value in (['audio'], ['text', 'audio'], ['text', 'text'], [], ['x']):
    error = refuse(modalities=value)
    assert (error.param, error.code) == ('modalities', 'unsupported_parameter')
  for name, value in (('mode', 'explicit'), ('ttl', '30m')):
    error = refuse(prompt_cache_options={name: value})
    assert error.param == f'prompt_cache_options.{name}'


def test_priorities_are_those_of_the_engine():
  assert create_lib.MAX_PRIORITY == admission.MAX_PRIORITY


def test_defaults_are_those_of_openai():
  assert parse() == types.Request(messages=MESSAGES, model='m')
  nulls = dict.fromkeys(parameters.NAMES - {'model', 'messages'})
  assert parse(**nulls) == parse()


def test_unknown_fields_are_refused():
  for value in (None, 1):
    error = refuse(best_off=value)
    assert (error.param, error.code) == ('best_off', 'unknown_parameter')
  error = refuse(**{'x' * 10**6: 1})
  assert len(error.param) <= 100


EFFORTS = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max']


def nested(depth):
  return [nested(depth - 1)] if depth else []


# Parameter, values at its limits, values over and far over them.
RANGES = [
  ('temperature', [0, 2, 1.5], [-0.01, 2.01, 1e300, -1e300, 10**400]),
  ('top_p', [0, 1], [-0.01, 1.01, 1e300]),
  ('min_p', [0, 1], [-0.01, 1.01]),
  ('presence_penalty', [-2, 2], [-2.01, 2.01, 1e300]),
  ('frequency_penalty', [-2, 2], [-2.01, 2.01, 1e300]),
  ('repetition_penalty', [0.001, 1000], [0, -1, 0.0009, 1000.1]),
  ('n', [1, 8], [0, -1, 9, 2**31, 2**70]),
  ('max_tokens', [1, 2**31 - 1], [0, -1, 2**31, 2**70]),
  ('max_completion_tokens', [1, 2**31 - 1], [0, -1, 2**31, 2**70]),
  ('min_tokens', [0, 2**31 - 1], [-1, 2**31]),
  ('seed', [-(2**63), 2**63 - 1, 0], [-(2**63) - 1, 2**63, 10**400]),
  ('top_k', [-1, 0, 2**31 - 1], [-2, 2**31]),
  ('stop', ['a' * 1000, ['a'] * 4], ['', [], ['a', ''], ['a'] * 5, 'a' * 1001]),
  ('stop_token_ids', [[], [0] * 16], [[0] * 17, [-1], [2**31], [0] * 10**6]),
  ('user', ['u' * 512], ['u' * 513, 'u' * 10**6]),
  ('cache_salt', ['s', 's' * 512], ['', 's' * 513, 7]),
  ('prompt_cache_key', ['', 'k' * 512], ['k' * 513, 7]),
  ('priority', [-(10**6), 10**6], [10**6 + 1, -(10**6) - 1, 2**70, 0.5, True]),
  ('model', ['m' * 256], ['', 'm' * 257]),
  ('safety_identifier', ['', 's' * 128], ['s' * 129, 7]),
  ('prompt_cache_retention', ['in_memory'], ['in-memory', '', 24, ['24h']]),
  ('service_tier', ['auto', 'scale'], ['batch', '', 'x' * 10**6, 1, True]),
  ('reasoning_effort', EFFORTS, ['none ', '', 1, True, {}]),
  ('verbosity', ['low', 'medium', 'high'], ['none', '', 1, True]),
  ('thinking_token_budget', [0, 2**31 - 1], [-1, 2**31, 2**70, True, '1', 0.0]),
  ('prompt_logprobs', [0, 20], [-1, 21, True, '1', 1.0]),
  ('logprobs_mode', ['raw', 'tempered'], ['raw_logprobs', '', 1, []]),
  (
    'bad_words',
    [[], ['x'] * 100, ['x' * 1000]],
    [[''], ['x'] * 101, ['x' * 1001], 'x', [1], {}, ['\ud800']],
  ),
  (
    'allowed_token_ids',
    [[0], [0] * 10_000],
    [[], [0] * 10_001, [-1], [2**31], [True], [1.0], 5, 'x', {}],
  ),
  (
    'metadata',
    [{}, {str(i): 'v' * 512 for i in range(16)}, {'k' * 64: ''}],
    [
      {str(i): '' for i in range(17)},
      {'k': 'v' * 513},
      {'k' * 65: ''},
      {'': 'x'},
      {'k': 1},
      {'k': None},
      {1: 'v'},
      [],
      'x',
      {'k': '\ud800'},
    ],
  ),
  (
    'chat_template_kwargs',
    [{}, {'a': None, 'b': [1.5, {'c': True}]}],
    [
      [],
      'x',
      {'messages': []},
      {'tools': 1},
      {'bos_token': ''},
      {'eos_token': 1},
      {'add_generation_prompt': True},
      {1: 2},
      {'a': float('nan')},
      {'a': 10**400},
      {'a': {'b': '\ud800'}},
      {'a': set()},
      {'a': 'x' * 2**14},
      {'a': nested(64)},
    ],
  ),
  ('logit_bias', [{'0': 100}, {'1': -100.0}], [{'0': 100.5}, {'0': -101}]),
  (
    'logit_bias',
    [{str(i): 1 for i in range(300)}],
    [{str(i): 1 for i in range(301)}, {'a': 1}, {'-1': 1}, {'01': 1}, {'': 1}],
  ),
]


@pytest.mark.parametrize(('name', 'inside', 'outside'), RANGES)
def test_ranges(name, inside, outside):
  for value in inside:
    parse(**{name: value})
  for value in outside:
    error = refuse(**{name: value})
    assert re.split(r'[\[.]', error.param)[0] == name
    assert error.status == 400


FLOATS = [
  'temperature', 'top_p', 'min_p', 'presence_penalty', 'frequency_penalty',
  'repetition_penalty',
]  # fmt: skip
INTS = [
  'n', 'seed', 'top_k', 'max_tokens', 'max_completion_tokens', 'min_tokens',
  'top_logprobs',
]  # fmt: skip
BOOLS = [
  'logprobs', 'stream', 'ignore_eos', 'return_token_ids',
  'parallel_tool_calls', 'add_generation_prompt', 'continue_final_message',
  'include_stop_str_in_output',
]  # fmt: skip


def test_no_type_is_coerced():
  for name in FLOATS:
    for value in (True, '1', [1], float('nan'), float('inf'), -float('inf')):
      assert refuse(**{name: value}).param == name
  for name in INTS:
    for value in (True, '1', 1.0, [1]):
      assert refuse(**{name: value}).param == name
  for name in BOOLS:
    for value in (1, 'true', []):
      assert refuse(**{name: value}).param == name
  for name in ('user', 'model'):
    for value in (1, True, ['a']):
      assert refuse(**{name: value}).param == name
  for value in (True, '1', float('nan')):
    assert refuse(logit_bias={'5': value}).param == 'logit_bias[5]'
  assert refuse(stop=5).param == 'stop'
  assert refuse(stop=[5]).param == 'stop[0]'
  assert refuse(stop_token_ids=[True]).param == 'stop_token_ids[0]'
  assert refuse(logit_bias=[1]).param == 'logit_bias'


def test_the_message_names_the_range():
  assert 'between 0 and 2' in str(refuse(temperature=3))
  assert 'between 1 and 8' in str(refuse(n=9))
  assert 'between 1 and 8' in str(refuse(n=0))
  assert f'between {-(2**63)} and {2**63 - 1}' in str(refuse(seed=2**63))


@pytest.mark.parametrize(
  ('fields', 'sentence'),
  [
    (
      {'temperature': '1'},
      "Invalid type for 'temperature': it must be a number, but a string was"
      ' given.',
    ),
    (
      {'n': 1.5},
      "Invalid type for 'n': it must be an integer, but the number 1.5 was"
      ' given.',
    ),
    (
      {'stream': [True]},
      "Invalid type for 'stream': it must be true or false, but an array was"
      ' given.',
    ),
    (
      {'stop': {}},
      "Invalid type for 'stop': it must be a string or an array of strings,"
      ' but an object was given.',
    ),
    (
      {'logit_bias': {'5': None}},
      "Invalid type for 'logit_bias[5]': it must be a number, but null was"
      ' given.',
    ),
    (
      {'messages': [{'role': 'user', 'content': True}]},
      "Invalid type for 'messages[0].content': it must be a string or an array"
      ' of content parts, but true was given.',
    ),
    (
      {'messages': []},
      "Invalid value for 'messages': it has 0 entries; it must have at least"
      ' 1.',
    ),
    (
      {'messages': [{'role': 'user', 'content': [{'type': 'smell'}]}]},
      "Invalid value for 'messages[0].content[0].type': 'smell' was given; it"
      " must be 'text', 'refusal' or 'file'.",
    ),
    (
      {'model': 'm' * 257},
      "Invalid value for 'model': it has 257 characters; at most 256 are"
      ' allowed.',
    ),
    ({'stop': '\ud800'}, "Invalid value for 'stop': the character at 0"),
    ({'messages': [set()]}, "Invalid type for 'messages[0]': it must be an"),
    (
      {'messages': [{'role': 'user'}]},
      "Missing required parameter: 'messages[0].content'.",
    ),
    (
      {'tools': [{'type': 'function'}]},
      "Missing required parameter: 'tools[0].function'.",
    ),
    (
      {'tools': [{'type': 'function', 'more': 1}]},
      "Unknown parameter: 'tools[0].more'.",
    ),
    (
      {'tool_choice': []},
      "Invalid type for 'tool_choice': it must be a string or an object, but an"
      ' array was given.',
    ),
    ({'temperature': 10**400}, "Invalid value for 'temperature': 1000"),
    ({'n': 10**399}, 'n=1000'),
  ],
  ids=range(17),
)
def test_faults_are_sentences(fields, sentence):
  assert str(refuse(**fields)).startswith(sentence)


def test_bounds_are_those_of_the_sampler():
  for name, inside, _ in RANGES:
    if name in {f.name for f in dataclasses.fields(types.SamplingParams)}:
      for value in inside:
        sampler.host_params(parse(**{name: value}).sampling)
  low, high = create_lib.REPETITION_PENALTY
  for bound in (low, high):
    sampler.host_params(types.SamplingParams(repetition_penalty=bound))
  for beyond in (low * 0.99, high * 1.01):
    params = types.SamplingParams(repetition_penalty=beyond)
    with pytest.raises(types.RequestError):
      sampler.host_params(params)


def test_combinations():
  assert refuse(top_logprobs=0).param == 'top_logprobs'
  assert refuse(top_logprobs=3, logprobs=False).param == 'top_logprobs'
  assert refuse(top_logprobs=21, logprobs=True).param == 'top_logprobs'
  assert parse(top_logprobs=20, logprobs=True).sampling.top_logprobs == 20
  options = {'include_usage': True}
  assert refuse(stream_options=options).param == 'stream_options'
  for options in ({}, None, {'include_obfuscation': None}):
    asked = parse(stream=True, stream_options=options)
    assert asked == parse(stream=True)
  parse(stream_options=None)
  parse(top_logprobs=None)
  error = refuse(stream=True, stream_options={'x': 1})
  assert (error.param, error.code) == ('stream_options.x', 'unknown_parameter')
  assert refuse(max_tokens=3, max_completion_tokens=4).param == 'max_tokens'
  parse(max_tokens=3, max_completion_tokens=3)
  assert refuse(max_tokens=3, min_tokens=4).param == 'min_tokens'
  parse(max_tokens=3, min_tokens=3)


def message(**fields):
  return [{'role': 'user', 'content': 'x', **fields}]


@pytest.mark.parametrize(
  ('messages', 'param', 'code'),
  [
    ([], 'messages', 'invalid_value'),
    ('hi', 'messages', 'invalid_type'),
    ([1], 'messages[0]', 'invalid_type'),
    ([{}], 'messages[0].role', 'missing_required_parameter'),
    (
      [{'role': 'user'}],
      'messages[0].content',
      'missing_required_parameter',
    ),
    (
      [{'role': 'assistant', 'content': None}],
      'messages[0].content',
      'missing_required_parameter',
    ),
    (message(role='robot'), 'messages[0].role', 'invalid_value'),
    (message(role=1), 'messages[0].role', 'invalid_value'),
    (message(tool_calls=[]), 'messages[0].tool_calls', 'unknown_parameter'),
    (message(mood='x'), 'messages[0].mood', 'unknown_parameter'),
    (message(annotations=[]), 'messages[0].annotations', 'unknown_parameter'),
    (message(content=1), 'messages[0].content', 'invalid_type'),
    (message(content=[]), 'messages[0].content', 'invalid_value'),
    (
      message(content=[{'type': 'image_url', 'image_url': {'url': 'x'}}]),
      'messages[0].content[0].type',
      'unsupported_parameter',
    ),
    (
      message(content=[{'type': 'smell'}]),
      'messages[0].content[0].type',
      'invalid_value',
    ),
    (
      [*MESSAGES, *message(content=[{'type': 'text', 'text': 1}])],
      'messages[1].content[0].text',
      'invalid_type',
    ),
    (
      message(content='\ud800'),
      'messages[0].content',
      'invalid_value',
    ),
    (
      message(content=[{'type': 'text', 'text': '\ud800'}]),
      'messages[0].content[0].text',
      'invalid_value',
    ),
    (MESSAGES * 1001, 'messages', 'invalid_value'),
    (
      message(content=[{'type': 'text', 'text': 'x'}] * 101),
      'messages[0].content',
      'invalid_value',
    ),
  ],
)
def test_bad_messages(messages, param, code):
  error = refuse(messages=messages)
  assert (error.param, error.code) == (param, code)


def test_good_messages():
  roles = ('developer', 'system', 'user', 'assistant')
  given = [{'role': role, 'content': role} for role in roles]
  assert parse(messages=given).messages == given
  parts = [{'type': 'text', 'text': 'a'}, {'type': 'text', 'text': 'b'}]
  assert parse(messages=message(content=parts)).messages == [
    {'role': 'user', 'content': 'ab'}
  ]
  # An answer can be sent back as it came.
  answer = {
    'role': 'assistant', 'content': 'x', 'refusal': None, 'annotations': [],
    'tool_calls': [], 'audio': None, 'function_call': None, 'name': None,
  }  # fmt: skip
  assert parse(messages=[answer]).messages == [
    {'role': 'assistant', 'content': 'x'}
  ]
  parse(messages=MESSAGES * 1000)


def test_missing_fields():
  for body, param in (
    ({'messages': MESSAGES}, 'model'),
    ({'model': 'm'}, 'messages'),
  ):
    with pytest.raises(types.RequestError) as caught:
      request_lib.parse(body)
    assert caught.value.param == param
    assert caught.value.code == 'missing_required_parameter'


@pytest.mark.parametrize(
  'data',
  [
    b'',
    b'{',
    b'[1]',
    b'"x"',
    b'{"a": 1} x',
    b'{"a": NaN}',
    b'{"a": Infinity}',
    b'{"a": -Infinity}',
    b'{"a": %s}' % (b'9' * 5000),
    b'{"a": "\xff"}',
    b'{"a": "\\ud800"}',
    '{"a": 1}'.encode('utf-16'),
    b'{"a":' * 300 + b'1' + b'}' * 300,
    b'[' * 10**6,
    b'{"a":' * 10**5,
  ],
  ids=range(15),
)
def test_bad_json(data):
  start_s = time.thread_time()
  with pytest.raises(types.RequestError) as caught:
    json_body.loads(data)
  assert time.thread_time() - start_s < 0.05
  assert caught.value.code == 'invalid_json'
  assert len(str(caught.value)) < 300


def test_good_json():
  data = '{"a": {"b": [1, 2.5, "\\ud83d\\ude00é"]}, "c": null}'.encode()
  assert json_body.loads(data) == {'a': {'b': [1, 2.5, '😀é']}, 'c': None}


GOOD = b'"model": "m", "messages": [{"role": "user", "content": "x"}]'


@pytest.mark.parametrize(
  'data',
  [
    b'{%s, "n": 1, "n": 2}' % GOOD,
    b'{%s, "n": 1, "n": 1}' % GOOD,
    b'{%s, "\\u006e": 1, "n": 1}' % GOOD,
    b'{%s, "logit_bias": {"5": 1, "5": 2}}' % GOOD,
    b'{%s}' % GOOD.replace(b'"role"', b'"role": "system", "role"'),
  ],
)
def test_a_key_given_twice(data):
  with pytest.raises(types.RequestError, match='given twice') as caught:
    request_lib.parse_json(data, limits=LIMITS)
  assert caught.value.code == 'invalid_json'


def test_numbers_beyond_floats():
  for number in (b'1e999', b'-1e999', b'9' * 4000):
    data = b'{%s, "temperature": %s}' % (GOOD, number)
    with pytest.raises(types.RequestError) as caught:
      request_lib.parse_json(data, limits=LIMITS)
    assert caught.value.param == 'temperature'


@pytest.mark.parametrize(
  'more',
  [
    b'"messages": [%s]' % b','.join([b'{}'] * 300_000),
    b'"logit_bias": {%s}' % b','.join(b'"%d":1' % i for i in range(80_000)),
    b'"foo": [%s]' % b','.join([b'{}'] * 300_000),
    b'"stop": [%s]' % b','.join([b'"x"'] * 250_000),
    b'%s'
    % GOOD.replace(b'"role"', b'"f": [%s{}], "role"' % (b'{},' * 300_000)),
    b'"tools": [%s]' % b','.join([b'{}'] * 300_000),
    b'"metadata": {%s}' % b','.join(b'"%d":""' % i for i in range(80_000)),
    b'"stream_options": {%s}' % b','.join(b'"%d":1' % i for i in range(80_000)),
    b'"chat_template_kwargs": {"a": [%s]}' % b','.join([b'{}'] * 300_000),
    b'"allowed_token_ids": [%s]' % b','.join([b'1'] * 300_000),
    b'"structured_outputs": {"choice": [%s]}' % b','.join([b'""'] * 300_000),
  ],
  ids=range(11),
)
def test_far_over_a_limit_is_answered_fast(more):
  assert len(more) < LIMITS.max_body_bytes
  start_s = time.thread_time()
  with pytest.raises(types.RequestError):
    request_lib.parse_json(b'{%s}' % more, limits=LIMITS)
  assert time.thread_time() - start_s < 0.2


def test_limits_let_something_through():
  with pytest.raises(ValueError, match='max_n=0'):
    limits_lib.Limits(max_n=0)
