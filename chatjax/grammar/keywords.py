"""JSON schema keywords: what is enforced, what says nothing about a value.

Enforced are those that llguidance holds an answer to, found by test; all else
is refused, since it would be dropped without a word.
"""

from __future__ import annotations

TYPES = frozenset(
  {'null', 'boolean', 'integer', 'number', 'string', 'array', 'object'}
)

# By what their value is.
ONE_SCHEMA = frozenset({'items', 'additionalProperties', 'additionalItems'})
SCHEMAS = frozenset({'anyOf', 'allOf', 'oneOf', 'prefixItems'})
NAMED_SCHEMAS = frozenset(
  {'properties', 'patternProperties', '$defs', 'definitions'}
)
COUNTS = frozenset(
  {
    *('minLength', 'maxLength', 'minItems', 'maxItems'),
    *('minProperties', 'maxProperties'),
  }
)
BOUNDS = frozenset(
  {'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'}
)
OTHERS = frozenset(
  {
    *('type', 'enum', 'const', 'required', 'pattern', 'format', '$ref'),
    *('multipleOf', 'uniqueItems'),
  }
)
ENFORCED = ONE_SCHEMA | SCHEMAS | NAMED_SCHEMAS | COUNTS | BOUNDS | OTHERS

# `discriminator` names the property that tells the branches of `oneOf` apart.
ANNOTATIONS = frozenset(
  {
    *('title', 'description', 'default', 'example', 'examples', 'deprecated'),
    *('readOnly', 'writeOnly', '$comment', '$schema', '$id', 'id', '$anchor'),
    *('contentEncoding', 'contentMediaType', 'contentSchema'),
    *('discriminator', 'externalDocs'),
  }
)

# A format is held to its grammar, not to the calendar: 30 February is refused,
# 29 February is a date in every year.
FORMATS = frozenset(
  {
    *('date-time', 'date', 'time', 'duration', 'email', 'hostname'),
    *('ipv4', 'ipv6', 'uri', 'uuid'),
  }
)


def is_annotation(keyword: str) -> bool:
  if keyword == 'x-guidance':  # llguidance's own options
    return False
  return keyword in ANNOTATIONS or keyword.startswith('x-')
