"""Sloppy schemas: what says nothing is dropped, what says wrong is named."""

import pytest

from chatjax import types
from chatjax.grammar import shape


def test_null_says_nothing():
  schema = {
    'type': 'object',
    'required': None,
    'properties': {'a': {'enum': [None], 'const': None, 'items': None}},
    '$defs': {'b': {'properties': None, 'default': None}},
    'anyOf': [{'required': None}, True],
  }
  assert shape.tidied(schema, 'x') == {
    'type': 'object',
    'properties': {'a': {'enum': [None], 'const': None}},
    '$defs': {'b': {'default': None}},
    'anyOf': [{}, True],
  }


def test_lists_of_older_drafts():
  old = {'items': [{'type': 'string'}], 'additionalItems': False}
  new = {'prefixItems': [{'type': 'string'}], 'items': False}
  assert shape.tidied(old, 'x') == new
  assert shape.tidied({'items': [True]}, 'x') == {'prefixItems': [True]}


@pytest.mark.parametrize(('schema', 'pointer'), [
  ({'type': 'str'}, '/type'),
  ({'type': [{}]}, '/type'),
  ({'type': []}, '/type'),
  ({'required': 'a'}, '/required'),
  ({'required': [1]}, '/required'),
  ({'properties': 5}, '/properties'),
  ({'properties': {'a/b': None}}, '/properties/a~1b'),
  ({'anyOf': 5}, '/anyOf'),
  ({'oneOf': []}, '/oneOf'),
  ({'allOf': [{'type': 1}]}, '/allOf/0/type'),
  ({'items': 'string'}, '/items'),
  ({'$ref': 5}, '/$ref'),
  ({'enum': 'a'}, '/enum'),
  ({'$defs': {'x': {'enum': []}}}, '/$defs/x/enum'),
])  # fmt: skip
def test_what_is_wrong_is_named(schema, pointer):
  with pytest.raises(types.RequestError) as caught:
    shape.tidied(schema, 'tools[0].function.parameters')
  assert caught.value.param == 'tools[0].function.parameters'
  assert f'(at {pointer})' in str(caught.value)
