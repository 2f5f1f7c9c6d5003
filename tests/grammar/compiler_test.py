"""Grammars of all kinds, and how they are kept."""

import concurrent.futures
import copy
import dataclasses
import json
import time

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from chatjax import types
from chatjax.grammar import compiler as compiler_lib
from tests.grammar import walks

TOKENIZER = walks.merging()


def regex(source, **fields):
  return types.Grammar(kind='regex', source=source, **fields)


def test_json_object_is_any_object():
  grammar = walks.compiled(None, TOKENIZER, kind='json_object')
  for text in ('{}', '{"a": [1, {"b": null}], "é": -1.5e3}'):
    assert walks.spells(grammar, text, TOKENIZER)
  for text in ('[]', '1', '"a"', 'null', '{"a":  1}', '{"a": 1,\n"b": 2}', '{'):
    assert not walks.spells(grammar, text, TOKENIZER)
  nested = '{"a": ' * 40 + '{}' + '}' * 40
  assert walks.spells(grammar, nested, TOKENIZER)
  for seed in range(10):
    text = walks.walk(grammar.matcher(), TOKENIZER, seed)
    assert text is None or isinstance(json.loads(text), dict)


@pytest.mark.parametrize('eos_ids', [(), (10**6,)])
def test_a_model_that_cannot_end_has_no_grammars(eos_ids):
  tokenizer = copy.copy(TOKENIZER)
  tokenizer.eos_ids = frozenset(eos_ids)
  compiler = compiler_lib.Compiler(tokenizer)
  with pytest.raises(types.RequestError, match='names no token') as caught:
    compiler.compile(regex('a', param='regex'))
  assert caught.value.param == 'regex'


@settings(max_examples=50, deadline=None)
@given(
  options=st.lists(
    st.text(st.sampled_from('ab"\\\né日 /'), max_size=4), min_size=1, max_size=5
  ),
  other=st.text(st.sampled_from('ab"\\\né日 /'), max_size=4),
)
def test_a_choice_is_one_of_its_strings(options, other):
  grammar = walks.compiled(tuple(options), kind='choice')
  for option in options:
    assert walks.spells(grammar, option)
  assert walks.spells(grammar, other) == (other in options)


@pytest.mark.parametrize(
  ('pattern', 'good', 'bad'),
  [
    ('[a-c]{2}', 'ab', 'abc'),
    ('^ab$', 'ab', 'aab'),
    ('a|bc', 'bc', 'ac'),
    ('a/b', 'a/b', 'a'),
    ('é+', 'éé', 'e'),
    ('(?i)ab', 'AB', 'a'),
    ('', '', 'a'),
    ('a\nb', 'a\nb', 'ab'),
  ],
)
def test_a_regex_matches_the_whole_text(pattern, good, bad):
  grammar = walks.compiled(pattern, kind='regex')
  assert walks.spells(grammar, good)
  assert not walks.spells(grammar, bad)


def test_lark_of_a_user():
  grammar = walks.compiled(
    'start: SUM "\\n"\nSUM: INT ("+" INT)*\n%import common.INT\n', kind='lark'
  )
  assert walks.spells(grammar, '1+22+3\n')
  assert not walks.spells(grammar, '1+\n')


def test_lark_names_special_tokens():
  ids = TOKENIZER.special_ids
  for name in ('<tool_call>', f'<[{ids["<tool_call>"]}]>'):
    grammar = walks.compiled(
      f'start: {name} "x" <|im_start|>', TOKENIZER, kind='lark'
    )
    matcher = grammar.matcher()
    assert walks.allowed(matcher, TOKENIZER) == [ids['<tool_call>']]
    matcher.advance([ids['<tool_call>'], *TOKENIZER.encode('x')])
    assert walks.allowed(matcher, TOKENIZER) == [ids['<|im_start|>']]


def test_a_schema_in_lark_is_a_schema():
  schema = {
    'type': 'object',
    'properties': {'a': {'oneOf': [{'type': 'null'}, {'type': 'integer'}]}},
    'description': 'not "%json {" nor # a comment',
  }
  source = f'start: "<" %json {json.dumps(schema)} ">" // %json {{}}\n'
  grammar = walks.compiled(source, kind='lark')
  assert walks.spells(grammar, '<{"a": 1, "b": 2}>')
  assert not walks.spells(grammar, '<{"a":  1}>')
  assert not walks.spells(grammar, '<{"a": 1, "\\u0061": "x"}>')


def test_a_schema_in_lark_may_be_lenient():
  schema = {'type': 'integer', 'not': {}, 'x-guidance': {'lenient': True}}
  source = f'start: %json {json.dumps(schema)}\n'
  assert walks.spells(walks.compiled(source, kind='lark'), '12')


def _rules(number, name='r'):
  lines = [f'{name}{i}: "a" {name}{i + 1}' for i in range(number)]
  return '\n'.join([f'start: {name}0', *lines, f'{name}{number}: "b"\n'])


REFUSED = {
  'not a string': ('lark', 3),
  'nothing': ('lark', ''),
  'no start': ('lark', 'a: "b"\n'),
  'no such rule': ('lark', 'start: b\n'),
  'no such special token': ('lark', 'start: <|none|>\n'),
  'no such token': ('lark', 'start: <[99999]>\n'),
  'import of a file': ('lark', '%import .secret.KEY\nstart: KEY\n'),
  'garbage': ('lark', '\0%%%'),
  'half a character': ('lark', 'start: "\ud800"\n'),
  'schema that is not JSON': ('lark', 'start: %json {"a"\n'),
  'schema that is no object': ('lark', 'start: %json 3\n'),
  'schema that is not enforced': ('lark', 'start: %json {"not": {}}\n'),
  'options that are none': ('lark', 'start: %json {"x-guidance": 3}\n'),
  'options of no one': ('lark', 'start: %json {"x-guidance": {"a": 3}}\n'),
  'multiple': ('lark', 'start: %json {"multipleOf": 999983}\n'),
  'lenient multiple': (
    'lark',
    'start: %json {"multipleOf": 999983, "x-guidance": {"lenient": true}}\n',
  ),
  'lenient and deep': (
    'lark',
    'start: %json {"x-guidance": {"lenient": true}, "items": '
    + '{"items": ' * 50 + '{}' + '}' * 50 + '}\n',
  ),
  'rules too deep': ('lark', _rules(5000)),
  'terminals too deep': ('lark', _rules(5000, 'R')),
  'groups too deep': ('lark', 'start: ' + '(' * 2000 + '"a"' + ')' * 2000),
  'rules that double': (
    'lark',
    'start: T0\n' + ''.join(f'T{i}: T{i + 1} T{i + 1}\n' for i in range(40))
    + 'T40: "b"\n',
  ),
  'endless rule': ('lark', 'start: start\n'),
  'optional terminals': ('lark', 'start: T\nT: ' + '"a"? ' * 9000),
  'optional rules': ('lark', 'start: ' + '"a"? ' * 9000),
  'very long lark': ('lark', 'start: "' + 'a' * 2**20 + '"\n'),
  'long lark': ('lark', 'start: "' + 'a' * 2**18 + '"\n'),
  'no string': ('regex', 3),
  'open group': ('regex', '('),
  'end of an escape': ('regex', 'x\\'),
  'lookahead': ('regex', '(?=a)b'),
  'reference': ('regex', '(a)\\1'),
  'half a character in a regex': ('regex', '\ud800'),
  'nothing matches': ('regex', '[^\\s\\S]'),
  'repeats': ('regex', '(a{1000}){1000}'),
  'repeats in three': ('regex', '((a{100}){100}){100}'),
  'repeats without end': ('regex', 'a{99999999999999999999}'),
  'optional': ('regex', 'a?' * 20_000),
  'groups': ('regex', '(' * 2000 + 'a' + ')' * 2000),
  'stars': ('regex', '(' * 200 + 'a' + ')*' * 200),
  'long': ('regex', 'a' * 2**17),
  'no choice': ('choice', ()),
  'numbers': ('choice', (1, 2)),
  'one string': ('choice', 'yes'),
  'half a choice': ('choice', ('\udc00',)),
  'many': ('choice', tuple(map(str, range(2001)))),
}  # fmt: skip


@pytest.mark.parametrize('name', REFUSED)
def test_what_is_refused_is_a_sentence_in_time(name):
  kind, source = REFUSED[name]
  start = time.monotonic()
  with pytest.raises(types.RequestError) as caught:
    walks.compiled(source, kind=kind)
  assert time.monotonic() - start < 2
  assert caught.value.param == 'response_format'
  text = str(caught.value)
  assert text.endswith('.')
  assert '\n' not in text
  assert len(text) < 400


COSTLY = {
  'words': ('regex', '|'.join(f'word{i}' for i in range(6000))),
  'counts': ('regex', '(ab{100}c){100}'),
  'letters': ('regex', '\\p{L}{1,10000}'),
  'lexer': ('regex', '(a|b)*a(a|b){200}'),
  'literal': ('regex', 'ab' * 2**15),
  'choices': ('choice', tuple(f'{i}' * 8 for i in range(2000))),
  'rules': ('lark', _rules(390)),
  'optional rules': ('lark', 'start: ' + '"a"? ' * 3900),
  'optional terminals': ('lark', 'start: T\nT: ' + '"a"? ' * 1900),
  'described schemas': (
    'lark',
    'start: ' + ' "-" '.join(['%json {"title": "' + 'x' * 60_000 + '"}'] * 5),
  ),
  'alternatives': (
    'lark', 'start: ' + ' | '.join(f'"w{i}"' for i in range(1900))
  ),
}  # fmt: skip


@pytest.mark.parametrize('name', COSTLY)
def test_what_is_allowed_takes_little_time(name):
  kind, source = COSTLY[name]
  start = time.monotonic()
  walks.compiled(source, kind=kind)
  assert time.monotonic() - start < 2


@settings(max_examples=200, deadline=None)
@given(
  source=st.text(
    st.sampled_from('ab()[]{}|*+?.\\/^$-,:&~"\'0123 \n%<>é#_T'), max_size=30
  ),
  kind=st.sampled_from(['regex', 'lark']),
)
def test_nothing_crashes_it(source, kind):
  text = source if kind == 'regex' else f'start: {source}\n'
  try:
    grammar = walks.compiled(text, kind=kind)
  except types.RequestError as error:
    assert str(error).endswith('.')  # noqa: PT017 - it need not be raised
  else:
    walks.allowed(grammar.matcher(), walks.BYTES)


def test_a_grammar_is_compiled_once():
  compiler = compiler_lib.Compiler(walks.BYTES)
  one = compiler.compile(regex('a+', param='x'))
  assert compiler.compile(regex('a+', param='y')) is one
  assert compiler.compile(regex('b+')) is not one


def test_the_oldest_grammars_are_dropped():
  limits = dataclasses.replace(compiler_lib.Limits(), cache_bytes=2**16)
  compiler = compiler_lib.Compiler(walks.BYTES, limits=limits)
  first = compiler.compile(regex('first'))
  second = compiler.compile(regex('second'))
  compiler.compile(regex('third'))
  assert compiler.compile(regex('first')) is first  # is the newest now
  compiler.compile(regex('x' * 2**14))
  assert compiler.compile(regex('first')) is first
  assert compiler.compile(regex('second')) is not second


def test_order_of_properties_is_part_of_a_schema():
  compiler = compiler_lib.Compiler(walks.BYTES)
  names = {'a': {'type': 'null'}, 'b': {'type': 'null'}}

  def first(properties):
    schema = {
      'type': 'object', 'properties': properties, 'required': ['a', 'b'],
    }  # fmt: skip
    grammar = compiler.compile(types.Grammar(kind='json_schema', source=schema))
    return bytes(grammar.matcher().forced(99))

  assert first(names).startswith(b'{"a"')
  assert first(dict(reversed(names.items()))).startswith(b'{"b"')


def test_ids_that_the_model_lacks_are_not_allowed():
  last = TOKENIZER.vocab_size - 1
  text = regex('(?s:.*)')
  whole = compiler_lib.Compiler(TOKENIZER).compile(text).matcher()
  assert last in walks.allowed(whole, TOKENIZER)
  fewer = compiler_lib.Compiler(TOKENIZER, vocab_size=last)
  matcher = fewer.compile(text).matcher()
  assert walks.allowed(matcher, TOKENIZER)
  assert last not in walks.allowed(matcher, TOKENIZER)
  with pytest.raises(types.ChatjaxError):
    matcher.advance([last])


def test_threads_share_it():
  compiler = compiler_lib.Compiler(TOKENIZER)
  sources = [f'{letter}{{3}}' for letter in 'abcd'] * 4

  def text(source):
    matcher = compiler.compile(regex(source)).matcher()
    return walks.walk(matcher, TOKENIZER, 0)

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert list(pool.map(text, sources)) == [3 * x[0] for x in sources]
