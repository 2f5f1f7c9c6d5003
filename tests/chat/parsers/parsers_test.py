"""Calls and reasoning in every format, however the stream is cut."""

import json
import re
import time

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from chatjax import types
from chatjax.chat.parsers import events
from chatjax.chat.parsers import formats
from tests.chat.parsers import families
from tests.chat.parsers import streams

_TOOLS = (
  *streams.tools('f', 'get_weather'),
  types.Tool(name='note', is_custom=True),
)
_FAMILIES = families.FAMILIES
_NAMES = sorted(_FAMILIES)
_THINKERS = [name for name in _NAMES if _FAMILIES[name].think]
_CITY = '{"city": "Paris"}'

_TEXT = st.text(max_size=12)
_VALUES = st.recursive(
  st.none() | st.booleans() | st.integers() | _TEXT
  | st.floats(allow_nan=False, allow_infinity=False),
  lambda inner: st.lists(inner, max_size=3)
  | st.dictionaries(st.from_regex(r'[a-z_]{1,6}', fullmatch=True), inner,
                    max_size=3),
  max_leaves=8,
)  # fmt: skip
_ARGUMENTS = st.dictionaries(
  st.from_regex(r'[a-z_]{1,6}', fullmatch=True), _VALUES, max_size=3
)


def _parse(name, text, **kwargs):
  return streams.parse(name, text, _TOOLS, **kwargs)


def _fragments(name):
  """Streams of whole and broken pieces of what the format writes."""
  family = _FAMILIES[name]
  whole = [
    family.calls(('get_weather', _CITY)),
    family.calls(('f', '{}'), ('f', '{"a": [1, {"b": "}"}]}')),
    family.calls(('nope', '{}')),
    family.before.replace('@T', 'Hello'),
    *(family.think or ()),
    ' ', '\n', 'x', '{', '[', '<', '"', ', ', 'é☃',
  ]  # fmt: skip
  piece = st.sampled_from(whole)
  broken = st.tuples(piece, st.integers(0, 40)).map(lambda p: p[0][: p[1]])
  return st.lists(piece | broken, max_size=6).map(''.join)


def _check_spans(found, text):
  """Spans are in order, inside the text and never empty."""
  at = 0
  for event in found:
    if isinstance(event, events.Span):
      assert at <= event.start < event.stop <= len(text)
      at = event.stop


@pytest.mark.parametrize('name', _NAMES)
def test_t1_every_cut_gives_the_same_events(name):
  @settings(max_examples=60, deadline=None)
  @given(_fragments(name), st.lists(st.integers(1, 200), max_size=8))
  def check(text, cuts):
    pieces = streams.pieces_of(name, text)
    parser = formats.get(name).parser
    whole = streams.events_of(parser(_TOOLS, ''), pieces)
    some = streams.events_of(parser(_TOOLS, ''), streams.cut(pieces, cuts))
    each = streams.cut(pieces, range(len(text)))
    assert some == whole
    assert streams.events_of(parser(_TOOLS, ''), each) == whole
    _check_spans(whole, text)

  check()


@pytest.mark.parametrize('name', sorted(set(_NAMES) - {'harmony'}))
def test_t2_text_without_calls_is_never_lost(name):
  tags = [tag.strip() for tag in _FAMILIES[name].think or ()]

  @settings(max_examples=60, deadline=None)
  @given(_fragments(name))
  def check(text):
    parsed = _parse(name, text)
    if not parsed.calls and not any(tag in text for tag in tags):
      assert parsed.content == text

  check()


@pytest.mark.parametrize('name', _NAMES)
def test_t2_a_truncated_call_is_content(name):
  whole = _FAMILIES[name].calls(('get_weather', _CITY))
  open_call = whole.removesuffix(_FAMILIES[name].close)
  for end in range(1, len(open_call) + 1):
    text = whole[:end]
    parsed = _parse(name, text)
    assert not parsed.calls
    # The header of a message is no text until it names a tool.
    if name != 'harmony' or 'to=' in text:
      assert parsed.content == text


@pytest.mark.parametrize('name', _NAMES)
def test_t2_a_call_of_an_unknown_tool_is_content(name):
  text = _FAMILIES[name].calls(('nope', _CITY))
  assert _parse(name, text) == streams.Parsed(text, '', ())


@pytest.mark.parametrize('name', _NAMES)
def test_t2_arguments_that_are_no_object_are_content(name):
  family = _FAMILIES[name]
  good = family.calls(('get_weather', '{"a": 1}'))
  (written,) = {family.written('{"a": 1}')}
  for wrong in ('[1]', '"a"', '7', '{"a": 1', '{"a": 01}', '{"a": x}', '{]}'):
    text = good.replace(written, wrong)
    assert _parse(name, text) == streams.Parsed(text, '', ()), wrong


@pytest.mark.parametrize(
  'wrong',
  [
    *('{"a": "\\u12g4"}', '{"a": "\\x"}', '{"a": "\n"}', '{"a": 1]'),
    *('{"a" 1}', '{"a": 1,}', '{"a": truth}', '{a: 1}', '{"a": 1 2}'),
    '{"a": ' + '[' * 300 + ']' * 300 + '}',
  ],
)
@pytest.mark.parametrize('name', [n for n in _NAMES if _FAMILIES[n].is_json])
def test_t2_arguments_that_are_no_json_are_content(name, wrong):
  text = _FAMILIES[name].calls(('f', wrong))
  assert _parse(name, text) == streams.Parsed(text, '', ())


@pytest.mark.parametrize(
  'wrong',
  [
    '[f(a=1, a=2)]', '[f("a"=1)]', '[f(1)]', '[f(a="\n")]', '[f(a=b)]',
    '[f(a={b: 1})]', '[f(a=' + '[' * 100 + ']' * 100 + ')]', '[f(a=1) f()]',
    '[f(a="\\uzzzz")]', '[]', '[f]',
  ],
)  # fmt: skip
def test_t2_python_that_is_no_call_is_content(wrong):
  assert _parse('pythonic', wrong) == streams.Parsed(wrong, '', ())


@pytest.mark.parametrize(
  'wrong',
  [
    '{"name": "f", "arguments": {}, "more": "x"}',
    '{"name": "f", "arguments": {}, "parameters": {}}',
    '{"name": "f", "name": "f", "arguments": {}}',
    '{"arguments": {}}',
    '{"name": "f"}',
    '{"name": "note", "arguments": {"input": 1}}',
    '{"name": "note", "arguments": {"input": "x", "more": 1}}',
    '{"name": "note", "arguments": {"input": "\\ud800"}}',
  ],
)
def test_t2_objects_that_are_no_call_are_content(wrong):
  text = f'<tool_call>\n{wrong}\n</tool_call>'
  assert _parse('hermes', text) == streams.Parsed(text, '', ())


def test_t5_python_strings_become_json():
  text = (
    r"""[f(a='\x41\u00e9\ud83d\ude00\U0001f600\'"\d\n', """
    'b=(1, [True]),)]'
  )
  (call,) = _parse('pythonic', text).calls
  assert json.loads(call.arguments) == {
    'a': 'Aé😀😀\'"\\d\n',
    'b': [1, [True]],
  }


@pytest.mark.parametrize(
  'name', [name for name in _NAMES if _FAMILIES[name].close != '}']
)
def test_t2_garbage_in_front_of_the_close_is_content(name):
  family = _FAMILIES[name]
  close = family.close.removeprefix('}')
  good = family.calls(('get_weather', _CITY))
  text = good.removesuffix(close) + ' garbage' + close
  parsed = _parse(name, text)
  if name == 'mistral':
    # The list is broken, but its first call was complete.
    assert parsed.calls == (events.Call('get_weather', _CITY),)
    assert parsed.content == ' garbage]'
  else:
    assert parsed == streams.Parsed(text, '', ())


@pytest.mark.parametrize('name', _NAMES)
def test_t2_a_good_call_follows_a_broken_one(name):
  family = _FAMILIES[name]
  wrong = family.calls(('nope', '{}'))
  good = family.calls(('get_weather', _CITY))
  gap = '<|start|>assistant' if name == 'harmony' else '\n'
  parsed = _parse(name, wrong + gap + good)
  assert [call.name for call in parsed.calls] == ['get_weather']
  assert parsed.content == wrong


@pytest.mark.parametrize('name', _NAMES)
def test_t3_the_same_tool_twice_is_two_calls(name):
  one, two = '{"a": 1}', '{"a": 2}'
  parsed = _parse(name, _FAMILIES[name].calls(('f', one), ('f', two)))
  assert parsed.calls == (events.Call('f', one), events.Call('f', two))
  assert parsed.content == ''


@pytest.mark.parametrize('name', _NAMES)
def test_t5_arguments_come_back(name):
  family = _FAMILIES[name]

  @settings(max_examples=60, deadline=None)
  @given(_ARGUMENTS, st.booleans())
  def check(arguments, is_ascii):
    written = json.dumps(arguments, ensure_ascii=is_ascii)
    (call,) = _parse(name, family.calls(('f', written))).calls
    assert json.loads(call.arguments) == arguments
    if family.is_json:
      assert call.arguments == written

  check()


@pytest.mark.parametrize('name', [n for n in _NAMES if _FAMILIES[n].is_json])
def test_t5_json_stays_as_the_model_wrote_it(name):
  written = (
    '{ "b" :\n[1.50e+3, -0, "\\u00e9\\/\\n\\ud83d\\ude00"],\t"a":{"}": "]"} ,'
    '"tag": "</tool_call><|call|>", "big": 1' + '0' * 5000 + '}'
  )
  parser = formats.get(name).parser(_TOOLS, '')
  text = _FAMILIES[name].calls(('f', written))
  inner = text.index(written)
  # Whole, so that what is spelled in a string is no control token.
  pieces = [
    *streams.pieces_of(name, text[:inner]),
    (written, False),
    *streams.pieces_of(name, text[inner + len(written) :]),
  ]
  assert streams.events_of(parser, pieces) == [events.Call('f', written)]


@pytest.mark.parametrize('name', _NAMES)
def test_t5_a_custom_tool_gets_its_plain_text(name):
  text = _FAMILIES[name].calls(('note', '{"input": "a \\"b\\"\\n\\u00e9"}'))
  (call,) = _parse(name, text).calls
  assert call == events.Call('note', 'a "b"\né', is_custom=True)


@pytest.mark.parametrize('name', _NAMES)
def test_content_around_calls_is_content(name):
  family = _FAMILIES[name]
  text = (
    family.before.replace('@T', 'Let me\n\n look.')
    + family.calls(('f', '{}'))
    + family.after.replace('@T', 'Done,\n  I think.\n')
  )
  parsed = _parse(name, text)
  assert parsed.calls == (events.Call('f', '{}'),)
  assert parsed.content == 'Let me\n\n look.Done,\n  I think.\n'


@pytest.mark.parametrize('name', _NAMES)
def test_without_tools_a_call_is_content(name):
  text = _FAMILIES[name].calls(('get_weather', _CITY))
  assert streams.parse(name, text, ()) == streams.Parsed(text, '', ())


def test_without_tools_no_tag_is_held_back():
  parser = formats.get('hermes').parser((), '')
  assert parser.feed('a <tool_call') == [events.Span('content', 0, 12)]


@pytest.mark.parametrize('name', [*_THINKERS, 'think'])
def test_r1_reasoning_starts_where_the_prompt_says(name):
  tags = ('<think>\n', '\n</think>\n\n')
  opened, closed = tags if name == 'think' else _FAMILIES[name].think
  said = 'Hello\n'
  if name == 'harmony':
    said = '<|channel|>final<|message|>Hello\n'
  text = f'One\n\ntwo{closed}{said}'
  start = '<|start|>assistant' if name == 'harmony' else 'model\n'
  expected = streams.Parsed('Hello\n', 'One\n\ntwo', ())
  for tail in (start + opened, start + opened.rstrip()):
    assert formats.get(name).parser(_TOOLS, tail).is_reasoning
    assert _parse(name, text, prompt_tail=tail) == expected
  assert _parse(name, opened + text, prompt_tail=start) == expected
  assert not formats.get(name).parser(_TOOLS, start).is_reasoning
  done = f'{start}{opened}{closed}'
  assert not formats.get(name).parser(_TOOLS, done).is_reasoning
  assert _parse(name, said, prompt_tail=done).content == 'Hello\n'


@pytest.mark.parametrize('name', _THINKERS)
def test_r1_a_call_may_follow_reasoning(name):
  opened, closed = _FAMILIES[name].think
  text = f'{opened}Hm{closed}{_FAMILIES[name].calls(("f", "{}"))}'
  assert _parse(name, text) == streams.Parsed(
    '', 'Hm', (events.Call('f', '{}'),)
  )


@pytest.mark.parametrize('name', _THINKERS)
def test_r2_reasoning_without_an_end_is_all_reasoning(name):
  opened, _ = _FAMILIES[name].think
  call = _FAMILIES[name].calls(('f', '{}'))
  thought = 'One\n\n' + ('' if name == 'harmony' else call) + ' </thi'
  assert _parse(name, opened + thought) == streams.Parsed('', thought, ())
  tail = ('<|start|>assistant' if name == 'harmony' else '') + opened
  assert _parse(name, thought, prompt_tail=tail) == streams.Parsed(
    '', thought, ()
  )


def test_s3_is_reasoning_ends_with_the_tag():
  parser = formats.get('hermes').parser(_TOOLS, '<think>\n')
  states = []
  for char in 'a</think>b':
    parser.feed(char)
    states.append(parser.is_reasoning)
  assert states == [True] * 8 + [False] * 2


def test_a_reasoning_tag_in_the_middle_is_content():
  text = 'Write <think> and </think>.'
  assert _parse('hermes', text) == streams.Parsed(text, '', ())


def test_control_tokens_are_tags_or_nothing():
  parser = formats.get('hermes').parser(_TOOLS, '')
  pieces = [
    ('Hi', False), ('<|odd|>', True), (' ', False), ('<tool_call>', True),
    ('{"name": "f", "arguments": {}}', False), ('</tool_call>', True),
    ('<|im_end|>', True),
  ]  # fmt: skip
  found = streams.events_of(parser, pieces)
  assert found == [events.Span('content', 0, 2), events.Call('f', '{}')]


def test_an_unknown_control_token_ends_what_is_held():
  parser = formats.get('hermes').parser(_TOOLS, '')
  pieces = [('a <tool', False), ('<|odd|>', True), ('_call>', False)]
  assert streams.events_of(parser, pieces) == [
    events.Span('content', 0, 7),
    events.Span('content', 14, 20),
  ]


def test_harmony_takes_ordinary_text_for_text():
  parser = formats.get('harmony').parser(_TOOLS, '<|start|>assistant')
  said = 'Say <|end|><|start|>assistant to=functions.f'
  head = [('<|channel|>', True), ('final', False), ('<|message|>', True)]
  text = ''.join(piece for piece, _ in [*head, (said, False)])
  found = streams.events_of(parser, [*head, (said, False)])
  assert streams.show(found, text) == streams.Parsed(said, '', ())


def test_harmony_without_a_header_is_content():
  assert _parse('harmony', 'Hello there') == streams.Parsed(
    'Hello there', '', ()
  )


@pytest.mark.parametrize(
  'text',
  [
    '<|channel|>commentary to=f json<|message|>{}<|call|>',
    '<|channel|>commentary to=functions.f json<|message|>{<|constrain|>}'
    '<|call|>',
    '<|channel|>commentary to=python<|message|>1<|call|>',
  ],
)
def test_t2_harmony_messages_to_nobody_known_are_content(text):
  assert _parse('harmony', text) == streams.Parsed(text, '', ())


def test_r1_harmony_goes_on_with_a_header_of_the_prompt():
  tail = '<|start|>assistant<|channel|>commentary to='
  text = 'functions.f<|message|>{}<|call|>'
  assert _parse('harmony', text, prompt_tail=tail).calls
  wrong = text.replace('functions.', '')
  parser = formats.get('harmony').parser(_TOOLS, tail)
  found = streams.events_of(parser, streams.pieces_of('harmony', wrong))
  # The prompt's part of the message is not the answer's.
  assert found == [events.Span('content', 0, len(wrong))]


def test_t2_harmony_does_not_wait_for_the_end_of_a_long_header():
  parser = formats.get('harmony').parser(_TOOLS, '')
  shown = streams.joined(parser.feed(' to=' + 'x' * 300))
  assert shown == [events.Span('content', 0, 304)]


def test_t2_deepseek_names_a_tool_once():
  good = _FAMILIES['deepseek'].calls(('f', '{}'))
  text = good.replace('>function<', '>get_weather<')
  assert _parse('deepseek', text) == streams.Parsed(text, '', ())


def test_t2_mistral_calls_need_a_comma_between_them():
  good = _FAMILIES['mistral'].calls(('f', '{}'), ('f', '{}'))
  text = good.replace('}, {', '}; {')
  parsed = _parse('mistral', text)
  assert len(parsed.calls) == 1
  assert parsed.content == '; {"name": "f", "arguments": {}}]'


def test_content_is_not_held_back():
  for name in _NAMES:
    parser = formats.get(name).parser(_TOOLS, '')
    text = 'One < two [three] {four}, "five" 6'
    if name == 'harmony':
      for piece in ('<|channel|>', 'final', '<|message|>'):
        parser.feed(piece, piece != 'final')
    shown = 0
    for char in text:
      shown += sum(e.stop - e.start for e in parser.feed(char))
    assert shown >= len(text) - 1, name


def test_hermes_reads_the_plain_form_of_a_custom_tool():
  text = '<tool_call>\n{"name": "note"}\na\n</tool\n</tool_call>'
  (call,) = _parse('hermes', text).calls
  assert call == events.Call('note', 'a\n</tool', is_custom=True)


def test_a_custom_text_that_looks_like_json_stays_if_a_format_says_so():
  given = types.Tool(
    name='note',
    is_custom=True,
    input_format=types.Grammar(kind='regex', source='.*'),
  )
  text = '{"input": "a"}'
  stream = _FAMILIES['deepseek_v31'].calls(('note', text))
  (call,) = streams.parse('deepseek_v31', stream, (given,)).calls
  assert call.arguments == text
  (call,) = _parse('deepseek_v31', stream).calls
  assert call.arguments == 'a'


def test_a_name_that_no_tool_begins_with_is_not_held_back():
  parser = formats.get('pythonic').parser(_TOOLS, '')
  shown = parser.feed('[nothing of the kind')
  assert streams.joined(shown) == [events.Span('content', 0, 20)]


def test_llama_takes_json_with_other_names_for_content():
  text = '{"name": "Bob", "parameters": {}}\n{"name": 3}\n{"a": 1}'
  assert _parse('llama_json', text).content == text
  tagged = '<|python_tag|>{"name": "f", "parameters": {}}'
  assert _parse('llama_json', tagged).calls == (events.Call('f', '{}'),)


@pytest.mark.parametrize('name', ['llama_json', 'pythonic'])
def test_calls_without_tags_begin_a_line(name):
  call = _FAMILIES[name].calls(('f', '{}'))
  inline = f'Such as {call}'
  assert _parse(name, inline) == streams.Parsed(inline, '', ())
  assert _parse(name, f'So:\n  {call}').calls == (events.Call('f', '{}'),)


def test_formats_have_names():
  with pytest.raises(types.ChatjaxError, match='hermes'):
    formats.get('nope')
  for name, each in formats.FORMATS.items():
    assert each.name == name
  assert formats.get('plain').grammar(_TOOLS, is_parallel=True) is None


@pytest.mark.parametrize('noise', ['<', '{"name": "', '[f(', '\n', '</think'])
@pytest.mark.parametrize('name', sorted(formats.FORMATS))
def test_parsing_is_linear(name, noise):
  # The two whose readers hold back most are given most.
  num_chars = 200_000 if name in ('hermes', 'llama_json') else 20_000
  text = noise * (num_chars // len(noise))
  begun = time.process_time()
  parser = formats.get(name).parser(_TOOLS, '')
  for char in text:
    parser.feed(char)
  parser.finish()
  assert time.process_time() - begun < num_chars / 200_000


@pytest.mark.parametrize('name', _NAMES)
def test_a_long_broken_call_is_read_in_linear_time(name):
  long = '{"a": "' + 'x' * 100_000 + '"}'
  text = _FAMILIES[name].calls(('f', long)).removesuffix(_FAMILIES[name].close)
  begun = time.process_time()
  assert not _parse(name, text, cuts=range(len(text))).calls
  assert time.process_time() - begun < 1


def test_detect_knows_rendered_tags():
  for name, family in _FAMILIES.items():
    if name in ('llama_json', 'pythonic', 'harmony', 'mistral'):
      continue
    text = re.sub('@[NA]', '', family.begin + family.one)
    assert formats.detect(text) == name
  assert formats.detect('{{ messages }}') == 'plain'
  assert formats.detect('<think>') == 'think'
