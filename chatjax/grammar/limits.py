"""How much of a machine one grammar may cost."""

from __future__ import annotations

import dataclasses

import llguidance


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """Bounds that are checked before a grammar is compiled.

  Together they hold a compilation under two seconds: what llguidance itself
  does not bound was measured (recursion overflows its stack, quantifiers cost
  their square, `multipleOf` the product of what is intersected).

  Attributes:
    bytes: of a schema as JSON, of a regular expression, of all choices.
    lark_bytes: of a lark grammar, with the schemas inside it; four times as
      many before these are reduced to what is enforced.
    depth: nested values in a schema's JSON.
    levels: nested schemas, added up over the definitions that are referred to.
    rule_levels: nested rules of a lark grammar, groups included.
    properties: names in all `properties` and `required` of a schema.
    name_patterns: names in all `patternProperties` of a schema.
    enum_values: in all `enum`s of a schema; alternatives of a choice.
    multiple: the least common multiple of all `multipleOf`, decimal points
      left out.
    quantifiers: in all regular expressions and terminals together.
    rule_quantifiers: in the rules of a lark grammar.
    repeats: the product of nested counted repetitions, as in `(a{9}){9}`.
    cache_bytes: of grammars that stay compiled.
  """

  bytes: int = 2**16
  lark_bytes: int = 2**18
  depth: int = 32
  levels: int = 600
  rule_levels: int = 400
  properties: int = 1000
  name_patterns: int = 64
  enum_values: int = 2000
  multiple: int = 4096
  quantifiers: int = 2000
  rule_quantifiers: int = 4000
  repeats: int = 10_000
  cache_bytes: int = 2**23


def parser_limits() -> llguidance.LLParserLimits:
  """What llguidance stops at, when it compiles and at every token."""
  return llguidance.LLParserLimits(
    initial_lexer_fuel=500_000,
    step_lexer_fuel=100_000,
    max_lexer_states=100_000,
    max_grammar_size=200_000,
    verbose_errors=False,
  )
