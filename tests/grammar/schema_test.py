"""Schemas: what they let through is valid, and what is not enforced is told."""

import contextlib
import itertools
import json
import re
import time

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jsonschema
import pytest

from chatjax import types
from tests.grammar import corpus
from tests.grammar import walks

SEEDS = {'BYTES': walks.BYTES, 'merging': walks.merging()}


def check(schema, text):
  value = json.loads(text)
  jsonschema.Draft202012Validator(_modern(schema)).validate(value)


def _modern(schema):
  """The validator reads the newest draft."""
  if isinstance(schema, dict) and isinstance(schema.get('items'), list):
    schema = dict(schema)
    schema['prefixItems'] = schema.pop('items')
    schema['items'] = schema.pop('additionalItems')
  return schema


@pytest.mark.parametrize('name', corpus.SCHEMAS)
@pytest.mark.parametrize('tokenizer', SEEDS.values(), ids=SEEDS)
def test_s1_what_is_drawn_is_valid(name, tokenizer):
  schema = corpus.SCHEMAS[name]
  grammar = walks.compiled(schema, tokenizer)
  texts = [walks.walk(grammar.matcher(), tokenizer, seed) for seed in range(12)]
  whole = [text for text in texts if text is not None]
  assert len(whole) >= 4
  for text in whole:
    check(schema, text)


# Nothing writes those without \\u; a constant with one is refused.
_CONTROL = re.compile(r'\\u00[01]|\\u007f|\x7f')
_JSON = st.recursive(
  st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=3),
  lambda inner: (
    st.lists(inner, max_size=2)
    | st.dictionaries(st.sampled_from('abk'), inner, max_size=2)
  ),
  max_leaves=4,
)
_LEAVES = st.sampled_from(
  [
    *({'type': 'integer'}, {'type': 'string', 'maxLength': 2}, {'minimum': 4}),
    *({'type': 'null'}, {'enum': [1, 'a', None]}, {'const': [1]}, {}),
    *({'type': 'boolean'}, {'type': 'number', 'maximum': 0.5}),
  ]
)


def _branches(inner):
  lists = st.lists(inner, min_size=1, max_size=2)
  names = st.dictionaries(st.sampled_from('abk'), inner, max_size=3)
  return (
    st.builds(lambda x: {'type': 'array', 'items': x, 'maxItems': 3}, inner)
    | st.builds(lambda x: {'type': 'array', 'prefixItems': x}, lists)
    | st.builds(lambda x: {'anyOf': x}, lists)
    | st.builds(lambda x: {'allOf': x}, lists)
    | st.builds(lambda x: {'oneOf': x}, lists)
    | st.builds(
      lambda x, more, need: {
        'type': 'object',
        'properties': x,
        'additionalProperties': more,
        'required': sorted(x)[:need],
      },
      names,
      inner | st.booleans(),
      st.integers(0, 3),
    )
  )


@settings(max_examples=150, deadline=None)
@given(
  schema=st.recursive(_LEAVES, _branches, max_leaves=6),
  seed=st.integers(0, 9),
)
def test_s1_made_up_schemas(schema, seed):
  try:
    grammar = walks.compiled(schema)
  except types.RequestError:
    return
  text = walks.walk(grammar.matcher(), walks.BYTES, seed, steps=150)
  if text is not None:
    check(schema, text)


@settings(max_examples=150, deadline=None)
@given(value=_JSON.filter(lambda x: _CONTROL.search(json.dumps(x)) is None))
def test_s1_a_constant_is_written_as_it_is(value):
  grammar = walks.compiled({'const': value})
  text = walks.walk(grammar.matcher(), walks.BYTES, 0)
  assert json.loads(text) == value
  assert walks.spells(grammar, json.dumps(value, ensure_ascii=False))


@settings(max_examples=100, deadline=None)
@given(value=st.floats(-1e15, 1e15))
def test_s1_a_number_is_written_as_it_is(value):
  try:
    grammar = walks.compiled({'const': value})
  except types.RequestError:
    return
  assert json.loads(walks.walk(grammar.matcher(), walks.BYTES, 0)) == value


FORMATS = {
  'date-time': r'\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)',
  'date': r'\d{4}-(0\d|1[0-2])-([0-2]\d|3[01])',
  'time': r'\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)',
  'duration': r'P[\dYMWDTHS]+',
  'email': r'[^@\s]+@[^@\s]+',
  'hostname': r'[A-Za-z0-9.-]+',
  'ipv4': r'(\d{1,3}\.){3}\d{1,3}',
  'ipv6': r'[0-9a-fA-F:]+',
  'uri': r'[A-Za-z][A-Za-z0-9+.-]*:\S*',
  'uuid': r'[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}',
}


@pytest.mark.parametrize('name', FORMATS)
def test_s1_formats(name):
  grammar = walks.compiled({'type': 'string', 'format': name}, is_strict=True)
  texts = [walks.walk(grammar.matcher(), walks.BYTES, s) for s in range(20)]
  whole = [json.loads(text) for text in texts if text is not None]
  assert len(whole) > 5
  assert all(re.fullmatch(FORMATS[name], text) for text in whole)


@pytest.mark.parametrize(
  ('schema', 'text'),
  [
    ({'anyOf': [{'minimum': 3}], 'oneOf': [{'type': 'integer'}]}, '2'),
    ({'properties': {'a': {'type': 'integer'}}}, '{"a": 1, "\\u0061": "x"}'),
    ({'patternProperties': {'^a': {'type': 'null'}}}, '{"\\u0061": 1}'),
    ({'type': 'string', 'maxLength': 1}, '"ab"'),
    ({'type': 'string', 'pattern': '^\\d$'}, '"٣"'),
    ({'type': 'integer'}, '1.0'),
    ({'required': ['a'], 'type': 'object'}, '{}'),
    ({'type': 'object'}, '[]'),
    ({'type': 'object'}, '{}{}'),
    ({'type': 'object'}, ' {}'),
  ],
)
def test_s1_what_is_kept_out(schema, text):
  assert not walks.spells(walks.compiled(schema), text)


UNENFORCED = {
  '/not': {'not': {'type': 'null'}},
  '/if': {'if': {}, 'then': {}},
  '/contains': {'type': 'array', 'contains': {}},
  '/uniqueItems': {'type': 'array', 'uniqueItems': True},
  '/propertyNames': {'propertyNames': {}},
  '/dependentRequired': {'dependentRequired': {}},
  '/unevaluatedProperties': {'unevaluatedProperties': False},
  '/$dynamicRef': {'$dynamicRef': '#'},
  '/$ref': {'$ref': 'https://example.com/x.json'},
  '/nullable': {'nullable': True},
  '/properties/a~1b~0c/oneOf': {
    'properties': {'a/b~c': {'oneOf': [{'type': 'integer'}, {'minimum': 1}]}}
  },
  '/oneOf': {
    'oneOf': [
      {'type': 'object', 'properties': {'a': {'const': 1}}, 'required': ['a']},
      {'type': 'object', 'properties': {'b': {'const': 1}}, 'required': ['b']},
    ]
  },
  '/items/oneOf': {'items': {'oneOf': [{'enum': [1, 2]}, {'enum': [2, 3]}]}},
  '/items/pattern': {'items': {'type': 'string', 'pattern': '(?=a)b'}},
  '/anyOf/1/allOf/0/pattern': {
    'anyOf': [{'type': 'null'}, {'allOf': [{'pattern': '\\bx'}]}]
  },
  '/$defs/x/not': {'$defs': {'x': {'not': {}}}, '$ref': '#/$defs/x'},
  '/properties/a/$ref': {'properties': {'a': {'$ref': '#/$defs/no'}}},
  '/minProperties': {'type': 'object', 'minProperties': 2},
  '/pattern': {'type': 'string', 'pattern': '^[a&&b]$'},
  '/additionalProperties/pattern': {
    'additionalProperties': {'pattern': '^a\\v$'}
  },
  '/exclusiveMinimum': {
    'type': 'number', 'exclusiveMinimum': 0, 'maximum': 0.5,
  },
  '/allOf/1/exclusiveMaximum': {
    'allOf': [{'minimum': 0.5}, {'exclusiveMaximum': 1}]
  },
  '/minimum': {'type': 'integer', 'minimum': 2**53 + 1},
  '/const': {'const': 90071992547410.75},
  '/enum/1': {'enum': [1, 12345678901234567890]},
  '/patternProperties': {
    'patternProperties': {'^a': {'type': 'null'}, 'b$': {'type': 'integer'}}
  },
  '/x-guidance': {'x-guidance': {'lenient': True}, 'type': 'integer'},
  '/multipleOf': {'type': 'integer', 'multipleOf': 999983},
  '/properties/a/$id': {'properties': {'a': {'$id': 'x'}}},
}  # fmt: skip


@pytest.mark.parametrize('pointer', UNENFORCED)
@pytest.mark.parametrize('is_strict', [False, True])
def test_s1_what_is_not_enforced_is_refused(pointer, is_strict):
  schema = UNENFORCED[pointer]
  if is_strict:  # nothing else to complain about
    schema = {'type': 'array', 'items': schema}
    if 'object' in str(schema) or 'properties' in str(schema):
      return
  with pytest.raises(types.RequestError) as caught:
    walks.compiled(schema, is_strict=is_strict)
  assert caught.value.param == 'response_format'
  where = f'/items{pointer}' if is_strict else pointer
  if is_strict and ('$defs' in pointer or pointer == '/$ref'):
    where = '/items'
  assert f'(at {where}' in str(caught.value)


@pytest.mark.parametrize(
  ('schema', 'pointer', 'word'),
  [
    ({'type': 'object'}, 'the root', 'additionalProperties'),
    (
      {
        'type': 'object',
        'properties': {'a': {}, 'b': {}},
        'required': ['a'],
        'additionalProperties': False,
      },
      '/properties/b',
      'required',
    ),
    ({'type': 'string', 'format': 'regex'}, '/format', 'uuid'),
  ],
)
def test_strict_asks_for_more(schema, pointer, word):
  with pytest.raises(types.RequestError, match=word) as caught:
    walks.compiled(schema, is_strict=True)
  assert f'(at {pointer})' in str(caught.value)
  walks.compiled(schema, is_strict=False)


@pytest.mark.parametrize(
  'schema',
  [
    *(None, 3, 'x', [], False, {'type': 'text'}, {'type': []}, {'enum': []}),
    *({'anyOf': {}}, {'anyOf': [3]}, {'properties': []}, {'required': 'a'}),
    *({'minLength': -1}, {'minLength': True}, {'maximum': '3'}, {'pattern': 3}),
    *({'multipleOf': 0}, {'$ref': 3}, {'$ref': '#'}, {'format': 3}),
    *({'minimum': float('nan')}, {'const': float('inf')}, {'const': '\ud800'}),
    *({'const': {1, 2}}, {'items': 3}, {'additionalItems': False}),
    *({'pattern': '('}, {'pattern': '\\'}, {'pattern': 'a{2,1}'}),
    {'type': 'integer', 'minimum': 5, 'maximum': 3},
    {'allOf': [{'type': 'integer'}, {'type': 'string'}]},
    {'$defs': {'a': {'$ref': '#/$defs/a'}}, '$ref': '#/$defs/a'},
    {'$ref': '#/properties', 'properties': {'not': {}}},
    {'minProperties': 'x'},
  ],
)
def test_a_wrong_schema_is_a_sentence(schema):
  with pytest.raises(types.RequestError) as caught:
    walks.compiled(schema)
  assert str(caught.value).endswith('.')
  assert '\n' not in str(caught.value)


_ANY = st.recursive(
  st.none()
  | st.booleans()
  | st.integers()
  | st.floats()
  | st.text(max_size=5)
  | st.sampled_from(['#', '#/$defs/a', 'object', 'integer', '^a*$', '(']),
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(
      st.sampled_from(
        [
          *('type', 'properties', 'items', 'enum', 'anyOf', 'allOf', 'oneOf'),
          *('$ref', '$defs', 'a', 'required', 'pattern', 'multipleOf', 'const'),
          *('minimum', 'maxLength', 'minProperties', 'prefixItems', 'format'),
        ]
      ),
      inner,
      max_size=4,
    )
  ),
  max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(schema=_ANY)
def test_nothing_crashes_it(schema):
  with contextlib.suppress(types.RequestError):
    walks.mask_of(walks.compiled(schema).matcher(), 9)


def _deep(levels):
  schema = {}
  for _ in range(levels):
    schema = {'items': schema}
  return schema


def _chain(number):
  links = {
    f'd{i}': {
      'required': ['a'],
      'properties': {'a': {'$ref': f'#/$defs/d{i + 1}'}},
    }
    for i in range(number)
  }
  return {'$defs': {**links, f'd{number}': {}}, '$ref': '#/$defs/d0'}


def _names(number, **more):
  return {'properties': {f'p{i}': more for i in range(number)}}


TOO_MUCH = {
  'deep': _deep(40),
  'too deep for Python': _deep(100_000),
  'chain': _chain(450),
  'names': _names(1001),
  'required': {'type': 'object', 'required': [f'r{i}' for i in range(1001)]},
  'values': {'enum': list(range(2001))},
  'bytes': {'const': 'x' * 2**16},
  'multiples': {'anyOf': [{'multipleOf': x} for x in (99, 98, 97, 95)]},
  'decimal multiple': {'type': 'number', 'multipleOf': 3.14159265},
  'tiny multiple': {'type': 'number', 'multipleOf': 1e-300},
  'repeats': {'type': 'string', 'pattern': '^(a{1000}){1000}$'},
  'quantifiers': {'type': 'string', 'pattern': '^' + 'a?' * 20_000 + '$'},
  'states': {
    'type': 'string', 'pattern': '^(a|b)*a(a|b){20}$', 'minLength': 100,
  },
  'patterns of names': {
    'patternProperties': {f'^x{i}_': {} for i in range(300)}
  },
  'product': {
    'allOf': [
      {'anyOf': [_names(4, title=f'{i}{j}') for j in range(9)]}
      for i in range(20)
    ]
  },
}  # fmt: skip


@pytest.mark.parametrize('name', TOO_MUCH)
def test_what_costs_too_much_is_refused_in_time(name):
  start = time.monotonic()
  with pytest.raises(types.RequestError):
    walks.compiled(TOO_MUCH[name])
  assert time.monotonic() - start < 2


ENOUGH = {
  'deep': _deep(30),
  'chain': _chain(140),
  'names': _names(1000, type='string'),
  'values': {'enum': [f'v{i}' for i in range(2000)]},
  'multiples': {'anyOf': [{'multipleOf': x} for x in (60, 3600, 0.01)]},
  'long strings': {'type': 'string', 'minLength': 10**6, 'maxLength': 10**9},
  'long lists': {'type': 'array', 'minItems': 10**6, 'maxItems': 10**9},
  'quantifiers': {'type': 'string', 'pattern': '^' + 'a?' * 500 + '$'},
  'patterns of names': {
    'patternProperties': {f'^x{i}_': {} for i in range(64)}
  },
  'options': {
    'oneOf': [
      {'properties': {'k': {'const': i}}, 'required': ['k'], 'type': 'object'}
      for i in range(100)
    ]
  },
}  # fmt: skip


@pytest.mark.parametrize('name', ENOUGH)
def test_what_is_allowed_takes_little_time(name):
  start = time.monotonic()
  walks.compiled(ENOUGH[name])
  assert time.monotonic() - start < 2


def test_fifty_properties_compile_in_50_ms():
  walks.compiled({})  # builds the vocabulary
  kinds = ('string', 'integer', 'boolean', 'number')
  properties = {
    f'field_{i}': {'type': kind, 'description': 'One of fifty.'}
    for i, kind in zip(range(50), itertools.cycle(kinds), strict=False)
  }
  took = []
  for i in range(5):  # the best of five: a machine may be busy
    start = time.monotonic()
    walks.compiled(
      {
        'type': 'object',
        'properties': {**properties, f'more_{i}': {'type': 'null'}},
        'required': [*properties, f'more_{i}'],
        'additionalProperties': False,
      },
      is_strict=True,
    )
    took.append(time.monotonic() - start)
  assert min(took) < 0.05


def test_s2_white_space_is_bounded():
  """At any place no more than one character of it may come."""
  grammar = walks.compiled({'type': 'object'})
  text = '{"a": [1, {"b": null}, "c"], "d": {}}'
  tokens = walks.BYTES.encode(text)
  blanks = set(b' \t\r\n')
  outside = _outside_strings(text)
  matcher = grammar.matcher()
  for i, token in enumerate(tokens):
    if outside[i]:
      fork = grammar.matcher()
      fork.advance(tokens[:i])
      assert _run(fork, blanks) <= 1
    matcher.advance([token])
  assert matcher.is_complete


def test_s2_greedy_white_space_ends():
  """A model that wants white space above all still comes to an end."""
  matcher = walks.compiled({'type': 'object', **_names(3)}).matcher()
  drawn = []
  for _ in range(400):
    allowed = walks.allowed(matcher, walks.BYTES)
    if set(allowed) <= walks.BYTES.eos_ids:
      break
    wanted = [x for x in b' \n\t\r}]"' if x in allowed]
    token = (wanted or allowed)[0]
    # In a string it would write for ever, as it would without a grammar.
    if drawn.count(0x22) % 2 and 0x22 in allowed:
      token = 0x22
    drawn.append(token)
    matcher.advance([token])
  assert json.loads(bytes(drawn)) == {}


def _run(matcher, blanks) -> int:
  run = 0
  while found := blanks.intersection(walks.allowed(matcher, walks.BYTES)):
    matcher.advance([min(found)])
    run += 1
    if run > 5:
      break
  return run


def _outside_strings(text):
  inside, out = False, []
  for char in text:
    if char == '"':
      inside = not inside
    out.append(not inside and char != '"')
  return out
