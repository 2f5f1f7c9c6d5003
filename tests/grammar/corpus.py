"""JSON schemas of all kinds that are enforced, by name."""

_INT = {'type': 'integer'}
_STR = {'type': 'string'}
_SHORT = {'type': 'string', 'maxLength': 3}


def _object(properties, **more):
  return {'type': 'object', 'properties': properties, **more}


def _closed(properties, **more):
  return _object(
    properties, required=list(properties), additionalProperties=False, **more
  )


_CAT = _closed({'kind': {'const': 'cat'}, 'lives': _INT})
_DOG = _closed({'kind': {'const': 'dog'}, 'name': _SHORT})
_NODE = _closed(
  {
    'value': _INT,
    'next': {'anyOf': [{'$ref': '#/$defs/node'}, {'type': 'null'}]},
  }
)

SCHEMAS = {
  'anything': {},
  'any list': {'type': 'array'},
  'any object': {'type': 'object'},
  'null': {'type': 'null'},
  'boolean': {'type': 'boolean'},
  'integer': _INT,
  'number': {'type': 'number'},
  'string': _STR,
  'types': {'type': ['string', 'null', 'integer'], 'maxLength': 2},
  'enum of strings': {'enum': ['a', 'ab', 'é', '"', '\\', '\n', '']},
  'enum of all': {'enum': [1, 'one', None, True, 2.5, [1, 'x'], {'a': {}}]},
  'enum with a type': {'type': 'string', 'enum': ['a', 'b', 3]},
  'const': {'const': {'a': [1, 2.25, 1e-7], 'b': None}},
  'const of zero': {'const': -0.0},
  'integer in bounds': {'type': 'integer', 'minimum': -15, 'maximum': 107},
  'integer out of bounds': {
    'type': 'integer', 'exclusiveMinimum': 9, 'exclusiveMaximum': 12,
  },
  'number in bounds': {'type': 'number', 'minimum': -1.5, 'maximum': 2.25},
  'number out of bounds': {
    'type': 'number', 'exclusiveMinimum': 0, 'exclusiveMaximum': 1.125,
  },
  'bound without a type': {'minimum': 3},
  'large bound': {'type': 'integer', 'minimum': 2**53 - 2, 'maximum': 2**53},
  'multiple': {'type': 'integer', 'multipleOf': 12},
  'multiple in bounds': {
    'type': 'integer', 'multipleOf': 25, 'minimum': -99, 'maximum': 999,
  },
  'multiple of a half': {'type': 'number', 'multipleOf': 0.5},
  'length': {'type': 'string', 'minLength': 2, 'maxLength': 4},
  'pattern': {'type': 'string', 'pattern': '^[A-Z]{2}-\\d{3}$'},
  'pattern that is searched': {'type': 'string', 'pattern': 'ab+'},
  'pattern of choices': {'type': 'string', 'pattern': '^(a|b)*c$|^x$'},
  'pattern and length': {
    'type': 'string', 'pattern': '^[a-z]*$', 'minLength': 3, 'maxLength': 5,
  },
  'pattern of bytes': {'type': 'string', 'pattern': '^[^"\\\\\\x00-\\x1f]{3}$'},
  'list': {'type': 'array', 'items': _INT},
  'list of a size': {
    'type': 'array', 'items': {'type': 'boolean'}, 'minItems': 2, 'maxItems': 4,
  },
  'list of lists': {
    'type': 'array', 'items': {'type': 'array', 'items': {'type': 'null'}},
  },
  'tuple': {
    'type': 'array', 'prefixItems': [_INT, _SHORT], 'items': False,
    'minItems': 2,
  },
  'tuple and rest': {
    'type': 'array', 'prefixItems': [_INT], 'items': {'type': 'boolean'},
  },
  'tuple of old drafts': {
    'type': 'array', 'items': [_INT, _SHORT], 'additionalItems': False,
  },
  'empty list': {'type': 'array', 'maxItems': 0},
  'closed object': _closed({'a': _INT, 'b': _SHORT}),
  'optional names': _object(
    {'a': _INT, 'b': _SHORT, 'c': {'type': 'null'}},
    required=['b'], additionalProperties=False,
  ),
  'open object': _object({'a': _INT}),
  'rest of a type': _object({'a': _INT}, additionalProperties=_SHORT),
  'map': {'type': 'object', 'additionalProperties': _INT},
  'map of a size': {
    'type': 'object', 'additionalProperties': _INT, 'minProperties': 1,
    'maxProperties': 3,
  },
  'at least one': _object(
    {'a': _INT, 'b': _INT}, additionalProperties=False, minProperties=1
  ),
  'names by pattern': {
    'type': 'object', 'patternProperties': {'^x_': _INT, '^y_': _SHORT},
    'additionalProperties': False,
  },
  'pattern beside names': _object(
    {'x_1': {'minimum': 5}}, patternProperties={'^x_': _INT},
    additionalProperties={'type': 'boolean'},
  ),
  'required without a schema': {
    'type': 'object', 'required': ['z'], 'additionalProperties': _INT,
  },
  'names of all kinds': _closed(
    {'é': _INT, '"': _INT, '\\': _INT, 'a/b~c': _INT, '': _INT, '日本': _INT}
  ),
  'name of a control': _object(
    {'\n': _INT}, additionalProperties={'type': 'null'}
  ),
  'nested': _closed({'a': _closed({'b': {'type': 'array', 'items': _CAT}})}),
  'anyOf': {'anyOf': [_INT, _SHORT, _CAT]},
  'anyOf and a bound': {'anyOf': [_INT, {'type': 'null'}], 'minimum': 5},
  'oneOf by type': {'oneOf': [_INT, _SHORT, {'type': 'null'}]},
  'oneOf by constant': {'oneOf': [_CAT, _DOG]},
  'oneOf by reference': {
    'oneOf': [{'$ref': '#/$defs/cat'}, {'$ref': '#/$defs/dog'}],
    'discriminator': {'propertyName': 'kind'},
    '$defs': {'cat': _CAT, 'dog': _DOG},
  },
  'oneOf reference or null': {
    'oneOf': [{'$ref': '#/$defs/cat'}, {'type': 'null'}],
    '$defs': {'cat': _CAT},
  },
  'oneOf beside anyOf': {
    'anyOf': [{'minimum': 3}, {'type': 'string'}],
    'oneOf': [_INT, _SHORT],
  },
  'oneOf of numbers': {'oneOf': [{'enum': [1, 2]}, {'const': 3}]},
  'allOf': {
    'allOf': [
      _object({'a': {'minimum': 3}}, required=['a']),
      _object({'a': _INT, 'b': _SHORT}),
    ],
  },
  'allOf of patterns': {
    'allOf': [{'type': 'string', 'pattern': '^a'}, {'pattern': 'z$'}],
  },
  'reference': {
    '$ref': '#/$defs/a', '$defs': {'a': _closed({'x': _INT})},
  },
  'reference to a place': _closed(
    {'a': _SHORT, 'b': {'$ref': '#/properties/a'}}
  ),
  'reference with a bound': {
    '$ref': '#/definitions/a%20b', 'maximum': 7, 'definitions': {'a b': _INT},
  },
  'list of nodes': {'$ref': '#/$defs/node', '$defs': {'node': _NODE}},
  'tree': _closed(
    {'v': _INT, 'kids': {'type': 'array', 'items': {'$ref': '#'}}}
  ),
  'annotated': {
    '$schema': 'https://json-schema.org/draft/2020-12/schema',
    '$id': 'https://example.com/x', 'title': 'T', 'description': 'D',
    'default': 3, 'examples': [1], 'deprecated': False, 'readOnly': True,
    'writeOnly': False, '$comment': 'c', 'x-order': 3, 'type': 'integer',
  },
  'a false property': _object({'a': False, 'b': _INT}),
  'a true property': _closed({'a': True}),
}  # fmt: skip
