"""Content, reasoning and calls of one choice, with their log-probabilities."""

import types as builtin_types

from hypothesis import given
from hypothesis import strategies as st
import pytest

from chatjax import types
from chatjax.chat import choice as choice_lib
from chatjax.chat.parsers import formats
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine

EOS = byte_tokenizer.EOS
TOOLS = (types.Tool(name='add', parameters={'type': 'object'}),)
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": "é"}}\n</tool_call>'
STOP = types.FinishReason.STOP
LENGTH = types.FinishReason.LENGTH


class Tagged(byte_tokenizer.ByteTokenizer):
  """More tokens: <tool_call>, a control token, and two of many letters."""

  vocab_size = 261
  words = builtin_types.MappingProxyType(
    {258: b'', 259: b'</tool_call>x', 260: b'aSTOP<tool_call>'}
  )

  def token_bytes(self, token_id):
    if token_id in self.words:
      return self.words[token_id]
    return super().token_bytes(token_id)

  def spelling(self, token_id):
    return '<tool_call>' if token_id == 258 else super().spelling(token_id)


def run(
  text, groups=(), *, reason=STOP, tail='', format_name='hermes', **fields
):
  """The joined choice, and its deltas; `text` may be token ids."""
  options = {
    name: fields.pop(name)
    for name in ('call_ends', 'is_named', 'tag_ids')
    if name in fields
  }
  tokenizer = Tagged()
  parser = formats.get(format_name).parser(fields.pop('tools', TOOLS), tail)
  one = choice_lib.ChoiceAssembler(
    0, tokenizer, types.SamplingParams(logprobs=True, **fields),
    hidden_ids={EOS}, parser=parser, **options,
  )  # fmt: skip
  ids = list(text.encode()) if isinstance(text, str) else list(text)
  deltas, start = [], 0
  for size in [*groups, len(ids)]:
    part = ids[start : start + size]
    start += size
    if delta := one.add([fake_engine.fake_token(i, 0) for i in part]):
      deltas.append(delta)
      if delta.finish_reason:
        return choice_lib.join(deltas), deltas
  deltas.append(one.finish(reason))
  return choice_lib.join(deltas), deltas


def told(result):
  """What must not depend on the grouping; ids of calls are drawn."""
  return (
    result.text, result.reasoning, result.token_ids, result.logprobs,
    [(call.name, call.arguments) for call in result.calls],
    result.finish_reason, result.num_reasoning,
  )  # fmt: skip


TEXTS = [
  f'<think>\nwhy é?\n</think>\n\nHello {CALL}\n{CALL} and STOP more',
  f'{CALL}{CALL}',
  '<think>only thoughts, no end',
  'a < b <tool_call>{"name": "add"} c </tool_call> d',
  'plain é€ text STOP',
  'nearly STO, SSTO\n<think> STx',
  '',
]


@pytest.mark.parametrize('text', TEXTS)
@given(groups=st.lists(st.integers(0, 9), max_size=40))
def test_t1_l3_l4_grouping_changes_nothing_and_logprobs_are_the_text(
  text, groups
):
  whole, _ = run(text, stop=('STOP',))
  cut, deltas = run(text, groups, stop=('STOP',))
  assert told(cut) == told(whole)
  # L3: the joined bytes are the content, L4: no entry for anything else.
  assert b''.join(one.bytes for one in cut.logprobs).decode() == cut.text
  # Log-probabilities go out no earlier than their text.
  seen = entries = 0
  for delta in deltas:
    seen += len(delta.text.encode())
    entries += sum(len(one.bytes) for one in delta.logprobs)
    assert entries <= seen


def test_parts_of_a_choice():
  result, _ = run(TEXTS[0], stop=('STOP',))
  assert result.text == 'Helloand '  # white space around calls is the format's
  assert result.reasoning == 'why é?'
  assert [c.arguments for c in result.calls] == ['{"a": "é"}'] * 2
  assert result.calls[0].id != result.calls[1].id
  assert result.finish_reason == 'tool_calls'


def test_p3_stop_strings_are_not_looked_for_in_reasoning_or_calls():
  text = '<think>STOP</think>a<tool_call>{"name": "add", "arguments": {"k":'
  text += ' "STOP"}}</tool_call>b STOP c'
  result, _ = run(text, stop=('STOP',))
  assert (result.reasoning, result.text) == ('STOP', 'ab ')
  assert len(result.calls) == 1


def test_include_stop_keeps_it_with_its_log_probabilities():
  result, _ = run('say STOP now', stop=('STOP',), include_stop=True)
  assert result.text == 'say STOP'
  assert len(result.logprobs) == len('say STOP')
  assert result.finish_reason == 'stop'


def test_r2_reasoning_tokens_are_counted_to_the_close_tag():
  text = '<think>ab</think>c'
  result, _ = run(text)
  # Once the open tag is read, up to the last character of the close tag.
  assert result.num_reasoning == len('ab</think>')
  result, _ = run('ab</think>c', tail='<think>\n')
  assert result.num_reasoning == len('ab</think>')
  assert (result.reasoning, result.text) == ('ab', 'c')
  result, _ = run('abc', tail='<think>\n', reason=LENGTH)
  assert (result.reasoning, result.text) == ('abc', '')
  assert result.num_reasoning == 3
  assert result.finish_reason == 'length'


def test_t4_why_a_choice_with_calls_ended():
  assert run(CALL)[0].finish_reason == 'tool_calls'
  assert run(CALL, is_named=True)[0].finish_reason == 'stop'
  assert run(CALL, reason=LENGTH)[0].finish_reason == 'length'
  assert run('none')[0].finish_reason == 'stop'


def test_one_call_ends_a_choice_that_may_not_make_two():
  result, _ = run(f'{CALL}\n{CALL}', call_ends=True)
  assert len(result.calls) == 1
  assert result.token_ids == tuple(CALL.encode())
  assert result.finish_reason == 'tool_calls'


def test_what_follows_the_end_in_the_same_token_is_not_seen():
  ids = [*CALL.removesuffix('</tool_call>').encode(), 259]
  result, _ = run(ids, call_ends=True)
  assert (len(result.calls), result.text) == (1, '')
  result, _ = run(ids)
  assert (len(result.calls), result.text) == (1, 'x')
  rest = CALL.removeprefix('<tool_call>').encode()
  result, _ = run([260, *rest], stop=('STOP',))
  assert (len(result.calls), result.text) == (0, 'a')


def test_t2_a_torn_call_is_content():
  torn = CALL[:-20]
  result, _ = run(f'x {torn}', reason=LENGTH)
  assert result.text == f'x {torn}'
  assert not result.calls
  assert b''.join(one.bytes for one in result.logprobs).decode() == result.text


def test_tags_that_are_control_tokens():
  ids = [258, *CALL.removeprefix('<tool_call>').encode()]
  result, _ = run([*b'hi', *ids, *b'!'], tag_ids={258})
  assert (result.text, len(result.calls)) == ('hi!', 1)
  assert len(result.logprobs) == 3
  # One in the middle of a character ends that character.
  result, _ = run([0xC3, *ids], tag_ids={258})
  assert (result.text, len(result.calls)) == ('\ufffd', 1)


def test_without_tools_a_call_is_text():
  result, _ = run(CALL, tools=())
  assert result.text == CALL
  assert result.finish_reason == 'stop'
