"""Grammars take well-formed calls, and what they take is parsed as calls."""

# ruff: noqa: RUF001 - the bars in DeepSeek's tags are wide ones.
import json
import random
import re

import llguidance
import pytest

from chatjax import types
from chatjax.chat.parsers import formats
from chatjax.chat.parsers import lark as lark_lib
from tests.chat.parsers import streams

_SCHEMA = {
  'type': 'object',
  'properties': {
    'city': {'type': 'string'},
    'days': {'type': 'integer'},
    'unit': {'enum': ['C', 'F']},
    'tags': {'type': 'array', 'items': {'type': 'string'}},
  },
  'required': ['city', 'unit'],
  'additionalProperties': False,
}
_WEATHER = types.Tool(name='get_weather', parameters=_SCHEMA, is_strict=True)
_PING = types.Tool(name='ping')
_WORD = types.Tool(
  name='word',
  is_custom=True,
  input_format=types.Grammar(kind='regex', source='[a-c]+/[0-9]{2}'),
)
_SUM = types.Tool(
  name='sum',
  is_custom=True,
  input_format=types.Grammar(
    kind='lark', source='start: NUM ("+" NUM)*\nNUM: /[0-9]+/'
  ),
)
_ANY = types.Tool(name='note', is_custom=True)

# A well-formed call of get_weather and one of ping in each format.
_CALLS = {
  'hermes': (
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich", '
    '"unit": "C"}}\n</tool_call>',
    '<tool_call>\n{"name": "ping", "arguments": {}}\n</tool_call>',
  ),
  'llama_json': (
    '{"name": "get_weather", "parameters": {"city": "Zürich", "unit": "C"}}',
    '{"name": "ping", "parameters": {}}',
  ),
  'pythonic': ('[get_weather(city="Zürich", unit="C")]', '[ping()]'),
  'lfm': (
    '<|tool_call_start|>[get_weather(city="Zürich", unit="C")]'
    '<|tool_call_end|>',
    '<|tool_call_start|>[ping()]<|tool_call_end|>',
  ),
  'mistral': (
    '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Zürich", '
    '"unit": "C"}}]',
    '[TOOL_CALLS][{"name": "ping", "arguments": {}}]',
  ),
  'mistral_v11': (
    '[TOOL_CALLS]get_weather[ARGS]{"city": "Zürich", "unit": "C"}',
    '[TOOL_CALLS]ping[ARGS]{}',
  ),
  'gemma': (
    '<|tool_call>call:get_weather{city:<|"|>Zürich<|"|>,unit:<|"|>C<|"|>}'
    '<tool_call|>',
    '<|tool_call>call:ping{}<tool_call|>',
  ),
  'harmony': (
    '<|channel|>commentary to=functions.get_weather <|constrain|>json'
    '<|message|>{"city": "Zürich", "unit": "C"}<|call|>',
    '<|channel|>commentary to=functions.ping json<|message|>{}<|call|>',
  ),
  'deepseek': (
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n'
    '```json\n{"city": "Zürich", "unit": "C"}\n```<｜tool▁call▁end｜>'
    '<｜tool▁calls▁end｜>',
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>ping\n'
    '```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
  ),
  'deepseek_v31': (
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>'
    '{"city": "Zürich", "unit": "C"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>ping<｜tool▁sep｜>{}'
    '<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
  ),
}  # fmt: skip
# What stands between two calls, or joins two lists of one into one of two.
_JOINS = {
  'hermes': '\n', 'llama_json': '; ', 'mistral_v11': '', 'gemma': '',
  'harmony': '<|start|>assistant',
}  # fmt: skip
_LISTS = {
  'pythonic': (']', '[', ', '),
  'lfm': (']<|tool_call_end|>', '<|tool_call_start|>[', ', '),
  'mistral': (']', '[TOOL_CALLS][', ', '),
  'deepseek': ('<｜tool▁calls▁end｜>', '<｜tool▁calls▁begin｜>', '\n'),
  'deepseek_v31': ('<｜tool▁calls▁end｜>', '<｜tool▁calls▁begin｜>', ''),
}  # fmt: skip
_NO_STRICT = {'llama_json', 'pythonic'}
_NAMES = sorted(_CALLS)
# Whose custom tools have their text in JSON, where no lark grammar reaches.
_NO_LARK = {
  *('llama_json', 'pythonic', 'lfm', 'mistral', 'mistral_v11', 'deepseek'),
}
# Harmony has no tags that are ordinary text.
_SPECIAL = [
  (name, is_special)
  for name in _NAMES
  for is_special in (False, True)
  if is_special or name != 'harmony'
]
_BYTES = 256


class _Vocabulary:
  """All bytes, one token for each control, and the end of the text."""

  def __init__(self, controls):
    self.controls = sorted(controls)
    self.tokens = [bytes([i]) for i in range(_BYTES)]
    self.tokens += [control.encode() for control in self.controls]
    self.tokens.append(b'<|the_end|>')
    self.eos_token_id = len(self.tokens) - 1
    self.bos_token_id = None
    self.special_token_ids = list(range(_BYTES, len(self.tokens)))

  def __call__(self, text):
    return list(text)

  @property
  def special(self):
    return {text: _BYTES + i for i, text in enumerate(self.controls)}

  def encode(self, text: str) -> list[int]:
    ids = []
    while text:
      for control in self.controls:
        if text.startswith(control):
          ids.append(self.special[control])
          text = text[len(control) :]
          break
      else:
        ids += text[0].encode()
        text = text[1:]
    return ids


class _Grammar:
  """A compiled grammar over bytes, with or without control tokens."""

  def __init__(self, name, make, given, *, is_parallel, is_special):
    controls = formats.get(name).controls if is_special else ()
    self.vocabulary = _Vocabulary(controls)
    self.tokenizer = llguidance.LLTokenizer(
      llguidance.TokenizerWrapper(self.vocabulary)
    )
    self.source = getattr(formats.get(name), make)(
      given, is_parallel=is_parallel, special=self.vocabulary.special
    )
    self.matcher = llguidance.LLMatcher(
      self.tokenizer, self.source, log_level=0
    )
    assert not self.matcher.is_error(), self.matcher.get_error()

  def takes(self, text: str) -> bool:
    self.matcher.reset()
    ids = self.vocabulary.encode(text)
    taken = self.matcher.try_consume_tokens(ids)
    return taken == len(ids) and self.matcher.is_accepting()

  def walk(self, seed: int, num_steps: int = 4000) -> str:
    """A random text that the grammar takes, however it leads."""
    rng = random.Random(seed)
    matcher, eos = self.matcher.deep_copy(), self.vocabulary.eos_token_id
    matcher.reset()
    out = []
    for _ in range(num_steps):
      mask = int.from_bytes(matcher.compute_bitmask(), 'little')
      allowed = [i for i in range(eos + 1) if mask >> i & 1]
      # Closing characters first, so that it ends.
      likely = [i for i in allowed if i >= _BYTES or i in b'"]}|<>)']
      token = rng.choice(
        likely if likely and rng.random() < 0.7 else allowed or [eos]
      )
      if token == eos:
        text = b''.join(self.vocabulary.tokens[i] for i in out)
        return text.decode('utf-8')
      assert matcher.consume_token(token)
      out.append(token)
    raise AssertionError('no end in sight')


def _grammar(name, given, make='grammar', is_parallel=False, is_special=True):
  return _Grammar(
    name, make, given, is_parallel=is_parallel, is_special=is_special
  )


def _both(name):
  """A weather call and a ping in one answer."""
  weather, ping = _CALLS[name]
  if name in _JOINS:
    return weather + _JOINS[name] + ping
  end, begin, between = _LISTS[name]
  return weather.removesuffix(end) + between + ping.removeprefix(begin)


@pytest.mark.parametrize(('name', 'is_special'), _SPECIAL)
def test_grammar_takes_calls_and_nothing_else(name, is_special):
  one = _grammar(name, (_WEATHER, _PING), is_special=is_special)
  weather, ping = _CALLS[name]
  assert one.takes(weather)
  assert one.takes(ping)
  assert not one.takes('')
  assert not one.takes('Hello')
  assert not one.takes('Hello' + weather)
  assert not one.takes(weather[:-1])
  assert not one.takes(weather + 'x')
  assert not one.takes(weather.replace('get_weather', 'get_wether'))
  assert not one.takes(weather.replace('city', 'town'))
  assert not one.takes(weather.replace('C', 'K'))


@pytest.mark.parametrize(('name', 'is_special'), _SPECIAL)
def test_parallel_grammar_takes_many_calls_and_the_other_one(name, is_special):
  given = (_WEATHER, _PING)
  many = _grammar(name, given, is_parallel=True, is_special=is_special)
  one = _grammar(name, given, is_special=is_special)
  assert many.takes(_both(name))
  assert not one.takes(_both(name))
  assert many.takes(_CALLS[name][0])
  parsed = streams.parse(name, _both(name), given)
  assert [call.name for call in parsed.calls] == ['get_weather', 'ping']
  assert parsed.content == parsed.reasoning == ''


@pytest.mark.parametrize('is_parallel', [False, True])
@pytest.mark.parametrize('name', _NAMES)
def test_t1_what_the_grammar_takes_is_parsed_as_calls(name, is_parallel):
  given = (_WEATHER, _PING)
  # Control tokens only: harmony's tags are no tags in ordinary text.
  grammar = _grammar(name, given, is_parallel=is_parallel)
  for seed in range(12):
    text = grammar.walk(seed)
    parsed = streams.parse(name, text, given)
    assert parsed.content == ''
    assert parsed.calls
    assert is_parallel or len(parsed.calls) == 1
    for call in parsed.calls:
      assert isinstance(json.loads(call.arguments), dict)
      if call.name == 'get_weather':
        assert {'city', 'unit'} <= set(json.loads(call.arguments))


@pytest.mark.parametrize('name', _NAMES)
def test_s2_white_space_is_bounded_outside_of_strings(name):
  grammar = _grammar(name, (_WEATHER, _PING), is_parallel=True)
  encode = grammar.vocabulary.encode
  weather, ping = _CALLS[name]
  in_string = len(encode(weather[: weather.index('Zürich')]))
  strings = range(in_string, in_string + len('Zürich'.encode()) + 1)
  for text, free in ((weather, strings), (ping, ())):
    ids = encode(text)
    for end in set(range(len(ids) + 1)) - set(free):
      grammar.matcher.reset()
      assert grammar.matcher.try_consume_tokens(ids[:end]) == end
      assert grammar.matcher.try_consume_tokens([ord(' ')] * 9) <= 1
      grammar.matcher.reset()
      assert grammar.matcher.try_consume_tokens(ids[:end]) == end
      assert grammar.matcher.try_consume_tokens([ord('\n')] * 9) <= 1


@pytest.mark.parametrize(
  ('name', 'is_special'),
  [each for each in _SPECIAL if each[0] not in _NO_STRICT],
)
def test_strict_grammar_takes_text_with_calls(name, is_special):
  given = (_WEATHER, _PING)
  grammar = _grammar(
    name, given, 'strict_grammar', is_parallel=True, is_special=is_special
  )
  one = _grammar(name, given, 'strict_grammar', is_special=is_special)
  weather = _CALLS[name][0]
  hello = 'Hello < [ world'
  if name == 'harmony':
    final = f'<|channel|>final<|message|>{hello}'
    assert grammar.takes(final)
    text = f'{final}<|end|><|start|>assistant{weather}'
  else:
    assert grammar.takes(hello)
    assert grammar.takes('')
    text = hello + weather
  assert grammar.takes(text)
  assert one.takes(text)
  assert not grammar.takes(text.replace('city', 'town'))
  assert not grammar.takes(text[:-1])
  # The other tool is not strict: any object will do.
  assert grammar.takes(_both(name))
  assert not one.takes(_both(name))


@pytest.mark.parametrize('name', sorted(set(_NAMES) - _NO_STRICT - {'harmony'}))
def test_strict_grammar_knows_a_tag_in_letters_too(name):
  grammar = _grammar(name, (_WEATHER,), 'strict_grammar', is_parallel=True)
  call = _CALLS[name][0].encode()
  taken = grammar.matcher.try_consume_tokens(list(call))
  assert taken < call.index(b'get_weather')


@pytest.mark.parametrize('name', sorted(_NO_STRICT))
def test_strict_grammar_is_none_where_calls_have_no_tag(name):
  made = formats.get(name).strict_grammar((_PING,), is_parallel=True)
  assert made is None


@pytest.mark.parametrize('tool', [_WORD, _SUM, _ANY], ids=lambda t: t.name)
@pytest.mark.parametrize('name', _NAMES)
def test_custom_tools_are_held_to_their_format(name, tool):
  if tool is _SUM and name in _NO_LARK:
    with pytest.raises(types.RequestError, match='lark'):
      _grammar(name, (tool,))
    return
  grammar = _grammar(name, (tool,))
  for seed in range(6):
    text = grammar.walk(seed)
    (call,) = streams.parse(name, text, (tool,)).calls
    assert call.is_custom
    assert call.name == tool.name
    if tool is _WORD:
      assert re.fullmatch('[a-c]+/[0-9]{2}', call.arguments)
    if tool is _SUM:
      assert all(part.isdigit() for part in call.arguments.split('+'))


def test_harmony_needs_its_control_tokens():
  with pytest.raises(types.ChatjaxError, match='control tokens'):
    formats.get('harmony').grammar((_PING,), is_parallel=False)


def test_schemas_keep_their_definitions():
  tool = types.Tool(
    name='tree',
    parameters={
      'type': 'object',
      'properties': {'root': {'$ref': '#/$defs/node'}},
      'required': ['root'],
      'additionalProperties': False,
      '$defs': {
        'node': {
          'type': 'object',
          'properties': {
            'kids': {'type': 'array', 'items': {'$ref': '#/$defs/node'}}
          },
          'required': ['kids'],
          'additionalProperties': False,
        }
      },
    },
  )
  good = {
    'gemma': '<|tool_call>call:tree{root:{kids:[{kids:[]}]}}<tool_call|>',
    'pythonic': '[tree(root={"kids": [{"kids": []}]})]',
    'llama_json': (
      '{"name": "tree", "parameters": {"root": {"kids": [{"kids": []}]}}}'
    ),
  }
  for name, text in good.items():
    grammar = _grammar(name, (tool,))
    assert grammar.takes(text), name
    wrong = text.replace('{"kids": []}', '3').replace('{kids:[]}', '3')
    assert not grammar.takes(wrong), name
    (call,) = streams.parse(name, text, (tool,)).calls
    assert json.loads(call.arguments) == {'root': {'kids': [{'kids': []}]}}


def test_gemma_refuses_what_a_strict_schema_cannot_get():
  schema = {
    'type': 'object',
    'properties': {'n': {'type': 'integer', 'minimum': 3}},
  }
  strict = types.Tool(name='f', parameters=schema, is_strict=True)
  with pytest.raises(types.RequestError, match='minimum'):
    _grammar('gemma', (strict,))
  loose = types.Tool(name='f', parameters=schema)
  assert _grammar('gemma', (loose,)).takes(
    '<|tool_call>call:f{n:1}<tool_call|>'
  )


def test_a_schema_that_is_not_strict_is_kept_as_far_as_can_be():
  schema = {
    'type': 'object',
    'properties': {'a': {'type': 'string', 'format': 'odd'}},
    'required': ['a'],
  }
  tool = types.Tool(name='f', parameters=schema)
  call = '{"name": "f", "parameters": {"a": "x"}}'
  assert _grammar('llama_json', (tool,)).takes(call)
  assert not _grammar('llama_json', (tool,)).takes(call.replace('"x"', '1'))


def test_strict_grammar_leaves_other_tools_alone():
  loose = types.Tool(name='get_weather', parameters=_SCHEMA)
  grammar = _grammar('hermes', (loose, _PING), 'strict_grammar')
  assert grammar.takes(_CALLS['hermes'][0].replace('city', 'town'))


def test_gemma_takes_no_arguments_where_there_are_none():
  tool = types.Tool(
    name='f', parameters={'type': 'object', 'additionalProperties': False}
  )
  text = '<|tool_call>call:f{}<tool_call|>'
  assert _grammar('gemma', (tool,)).takes(text)
  wrong = text.replace('{}', '{a:1}')
  assert not _grammar('gemma', (tool,)).takes(wrong)
  assert not _grammar('gemma', (_PING,)).takes(wrong.replace(':f{', ':ping{'))


@pytest.mark.parametrize('name', _NAMES)
def test_without_parameters_there_are_no_arguments(name):
  ping = _CALLS[name][1]
  free = types.Tool(name='ping', parameters={})
  some = ping
  for none, any_one in (
    ('arguments": {}', 'arguments": {"a": 1}'),
    ('parameters": {}', 'parameters": {"a": 1}'),
    ('ping()', 'ping(a=1)'), ('ping{}', 'ping{a:1}'),
    ('[ARGS]{}', '[ARGS]{"a": 1}'), ('<|message|>{}', '<|message|>{"a": 1}'),
    ('```json\n{}', '```json\n{"a": 1}'),
    ('<｜tool▁sep｜>{}', '<｜tool▁sep｜>{"a": 1}'),
  ):  # fmt: skip
    some = some.replace(none, any_one)
  assert some != ping
  assert _grammar(name, (_PING,)).takes(ping)
  assert not _grammar(name, (_PING,)).takes(some)
  for text in (ping, some):
    assert _grammar(name, (free,)).takes(text)


def test_harmony_puts_an_answer_into_its_final_message():
  harmony = formats.get('harmony')
  vocabulary = _Vocabulary(harmony.controls)
  lark = lark_lib.Lark(vocabulary.special)
  source = lark.source(harmony.answer(lark, lark.json({'type': 'integer'})))
  tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(vocabulary))
  matcher = llguidance.LLMatcher(tokenizer, source, log_level=0)
  final = '<|channel|>final<|message|>7'
  thought = '<|channel|>analysis<|message|>so<|end|><|start|>assistant'

  def takes(text):
    matcher.reset()
    ids = vocabulary.encode(text)
    return (
      matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()
    )

  assert takes(final)
  assert takes(thought + final)
  assert takes('<|start|>assistant' + final)
  assert not takes('7')
  assert not takes(thought)
  assert not takes(final.replace('7', 'x'))
  assert not takes(final.replace('final', 'commentary'))
  parsed = streams.parse('harmony', thought + final, ())
  assert (parsed.reasoning, parsed.content) == ('so', '7')


def test_keys_that_are_no_words_are_quoted_or_refused():
  tool = types.Tool(
    name='f',
    parameters={
      'type': 'object',
      'properties': {'a b': {'type': 'integer'}},
      'required': ['a b'],
      'additionalProperties': False,
    },
  )
  text = '<|tool_call>call:f{<|"|>a b<|"|>:1}<tool_call|>'
  assert _grammar('gemma', (tool,)).takes(text)
  (call,) = streams.parse('gemma', text, (tool,)).calls
  assert json.loads(call.arguments) == {'a b': 1}
  with pytest.raises(types.RequestError, match='a b'):
    _grammar('pythonic', (tool,))


def test_pythonic_refuses_a_strict_schema_of_alternatives():
  tool = types.Tool(name='f', parameters={'anyOf': [{}]}, is_strict=True)
  with pytest.raises(types.RequestError, match='anyOf'):
    _grammar('pythonic', (tool,))


def test_optional_arguments_may_miss_anywhere():
  tool = types.Tool(
    name='f',
    parameters={
      'type': 'object',
      'properties': {name: {'type': 'integer'} for name in 'abcd'},
      'required': ['b'],
      'additionalProperties': False,
    },
  )
  for name, frame, sign in (
    ('pythonic', '[f(@)]', '='),
    ('gemma', '<|tool_call>call:f{@}<tool_call|>', ':'),
  ):
    grammar = _grammar(name, (tool,))
    join = ', ' if name == 'pythonic' else ','
    for given in ('b', 'ab', 'bc', 'bd', 'abcd', 'abd', 'a', 'ac', 'ba', ''):
      inner = join.join(f'{each}{sign}1' for each in given)
      is_good = 'b' in given and list(given) == sorted(given)
      assert grammar.takes(frame.replace('@', inner)) == is_good, given
