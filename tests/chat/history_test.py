"""Calls of earlier turns in the words of picky templates."""

import pytest

from chatjax.chat import format as format_lib
from chatjax.chat import history
from chatjax.testing import byte_tokenizer

SHORT = (
  '{% for m in messages %}{% for c in m.tool_calls or [] %}'
  '{% if c.id|length != 9 %}{{ raise_exception("length 9") }}{% endif %}'
  '{{ c.function.name }}={{ c.id }};{% endfor %}'
  '{% if m.tool_call_id is defined %}'
  '{% if m.tool_call_id|length != 9 %}{{ raise_exception("9!") }}{% endif %}'
  '{{ m.tool_call_id }}:{{ m.content }};{% endif %}{% endfor %}'
)
SINGLE = (
  '{% for m in messages %}{% if m.tool_calls %}'
  '{%- if not m.tool_calls|length == 1 %}\n'
  '{{- raise_exception("only single tool-calls") }}{%- endif %}'
  '{{ m.content }}({{ m.tool_calls[0].function.name }})'
  '{% else %}{{ m.content }}{% endif %};{% endfor %}'
)


def call(call_id, name):
  function = {'name': name, 'arguments': {}}
  return {'id': call_id, 'type': 'function', 'function': function}


def result(call_id, text):
  return {'role': 'tool', 'tool_call_id': call_id, 'content': text}


def asked(*calls):
  return {
    'role': 'assistant', 'content': 'well', 'tool_calls': [*calls],
    'reasoning_content': 'hm', 'thinking': 'hm',
  }  # fmt: skip


USER = {'role': 'user', 'content': 'hi'}
TALK = (
  USER,
  asked(call('call_1', 'f'), call('abcdefghi', 'g')),
  result('abcdefghi', 'two'),
  result('call_1', 'one'),
  {'role': 'assistant', 'content': 'done'},
)


def rendered(template, messages=TALK):
  made = format_lib.ChatFormat.from_template(
    template,
    bos_token='',
    eos_token='',
    tokenizer=byte_tokenizer.ByteTokenizer(),
  )
  return made.render(messages)


def test_ids_are_nine_letters_where_a_template_wants_them():
  text = rendered(SHORT)
  first, second, two, one, end = text.split(';')
  assert second == 'g=abcdefghi'  # it was right
  made = first.removeprefix('f=')
  assert len(made) == 9
  assert made.isalnum()
  assert (two, one, end) == ('abcdefghi:two', f'{made}:one', '')
  assert rendered(SHORT) == text


def test_calls_stand_alone_where_a_template_wants_it():
  assert rendered(SINGLE) == 'hi;well(f);one;(g);two;done;'


@pytest.mark.parametrize('text', [
  "message['content'] is none", 'message.content is not none',
])  # fmt: skip
def test_no_text_is_none_where_a_template_asks_for_it(text):
  template = f'{{% if {text} %}}'
  calls = asked(call('call_1', 'f'))
  silent = {**calls, 'content': ''}
  said = {'role': 'assistant', 'content': ''}
  told = history.fit([silent, calls, said], template)
  assert [message['content'] for message in told] == [None, 'well', '']
  for other in ('{{ content }}', '{% if m.reasoning_content is not none %}'):
    assert history.fit([silent], other) == [silent]


def test_calls_without_results_yet():
  told = history.fit(TALK[:2], SINGLE)
  assert [len(x.get('tool_calls', ())) for x in told] == [0, 1, 1]
  assert [x.get('thinking') for x in told] == [None, 'hm', '']
  assert told[1]['tool_calls'] + told[2]['tool_calls'] == TALK[1]['tool_calls']


@pytest.mark.parametrize('template', ['', '{% if m.tool_calls|length == 1 %}'])
def test_others_get_what_was_sent(template):
  assert history.fit(TALK, template) == list(TALK)
