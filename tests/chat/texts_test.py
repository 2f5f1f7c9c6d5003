"""Several prompts at once, and their echoes."""

import asyncio
import gc

import pytest

from chatjax import types
from chatjax.chat import echo
from chatjax.chat import session as session_lib
from chatjax.chat import texts
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import text_completion
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine

BYTES = byte_tokenizer.ByteTokenizer()


def reversed_prompt(request, choice):
  ids = [one for one in request.prompt_ids if one < 256]
  return [*ids[::-1], ord('0') + choice, byte_tokenizer.EOS]


def session(script=reversed_prompt, **engine_args):
  return session_lib.Session(
    fake_engine.FakeEngine(script, **engine_args),
    BYTES,
    byte_tokenizer.ByteChatFormat(),
    model_id='tiny',
    sampler_version=1,
  )


def start(one, prompt, **fields):
  body = {'model': 'tiny', 'prompt': prompt, **fields}
  asked = text_completion.parse(body, limits=limits_lib.Limits())
  ids = [f'cmpl-x-{which}' for which in range(len(asked.prompts))]
  return texts.start(
    one, asked, answer_id='cmpl-x', request_ids=ids, timeout_s=None
  )


def results(one, prompt, **fields):
  return asyncio.run(start(one, prompt, **fields).aresult())


def spelled(entries):
  return [entry.token for entry in entries]


def test_each_prompt_has_its_choices():
  got = results(session(), ['ab', 'cd'], n=2)
  assert [[c.text for c in one.choices] for one in got] == (
    [['ba0', 'ba1'], ['dc0', 'dc1']]
  )


def test_one_seed_for_all():
  for fields in ({}, {'seed': 5}):
    one = session()
    running = start(one, ['a', 'b', 'c'], **fields)
    assert len({request.seed for request in one.engine.requests}) == 1
    assert len({part.meta.choice_keys for part in running.parts}) == 1
  assert running.meta.shared.seed == 5
  assert start(session(), 'a').meta.shared.seed != (
    start(session(), 'a').meta.shared.seed
  )


def test_the_token_that_starts_a_text():
  one = session()
  start(one, 'a')
  start(one, 'a', add_special_tokens=False)
  start(one, [97])
  assert [request.prompt_ids for request in one.engine.requests] == (
    [(256, 97), (97,), (97,)]
  )


@pytest.mark.parametrize(
  ('fields', 'wanted'),
  [
    ({}, None),
    ({'logprobs': 3}, None),
    ({'echo': True}, None),
    ({'echo': True, 'logprobs': 3}, 3),
    ({'prompt_logprobs': 1}, 1),
    ({'echo': True, 'logprobs': 0, 'prompt_logprobs': 2}, 2),
  ],
)
def test_prompts_are_scored_where_that_is_told(fields, wanted):
  one = session()
  start(one, 'a', **fields)
  assert one.engine.requests[0].prompt_logprobs == wanted


def test_echo():
  fields = {'echo': True, 'logprobs': 1, 'max_tokens': 1}
  for choice in results(session(), 'ab', n=2, **fields)[0].choices:
    assert choice.text == 'abb'
    assert spelled(choice.logprobs) == ['<bos>', 'a', 'b', 'b']
    assert choice.logprobs[0].logprob is None
    assert [len(entry.top) for entry in choice.logprobs] == [0, 1, 1, 1]
    scored = fake_engine.fake_prompt_token(ord('a'), 1)
    assert choice.logprobs[1].logprob == scored.logprob
    assert choice.token_ids == (ord('b'),)


def test_an_echo_of_fewer_alternatives_than_the_report():
  got = results(session(), 'ab', echo=True, logprobs=1, prompt_logprobs=3)[0]
  assert [len(entry.top) for entry in got.choices[0].logprobs[:3]] == [0, 1, 1]
  assert [len(entry.top) for entry in got.prompt_logprobs[1:]] == [3, 3]


def test_scores_only():
  got = results(session(), 'ab', echo=True, logprobs=0, max_tokens=0, n=2)[0]
  for choice in got.choices:
    assert (choice.text, choice.token_ids) == ('ab', ())
    assert spelled(choice.logprobs) == ['<bos>', 'a', 'b']
    assert choice.finish_reason is types.FinishReason.LENGTH


def test_the_end_has_a_logprob():
  """Scorers count tokens from the end of the list."""
  got = results(session(), 'a', logprobs=0)[0].choices[0]
  assert spelled(got.logprobs) == ['a', '0', '<eos>']
  assert len(got.logprobs) == len(got.token_ids)
  # What a stop string cuts off is not told.
  got = results(session(), 'abc', logprobs=0, stop='a0')[0].choices[0]
  assert (got.text, spelled(got.logprobs)) == ('cb', ['c', 'b'])


def test_deltas_make_the_result():
  """In whatever order the prompts' tokens come."""

  async def read():
    running = start(session(block=1), ['abc', 'de'], n=2, echo=True, logprobs=2)
    found = ['', '', '', '']
    ends = []
    async for delta in running:
      found[delta.choice] += delta.text
      if delta.finish_reason:
        ends.append(delta.choice)
    return found, sorted(ends)

  found, ends = asyncio.run(read())
  assert found == ['abccba0', 'abccba1', 'deed0', 'deed1']
  assert ends == [0, 1, 2, 3]


@pytest.mark.parametrize('is_whole', [True, False])
def test_one_failure_ends_all(is_whole):
  def script(request, choice):
    if request.prompt_ids[-1] == ord('b'):
      raise types.ChatjaxError('this one')
    return [97] * 4000

  one = session(script, block=1, pause_s=0.01)
  running = start(one, ['a', 'b', 'c'], max_tokens=3000)

  async def read():
    async for _ in running:
      pass

  with pytest.raises(types.ChatjaxError, match='this one'):
    asyncio.run(running.aresult() if is_whole else read())
  assert one.engine.num_open == 0
  assert [part.failure is None for part in running.parts] == (
    [True, False, True]
  )


def test_a_refusal_ends_those_before():
  one = session(lambda *_: [97] * 4000, block=1, pause_s=0.01)
  with pytest.raises(types.RequestError) as caught:
    start(one, [[97], [98], [258]])
  assert caught.value.param == 'prompt'
  assert len(one.engine.requests) == 2
  assert one.engine.num_open == 0


@pytest.mark.parametrize('how', ['cancel', 'drop'])
def test_nobody_reads(how):
  one = session(lambda *_: [97] * 4000, block=1, pause_s=0.01)
  running = start(one, ['a', 'b'], max_tokens=3000)
  assert one.engine.num_open == 2
  if how == 'cancel':
    running.cancel()
    assert asyncio.run(anext(running, None)) is None
  del running
  gc.collect()
  assert one.engine.num_open == 0


def test_a_reader_is_told_of_the_end():
  one = session(lambda *_: [97] * 4000, block=1, pause_s=0.01)
  running = start(one, ['a', 'b'], max_tokens=3000)
  running.fail(types.RequestError('enough', status=503))
  with pytest.raises(types.RequestError, match='enough'):
    asyncio.run(running.aresult())
  assert one.engine.num_open == 0


class Spaced(byte_tokenizer.ByteTokenizer):
  """Puts a space in front of a text, as some tokenizers do."""

  def encode(self, text):
    return list(f' {text}'.encode())


def test_an_echo_is_what_was_given():
  tokenizer = Spaced()
  ids = [byte_tokenizer.BOS, *tokenizer.encode('ab')]
  scored = [fake_engine.fake_prompt_token(one, 1) for one in ids[1:]]
  text, entries = echo.echo(tokenizer, 'ab', ids, scored, num_top=1)
  assert text == 'ab' == b''.join(entry.bytes for entry in entries).decode()
  assert [entry.id for entry in entries] == ids
  assert echo.echo(tokenizer, ids, ids, scored, num_top=1)[0] == ' ab'
  assert echo.echo(BYTES, ' ab', list(b' ab'), None, num_top=0) == (' ab', ())
