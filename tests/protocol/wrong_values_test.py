"""Every field, wrong in every way: 400, and the field is named."""

import copy
import re

import pytest

from chatjax import types
from chatjax.protocol import json_body
from chatjax.protocol import parameters
from chatjax.protocol import request as request_lib
from tests.protocol import samples

IMPLEMENTED = {row.path for row in parameters.TABLE} - parameters.REFUSED
# Whose insides are the caller's own.
OPEN = {
  'tools[].function.parameters', 'functions[].parameters',
  'response_format.json_schema.schema', 'structured_outputs.json',
  'chat_template_kwargs', 'metadata', 'logit_bias', 'messages[].parsed',
  'messages[].tool_calls[].function.parsed_arguments',
  'tool_choice.allowed_tools.tools[].function.parameters',
}  # fmt: skip
JUNK = (
  True, False, 1, -1, 0, 2**64, 10**400, 1.5, float('nan'), float('inf'),
  'zzz', '', '\ud800', 'z' * 2_000_000, [], [None], [[]], {}, {'zzz': 1},
)  # fmt: skip
# Fields that take more types than the samples show.
ALSO = {
  'stop': {str}, 'tool_choice': {str}, 'function_call': {str},
  'messages[].content': {str, type(None)}, 'prediction.content': {str},
  'structured_outputs.json': {str},
}  # fmt: skip
# Words, and whatever else is one of few values.
WORDS = {
  'messages[].role', 'messages[].content[].type',
  'messages[].tool_calls[].type',
  'tools[].type', 'tools[].custom.format.type',
  'tools[].custom.format.grammar.syntax', 'tool_choice', 'tool_choice.type',
  'tool_choice.allowed_tools.mode', 'tool_choice.allowed_tools.tools[].type',
  'function_call', 'response_format.type', 'reasoning_effort', 'verbosity',
  'prediction.type', 'prediction.content[].type', 'service_tier',
  'prompt_cache_options.mode', 'prompt_cache_retention', 'logprobs_mode',
  'speculation', 'messages[].tool_call_id', 'tool_choice.function.name',
  'tool_choice.custom.name', 'function_call.name',
  'tool_choice.allowed_tools.tools[].function.name',
  'tool_choice.allowed_tools.tools[].custom.name',
  'messages[].tool_calls[].function.arguments',
  'messages[].function_call.arguments',
  'messages[].content[].file.file_data',
  'tool_choice.allowed_tools.tools[].function.description',
}  # fmt: skip
# Of these.
MAY_BE_EMPTY = {
  'messages[].tool_calls[].function.arguments',
  'messages[].function_call.arguments',
}
# Texts that may be empty.
TEXTS = {
  'messages[].content', 'messages[].content[].text',
  'messages[].content[].refusal', 'messages[].refusal', 'messages[].reasoning',
  'messages[].reasoning_content', 'messages[].tool_calls[].custom.input',
  'tools[].function.description', 'tools[].custom.description',
  'functions[].description', 'response_format.json_schema.description',
  'prediction.content[].text', 'prediction.content', 'prompt_cache_key',
  'safety_identifier', 'user',
}  # fmt: skip
BOUNDED = {
  'tools[].function.description', 'tools[].custom.description',
  'functions[].description', 'response_format.json_schema.description',
  'prompt_cache_key', 'safety_identifier', 'user', 'cache_salt',
}  # fmt: skip


def places(value, where=()):
  """Paths to all that is inside, as tuples."""
  yield where
  pairs = ()
  if isinstance(value, dict) and pattern(where) not in OPEN:
    pairs = value.items()
  elif isinstance(value, list) and pattern(where) not in OPEN:
    pairs = enumerate(value)
  for step, inner in pairs:
    yield from places(inner, (*where, step))


def pattern(where):
  """('tools', 0, 'type') -> 'tools[].type'."""
  return re.sub(r'\[\d+\]', '[]', name(where))


def name(where):
  text = ''
  for step in where:
    text += f'[{step}]' if isinstance(step, int) else f'.{step}'
  return text.lstrip('.')


def at(body, where):
  for step in where:
    body = body[step]
  return body


def replaced(body, where, value):
  body = copy.deepcopy(body)
  at(body, where[:-1])[where[-1]] = value
  return body


ALL = [
  (idx, where)
  for idx, body in enumerate(samples.SAMPLES)
  for where in places(body)
  if where
]


def kinds_at(path):
  """Types that the samples show at a path."""
  shown = {
    type(at(samples.SAMPLES[idx], where))
    for idx, where in ALL
    if pattern(where) == path
  }
  shown |= ALSO.get(path, set())
  return shown | ({int} if float in shown else set())


def refused(body):
  with pytest.raises(types.RequestError) as caught:
    request_lib.parse(body)
  assert caught.value.status == 400
  assert len(str(caught.value)) < 1000
  return caught.value


def test_samples_are_right_and_have_every_field():
  for body in samples.SAMPLES:
    request_lib.parse(body)
  assert {pattern(where) for _, where in ALL} >= IMPLEMENTED
  assert WORDS | TEXTS | BOUNDED | OPEN | set(ALSO) <= IMPLEMENTED


@pytest.mark.parametrize('path', sorted(IMPLEMENTED))
def test_wrong_types(path):
  kinds = kinds_at(path)
  tried = 0
  for idx, where in ALL:
    if pattern(where) != path:
      continue
    for value in JUNK:
      if type(value) in kinds:
        continue
      error = refused(replaced(samples.SAMPLES[idx], where, value))
      assert error.param == name(where), (value, str(error))
      tried += 1
  assert tried > 3


@pytest.mark.parametrize('path', sorted(WORDS))
def test_wrong_words(path):
  for idx, where in ALL:
    if pattern(where) == path and str in kinds_at(path):
      for value in ('zzz', '', 'z' * 2_000_000, '\ud800'):
        if value == '' and path in MAY_BE_EMPTY:
          continue
        error = refused(replaced(samples.SAMPLES[idx], where, value))
        assert error.param == name(where), (value[:9], str(error))


@pytest.mark.parametrize(
  'path',
  sorted(
    path
    for path in IMPLEMENTED - WORDS
    if str in kinds_at(path)
  ),
)  # fmt: skip
def test_wrong_texts(path):
  wrong = ['\ud800']
  if path not in TEXTS:
    wrong.append('')
  if path in BOUNDED or path.endswith('name'):
    wrong.append('z' * 2_000_000)
  for idx, where in ALL:
    if pattern(where) == path:
      for value in wrong:
        error = refused(replaced(samples.SAMPLES[idx], where, value))
        assert error.param.startswith(name(where)), (value[:9], str(error))


@pytest.mark.parametrize('path', sorted({pattern(w) for _, w in ALL} | {''}))
def test_unknown_keys_and_wrong_entries(path):
  for idx, where in [(0, ()), *ALL]:
    value = at(samples.SAMPLES[idx], where)
    if pattern(where) != path or path in OPEN:
      continue
    if isinstance(value, dict):
      for key, shown in (('zzz', 'zzz'), ('z' * 500_000, None)):
        for item in (1, None):
          body = replaced(samples.SAMPLES[idx], (*where, key), item)
          error = refused(body)
          assert error.code == 'unknown_parameter'
          if shown:
            assert error.param == name((*where, shown))
          assert len(error.param) <= 100
    elif isinstance(value, list):
      for item in (None, True, [], 2**70, float('nan')):
        body = replaced(samples.SAMPLES[idx], where, [item])
        assert refused(body).param == name((*where, 0))


def test_empty_objects_and_arrays():
  may_be_empty = OPEN | {
    'stream_options', 'prompt_cache_options', 'tools', 'functions',
    'bad_words', 'stop_token_ids', 'messages[].tool_calls',
  }  # fmt: skip
  for idx, where in ALL:
    empty = type(at(samples.SAMPLES[idx], where))()
    if empty in ({}, []) and pattern(where) not in may_be_empty:
      error = refused(replaced(samples.SAMPLES[idx], where, empty))
      assert error.param.startswith(name(where))


@pytest.mark.parametrize('path', sorted(OPEN))
def test_open_objects(path):
  deep = {}
  for _ in range(100):
    deep = {'a': deep}
  wide = {'a': [0] * 200_000}
  shared = []
  for _ in range(50):
    shared = [shared, shared]  # two to the fifty, were it written out
  for idx, where in ALL:
    if pattern(where) != path:
      continue
    for value in (
      {'a': float('nan')}, {'a': [float('-inf')]}, {'a': 10**400}, deep, wide,
      {'a': '\ud800'}, {'\ud800': 1}, {1: {2: set()}}, {'a': {1, 2}},
      {'z' * 2_000_000: 1}, {'a': 'z' * 2_000_000}, {'a': shared},
    ):  # fmt: skip
      body = copy.deepcopy(samples.SAMPLES[idx])
      at(body, where[:-1])[where[-1]] = value
      error = refused(body)
      assert error.param.startswith(name(where))
      assert 'codec' not in str(error)


def test_null_is_absent():
  for idx, where in ALL:
    body = samples.SAMPLES[idx]
    if not isinstance(where[-1], str):
      continue
    without = copy.deepcopy(body)
    del at(without, where[:-1])[where[-1]]
    assert outcome(replaced(body, where, None)) == outcome(without)


def outcome(body):
  try:
    return request_lib.parse(body)
  except types.RequestError as error:
    return error.param, error.code, str(error)


@pytest.mark.parametrize('number', [b'1e999', b'-1e999', b'9' * 4000])
def test_numbers_beyond_floats_in_json(number):
  for field in (
    b'"chat_template_kwargs": {"a": %s}',
    b'"tools": [{"type": "function", "function": {"name": "f", '
    b'"parameters": {"a": %s}}}]',
    b'"thinking_token_budget": %s',
  ):
    data = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], %s}'
    body = json_body.loads(data % (field % number))
    assert refused(body).param is not None
