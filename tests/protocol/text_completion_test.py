"""Requests for plain texts: every field does something, or is refused."""

import json

from openai.types import completion_create_params as official
import pytest

from chatjax import types
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import parameters
from chatjax.protocol import text_completion
from tests.protocol import parameters_test
from tests.protocol import samples
from tests.protocol import wrong_values_test

LIMITS = limits_lib.Limits(max_prompts=3)
SCHEMA_FORMAT = {
  'type': 'json_schema',
  'json_schema': {'name': 's', 'schema': samples.SCHEMA, 'strict': True},
}
# Field, a value, where it is in the request, what it is there.
EFFECTS = [
  ('temperature', 0, 'temperature', 0.0),
  ('top_p', 0.25, 'top_p', 0.25),
  ('top_p', 0, 'top_k', 1),
  ('n', 3, 'n', 3),
  ('seed', -(2**63), 'seed', -(2**63)),
  ('stop', 'x', 'stop', ('x',)),
  ('stop', ['x', 'y'], 'stop', ('x', 'y')),
  ('presence_penalty', -2, 'presence_penalty', -2.0),
  ('frequency_penalty', 2, 'frequency_penalty', 2.0),
  ('logit_bias', {'5': -100}, 'logit_bias', {5: -100.0}),
  ('logprobs', 0, 'logprobs', True),
  ('logprobs', 5, 'top_logprobs', 5),
  ('stream', True, 'stream', True),
  ('model', 'other', 'model', 'other'),
  ('max_tokens', 7, 'max_tokens', 7),
  ('top_k', 40, 'top_k', 40),
  ('min_p', 0.1, 'min_p', 0.1),
  ('repetition_penalty', 1.1, 'repetition_penalty', 1.1),
  ('min_tokens', 4, 'min_tokens', 4),
  ('ignore_eos', True, 'ignore_eos', True),
  ('stop_token_ids', [3, 4], 'stop_token_ids', (3, 4)),
  ('include_stop_str_in_output', True, 'include_stop', True),
  ('bad_words', ['x', 'y'], 'bad_words', ('x', 'y')),
  ('allowed_token_ids', [3], 'allowed_token_ids', (3,)),
  ('logprobs_mode', 'sampled', 'logprobs_mode', 'sampled'),
  ('prompt_logprobs', 20, 'prompt_logprobs', 20),
  ('return_token_ids', True, 'return_token_ids', True),
  ('priority', -3, 'priority', -3),
  ('cache_salt', 's', 'cache_salt', 's'),
  ('speculation', 'off', 'speculation', 'off'),
  ('echo', True, 'has_echo', True),
  ('add_special_tokens', False, 'add_special_tokens', False),
  ('user', 'u', 'user', 'u'),
  ('prompt', [[1, 2], [0]], 'prompts', ((1, 2), (0,))),
]  # fmt: skip
# Types that a field takes; of the others all values are wrong.
TAKES = {
  'prompt': (str,), 'model': (str,), 'temperature': (int, float),
  'top_p': (int, float), 'n': (int,), 'seed': (int,), 'stop': (str,),
  'presence_penalty': (int, float), 'frequency_penalty': (int, float),
  'logit_bias': (dict,), 'stream': (bool,), 'stream_options': (dict,),
  'user': (str,), 'max_tokens': (int,), 'logprobs': (int,), 'echo': (bool,),
  'suffix': (), 'best_of': (int,), 'add_special_tokens': (bool,),
  'response_format': (dict,), 'structured_outputs': (dict,), 'top_k': (int,),
  'min_p': (int, float), 'min_tokens': (int,), 'ignore_eos': (bool,),
  'repetition_penalty': (int, float), 'stop_token_ids': (list,),
  'bad_words': (list,), 'include_stop_str_in_output': (bool,),
  'allowed_token_ids': (), 'logprobs_mode': (), 'prompt_logprobs': (int,),
  'return_token_ids': (bool,), 'priority': (int,), 'cache_salt': (str,),
  'speculation': (),
}  # fmt: skip
OUT_OF_RANGE = [
  ('prompt', 'a\ud800'), ('prompt', ['a', [1]]), ('prompt', [1, 'a']),
  ('prompt', [1.0]), ('prompt', [True]), ('prompt', [-1]),
  ('prompt', [2**31]), ('prompt', [[1], []]), ('prompt', [[1], [True]]),
  ('prompt', ['a'] * 4), ('prompt', [[1]] * 4), ('prompt', ['a', 'b\ud800']),
  ('model', ''), ('temperature', 2.1), ('temperature', -0.1), ('top_p', 1.1),
  ('n', 0), ('n', LIMITS.max_n + 1), ('seed', 2**63), ('stop', []),
  ('stop', ['a'] * 5), ('presence_penalty', 2.1), ('frequency_penalty', -2.1),
  ('logit_bias', {'x': 1}), ('user', 'u' * 513), ('max_tokens', -1),
  ('max_tokens', 0), ('max_tokens', 2**31), ('logprobs', -1), ('logprobs', 6),
  ('top_k', -2), ('min_p', 1.1), ('repetition_penalty', 0), ('min_tokens', -1),
  ('min_tokens', 17), ('bad_words', ['']), ('allowed_token_ids', []),
  ('logprobs_mode', 'x'), ('prompt_logprobs', 21), ('priority', 2**30),
  ('cache_salt', ''), ('speculation', 'x'), ('response_format', []),
  ('structured_outputs', {}), ('stop_token_ids', [5] * 17), ('suffix', ''),
  ('best_of', 2), ('best_of', 0), ('stream_options', {}),
]  # fmt: skip


def parse(**fields):
  body = {'model': 'm', 'prompt': 'x', **fields}
  return text_completion.parse(body, limits=LIMITS)


def refuse(**fields):
  with pytest.raises(types.RequestError) as caught:
    parse(**fields)
  assert caught.value.status == 400
  assert len(str(caught.value)) < 1000
  return caught.value


def found(asked, name):
  for place in (asked, asked.request, asked.request.sampling):
    if hasattr(place, name):
      return getattr(place, name)
  raise AssertionError(name)


@pytest.mark.parametrize(('field', 'value', 'name', 'wanted'), EFFECTS)
def test_fields_arrive(field, value, name, wanted):
  assert found(parse(**{field: value}), name) == wanted
  assert found(parse(), name) != wanted


def test_what_is_left_out():
  asked = parse()
  assert asked.prompts == ('x',)
  sampling = asked.request.sampling
  assert (sampling.max_tokens, sampling.temperature) == (16, 1.0)
  assert (sampling.logprobs, sampling.top_logprobs) == (False, 0)
  assert (asked.has_echo, asked.is_scored_only) == (False, False)
  assert asked.add_special_tokens
  assert parse(
    **dict.fromkeys(parameters.TEXT_NAMES - {'prompt', 'model'})
  ) == (asked)


def test_texts_may_be_formed():
  for fields, kind in (
    ({'response_format': SCHEMA_FORMAT}, 'json_schema'),
    ({'response_format': {'type': 'json_object'}}, 'json_object'),
    ({'structured_outputs': {'regex': 'a+'}}, 'regex'),
  ):
    assert parse(**fields).request.grammar.kind == kind
  assert parse(response_format={'type': 'text'}).request.grammar is None
  error = refuse(
    response_format=SCHEMA_FORMAT, structured_outputs={'regex': 'a'}
  )
  assert error.param == 'structured_outputs'


def test_prompts():
  for given, wanted in (
    ('', ('',)),
    (['a', ''], ('a', '')),
    ([1, 2], ((1, 2),)),
    ([[1, 2], [3]], ((1, 2), (3,))),
    ((1, 2), ((1, 2),)),
  ):
    assert parse(prompt=given).prompts == wanted


def test_scores_only():
  asked = parse(max_tokens=0, echo=True)
  assert asked.is_scored_only
  assert asked.request.sampling.max_tokens == 1  # the engine's least
  assert refuse(max_tokens=0, echo=True, min_tokens=1).param == 'min_tokens'


def test_options_of_streams():
  options = {'include_usage': True, 'include_obfuscation': True}
  request = parse(stream=True, stream_options=options).request
  assert (request.include_usage, request.include_obfuscation) == (True, True)
  assert refuse(stream_options=options).param == 'stream_options'
  error = refuse(stream=True, stream_options={'zzz': 1})
  assert error.param == 'stream_options.zzz'
  assert refuse(stream=True, prompt_logprobs=0).param == 'prompt_logprobs'


@pytest.mark.parametrize('field', sorted(TAKES))
def test_wrong_types(field):
  wrong = [x for x in wrong_values_test.JUNK if type(x) not in TAKES[field]]
  assert len(wrong) > 8
  for value in wrong:
    error = refuse(**{field: value})
    assert error.param.partition('[')[0] == field, (value, str(error))


@pytest.mark.parametrize(('field', 'value'), OUT_OF_RANGE)
def test_wrong_values(field, value):
  assert refuse(**{field: value}).param.partition('[')[0] == field


def test_what_is_refused():
  for field, values in {
    'suffix': ('x', '', 0, False, []),
    'best_of': (0, 1, 3, True, 2.0, '2', []),
  }.items():
    for value in values:
      error = refuse(n=2, **{field: value})
      assert (error.param, error.code) == (field, 'unsupported_parameter')
  assert parse(n=2, best_of=2) == parse(n=2)
  assert 'or give 2' in str(refuse(n=2, best_of=3))


@pytest.mark.parametrize(
  'field', ['messages', 'tools', 'top_logprobs', 'max_completion_tokens', 'zzz']
)
def test_unknown_fields(field):
  for value in (1, None):
    error = refuse(**{field: value})
    assert (error.param, error.code) == (field, 'unknown_parameter')


def test_missing_fields():
  for body, param in (({'prompt': 'x'}, 'model'), ({'model': 'm'}, 'prompt')):
    with pytest.raises(types.RequestError) as caught:
      text_completion.parse(body, limits=LIMITS)
    assert caught.value.code == 'missing_required_parameter'
    assert caught.value.param == param


def test_keys_are_given_once():
  data = b'{"model": "m", "prompt": "x", "echo": true, "echo": false}'
  with pytest.raises(types.RequestError, match='twice'):
    text_completion.parse_json(data, limits=LIMITS)


def test_the_table_is_of_the_model_and_of_the_official_client():
  rows = {row.path: row for row in parameters.TEXT_TABLE}
  assert len(rows) == len(parameters.TEXT_TABLE)
  ours = parameters_test.walk(
    text_completion.CreateCompletion, '', parameters_test.our_fields
  )
  refused = {
    path
    for path, row in rows.items()
    if row.status is parameters.Status.REFUSED
  }
  assert refused == {'suffix', 'best_of'}
  assert set(ours) | refused == set(rows)
  theirs = set(
    parameters_test.walk(
      official.CompletionCreateParamsNonStreaming,
      '',
      parameters_test.official_fields,
    )
  )
  assert {path for path, row in rows.items() if not row.is_extension} == theirs
  assert set(TAKES) == parameters.TEXT_NAMES


def test_capabilities():
  told = parameters.capabilities('some-model', LIMITS)
  assert json.loads(json.dumps(told)) == told
  rows = {row['path']: row for row in told['completion_parameters']}
  assert rows['prompt']['allowed'].endswith('1 to 3 of either')
  assert rows['suffix']['status'] == 'refused'
  assert rows['temperature']['does'].startswith('Divides the logits')
