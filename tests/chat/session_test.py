"""Tokens in, deltas out: the same for every grouping, nothing leaks."""

import asyncio
import dataclasses
import threading
import time
import weakref

from hypothesis import given
from hypothesis import strategies as st
import pytest

from chatjax import types
from chatjax.chat import choice as choice_lib
from chatjax.chat import choice_keys
from chatjax.chat import generation
from chatjax.chat import session as session_lib
from chatjax.chat.parsers import plain
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine

EOS = byte_tokenizer.EOS
TOKENIZER = byte_tokenizer.ByteTokenizer()
MESSAGES = [{'role': 'user', 'content': 'hi'}]
FORMAT = byte_tokenizer.ByteChatFormat()
PROMPT = FORMAT.encode(MESSAGES)


class WordTokenizer(byte_tokenizer.ByteTokenizer):
  """Tokens of several bytes, some ending inside a character."""

  words = (b'ab', b'bc ', 'a€'.encode()[:2], '€'.encode()[1:], b'', b'\xff\xc3')
  vocab_size = 258 + len(words)

  def token_bytes(self, token_id):
    if token_id > EOS:
      return self.words[token_id - EOS - 1]
    return super().token_bytes(token_id)


def session(script, *, tokenizer=TOKENIZER, chat_format=FORMAT, **kwargs):
  engine = fake_engine.FakeEngine(script, **kwargs)
  engine.vocab_size = tokenizer.vocab_size
  return session_lib.Session(
    engine,
    tokenizer,
    chat_format,
    model_id='m',
    sampler_version=1,
  )


def request(*, n=1, seed=None, model=None, **sampling):
  return types.Request(
    messages=MESSAGES,
    sampling=types.SamplingParams(**sampling),
    n=n,
    seed=seed,
    model=model,
  )


def assemble(
  ids,
  groups,
  reason,
  tokenizer=TOKENIZER,
  *,
  parser=None,
  call_ends=False,
  **sampling,
):
  """Feeds ids in groups of the given sizes; returns (deltas, joined)."""
  params = types.SamplingParams(logprobs=True, top_logprobs=2, **sampling)
  one = choice_lib.ChoiceAssembler(
    0,
    tokenizer,
    params,
    hidden_ids={256, EOS},
    parser=parser or plain.PLAIN.parser(()),
    call_ends=call_ends,
  )
  deltas, start = [], 0
  for size in [*groups, len(ids)]:
    tokens = [fake_engine.fake_token(i, 2) for i in ids[start : start + size]]
    start += size
    if delta := one.add(tokens):
      deltas.append(delta)
      if delta.finish_reason:
        return deltas, choice_lib.join(deltas)
  deltas.append(one.finish(reason))
  return deltas, choice_lib.join(deltas)


def first_stop(text, stops):
  """The definition: the match that ends first; of those, the longest."""
  for end in range(len(text) + 1):
    starts = [end - len(s) for s in stops if text[:end].endswith(s)]
    if starts:
      return min(starts)
  return None


IDS = st.lists(
  st.one_of(
    st.sampled_from([*b'abc \xe2\x82\xac', 256]),
    st.integers(0, WordTokenizer.vocab_size - 1).filter(lambda i: i != EOS),
  ),
  max_size=24,
)
STOPS = st.lists(
  st.text('abc €', min_size=1, max_size=4), max_size=4, unique=True
)


@given(IDS, STOPS, st.lists(st.integers(0, 5)))
def test_grouping_changes_nothing(ids, stops, groups):
  words = WordTokenizer()
  end = types.FinishReason.LENGTH
  _, whole = assemble(ids, [], end, words, stop=tuple(stops))
  deltas, cut = assemble(ids, groups, end, words, stop=tuple(stops))
  _, single = assemble(ids, [1] * len(ids), end, words, stop=tuple(stops))
  assert cut == whole == single
  assert all(d.finish_reason is None for d in deltas[:-1])


@given(IDS, STOPS)
def test_text_is_the_decoded_text_up_to_the_stop(ids, stops):
  words = WordTokenizer()
  end = types.FinishReason.LENGTH
  deltas, result = assemble(ids, [1] * len(ids), end, words, stop=tuple(stops))
  raw = b''.join(words.token_bytes(i) for i in ids)
  full = raw.decode(errors='replace')
  cut = first_stop(full, stops)
  assert result.text == full[:cut]
  assert (result.finish_reason == 'stop') == (cut is not None)
  # Nothing that was sent had to be taken back.
  sent = ''
  for delta in deltas:
    sent += delta.text
    assert full[:cut].startswith(sent)
  if cut is None:
    assert list(result.token_ids) == ids
    assert b''.join(e.bytes for e in result.logprobs) == raw


@given(IDS, STOPS, st.lists(st.integers(0, 5)))
def test_logprob_bytes_are_the_visible_text(ids, stops, groups):
  words = WordTokenizer()
  end = types.FinishReason.LENGTH
  deltas, result = assemble(ids, groups, end, words, stop=tuple(stops))
  joined = b''.join(entry.bytes for entry in result.logprobs)
  assert joined.decode(errors='replace') == result.text
  if '\ufffd' not in result.text:
    assert joined == result.text.encode()
  assert all(entry.bytes for entry in result.logprobs)
  # An entry never shows what its text does not show yet.
  text, shown = '', b''
  for delta in deltas:
    text += delta.text
    shown += b''.join(entry.bytes for entry in delta.logprobs)
    decoded = shown.decode(errors='ignore')
    assert '\ufffd' in text or text.startswith(decoded)


def test_a_stop_cuts_inside_a_token():
  words = WordTokenizer()
  ids = [ord('x'), EOS + 2, ord('z'), ord('q')]  # x, 'bc ', z, q
  deltas, result = assemble(
    ids, [1, 1, 1, 1], types.FinishReason.LENGTH, words, stop=('c z',)
  )
  assert result.text == 'xb'
  assert [entry.bytes for entry in result.logprobs] == [b'x', b'b']
  assert [entry.token for entry in result.logprobs] == ['x', 'b']
  assert result.token_ids == tuple(ids[:3])  # with the one that decided
  assert result.finish_reason == 'stop'
  assert [delta.text for delta in deltas] == ['x', 'b', '']


def test_a_split_character_keeps_its_own_bytes():
  ids = list('a€'.encode())
  deltas, result = assemble(ids, [1] * 4, types.FinishReason.LENGTH)
  assert [delta.text for delta in deltas] == ['a', '', '', '€', '']
  assert [len(delta.logprobs) for delta in deltas] == [1, 0, 0, 3, 0]
  assert [entry.bytes for entry in result.logprobs] == [
    b'a', b'\xe2', b'\x82', b'\xac',
  ]  # fmt: skip
  assert result.logprobs[0].top[1].id == ord('b')
  assert result.logprobs[0].logprob == fake_engine.fake_token(97, 0).logprob


def test_what_never_becomes_a_character_is_not_held_back():
  ids = [0xED, 0xA0, 0x80, ord('a')]  # half of a surrogate pair
  deltas, _ = assemble(ids, [1] * 4, types.FinishReason.LENGTH)
  text = [delta.text for delta in deltas]
  assert text == ['', '\ufffd\ufffd', '\ufffd', 'a', '']
  assert [len(delta.logprobs) for delta in deltas] == [0, 2, 1, 1, 0]


def test_the_stream_ends_inside_a_character():
  _, result = assemble([97, 0xE2, 0x82, EOS], [1] * 4, types.FinishReason.STOP)
  assert result.text == 'a\ufffd'
  assert b''.join(e.bytes for e in result.logprobs) == b'a\xe2\x82'
  assert result.token_ids[-1] == EOS


def test_only_a_viable_prefix_is_held_back():
  deltas, result = assemble(
    list(b'abab!'), [1] * 5, types.FinishReason.LENGTH, stop=('abc',)
  )
  assert [d.text for d in deltas] == ['', '', 'ab', '', 'ab!', '']
  assert [len(d.logprobs) for d in deltas] == [0, 0, 2, 0, 3, 0]
  _, result = assemble(list(b'xab'), [], types.FinishReason.STOP, stop=('abc',))
  assert result.text == 'xab'


def test_stop_strings_wait_for_min_tokens():
  _, result = assemble(
    list(b'a.b.c.'), [], types.FinishReason.LENGTH, stop=('.',), min_tokens=3
  )
  assert result.text == 'a.b'


def test_a_stop_string_ends_the_choice_in_the_engine():
  script = fake_engine.text_script('one. two', 'three', end=True)
  one = session(script, block=2, pause_s=0.01)
  result = one.start(request(n=2, stop=('.',))).result()
  assert [c.text for c in result.choices] == ['one', 'three']
  assert [c.finish_reason for c in result.choices] == ['stop', 'stop']
  assert [len(c.token_ids) for c in result.choices] == [4, 6]
  assert [choice for _, choice in one.engine.cancelled] == [0]


def test_what_comes_after_a_stop_string_is_ignored(monkeypatch):
  monkeypatch.setattr(fake_engine.FakeEngine, 'cancel', lambda *unused: None)
  script = fake_engine.text_script('one. two', 'three is longer', end=True)
  one = session(script, block=1)
  result = one.start(request(n=2, stop=('.',), logprobs=True)).result()
  assert result.choices[0].text == 'one'
  assert result.choices[0].token_ids == tuple(b'one.')
  assert len(result.choices[0].logprobs) == 3
  assert result.choices[1].text == 'three is longer'


def test_stop_ids_and_ignore_eos():
  script = fake_engine.text_script('a|b')
  one = session(script)
  result = one.start(request(stop_token_ids=(ord('|'),))).result()
  assert result.choices[0].text == 'a'
  assert result.choices[0].token_ids == tuple(b'a|')
  one.start(request()).result()
  one.start(request(ignore_eos=True)).result()
  stop_ids = [sent.stop_ids for sent in one.engine.requests]
  assert stop_ids == [{EOS, ord('|')}, {EOS}, frozenset()]


def test_max_tokens_is_clipped_to_the_context():
  room = 5
  one = session(
    fake_engine.text_script('x' * 99), max_context=len(PROMPT) + room
  )
  for asked, got in ((None, room), (99, room), (2, 2)):
    result = one.start(request(max_tokens=asked)).result()
    assert len(result.choices[0].token_ids) == got
    assert result.choices[0].finish_reason == 'length'
  one.engine.max_context = len(PROMPT)
  with pytest.raises(types.RequestError) as caught:
    one.start(request())
  assert caught.value.code == 'context_length_exceeded'
  assert caught.value.param == 'messages'
  assert len(one.engine.requests) == 3


def test_seeds():
  one = session(fake_engine.text_script('x'))
  seeds = [one.start(request()).meta.seed for _ in range(4)]
  assert len(set(seeds)) == 4
  assert all(types.MIN_SEED <= seed <= types.MAX_SEED for seed in seeds)
  assert [sent.seed for sent in one.engine.requests] == seeds
  for seed in (0, -1, types.MIN_SEED, types.MAX_SEED):
    assert one.start(request(seed=seed)).meta.seed == seed


def test_choice_keys_are_those_of_jax():
  import jax  # slow; no other test here wants it

  for seed in (0, 5, 5 + 2**32, -1, 2**63 - 1, -(2**63)):
    words = [seed >> 32 & 0xFFFFFFFF, seed & 0xFFFFFFFF]
    key = jax.random.wrap_key_data(jax.numpy.array(words, 'uint32'))
    for choice in (0, 1, 7):
      data = jax.random.key_data(jax.random.fold_in(key, choice))
      expected = ''.join(f'{int(word):08x}' for word in data)
      assert choice_keys.choice_key(seed, choice) == expected


def test_ids_outside_the_vocabulary():
  one = session(fake_engine.text_script('x'))
  one.start(request(logit_bias={257: 1.0}, stop_token_ids=(257,)))
  for field in ({'logit_bias': {258: 1.0}}, {'stop_token_ids': (258,)}):
    with pytest.raises(types.RequestError, match='0 to 257') as caught:
      one.start(request(**field))
    assert caught.value.param == next(iter(field))


def test_unknown_model():
  one = session(fake_engine.text_script('x'))
  one.start(request(model='m'))
  with pytest.raises(types.RequestError) as caught:
    one.start(request(model='other'))
  assert (caught.value.status, caught.value.code) == (404, 'model_not_found')


def test_everything_reaches_the_engine():
  one = session(fake_engine.text_script('x'))
  asked = request(n=3, temperature=0.5, top_k=4, max_tokens=9, min_tokens=2)
  running = one.start(asked)
  sent = one.engine.requests[0]
  assert sent.prompt_ids == tuple(PROMPT)
  assert sent.sampling == asked.sampling
  assert (sent.n, sent.max_tokens) == (3, 9)
  assert sent.request_id == running.meta.id
  assert running.meta.system_fingerprint == 'fp_fake'


def test_stream_equals_create():
  script = fake_engine.text_script('héllo wörld', 'other')
  one = session(script, block=3)
  asked = dataclasses.replace(
    request(n=2, seed=1, logprobs=True, stop=('rl',)), include_usage=True
  )
  whole = one.create(asked)
  chunks = list(one.stream(asked))
  for choice in whole.choices:
    mine = [c for chunk in chunks for c in chunk.choices]
    mine = [c for c in mine if c.index == choice.index]
    text = ''.join(c.delta.content or '' for c in mine)
    assert text == choice.message.content
    entries = [e for c in mine if c.logprobs for e in c.logprobs.content]
    assert entries == choice.logprobs.content
    assert mine[-1].finish_reason == choice.finish_reason
  assert chunks[-1].usage == whole.usage
  assert chunks[0].chatjax == whole.chatjax


def test_async_iteration_gives_the_same():
  one = session(fake_engine.text_script('hello', 'there'), pause_s=0.002)

  async def read():
    return [delta async for delta in one.start(request(n=2))]

  deltas = asyncio.run(read())
  text = [''.join(d.text for d in deltas if d.choice == c) for c in (0, 1)]
  assert text == ['hello', 'there']
  result = asyncio.run(one.start(request()).aresult())
  assert result.choices[0].text == 'hello'


def wait_until(is_true, timeout_s=1.0):
  deadline_s = time.monotonic() + timeout_s
  while not is_true():
    assert time.monotonic() < deadline_s, 'did not happen in time'
    time.sleep(0.005)


def endless():
  script = fake_engine.text_script('x' * 4000, end=False)
  return session(script, block=1, pause_s=0.005)


def test_leaving_the_block_cancels():
  one = endless()
  with one.start(request(n=2)) as running:
    next(running)
    assert one.engine.num_open == 2
  wait_until(lambda: one.engine.num_open == 0)
  assert list(running) == []
  with pytest.raises(types.ChatjaxError, match='cancelled'):
    running.result()


def test_closing_the_stream_cancels():
  one = endless()
  stream = one.stream(request())
  next(stream), next(stream)
  stream.close()
  wait_until(lambda: one.engine.num_open == 0)


def test_closing_a_stream_that_nobody_read_cancels():
  one = endless()
  stream = one.stream(request())
  wait_until(lambda: one.engine.num_open == 1)
  stream.close()
  wait_until(lambda: one.engine.num_open == 0)
  assert list(stream) == []


def test_leaving_the_block_of_a_stream_cancels():
  one = endless()
  with one.stream(request()) as stream:
    assert next(stream).choices[0].delta.role == 'assistant'
  wait_until(lambda: one.engine.num_open == 0)


@pytest.mark.parametrize('num_read', [0, 1, 3])
def test_dropping_a_stream_cancels(num_read):
  one = endless()
  stream = one.stream(request(n=2))
  for _ in range(num_read):
    next(stream)
  gone = weakref.ref(stream)
  del stream
  assert gone() is None
  wait_until(lambda: one.engine.num_open == 0)


def test_dropping_what_has_ended_does_not_cancel(monkeypatch):
  one = session(fake_engine.text_script('x'))
  calls = []
  monkeypatch.setattr(one.engine, 'cancel', lambda *given: calls.append(given))
  assert list(one.stream(request()))
  assert not calls


def test_cancel_wakes_a_waiting_reader():
  one = session(fake_engine.text_script('x' * 99), pause_s=0.5)
  running = one.start(request())
  timer = threading.Timer(0.05, running.cancel)
  timer.start()
  start_s = time.monotonic()
  assert list(running) == []
  assert time.monotonic() - start_s < 0.4
  timer.join()
  one.engine.close()


def test_a_finished_request_is_not_cancelled(monkeypatch):
  calls = []
  monkeypatch.setattr(
    fake_engine.FakeEngine, 'cancel', lambda *given: calls.append(given)
  )
  one = session(fake_engine.text_script('x'))
  with one.start(request()) as running:
    list(running)
  running.cancel()
  assert calls == []


def test_an_engine_that_dies_between_check_and_submit(monkeypatch):
  one = session(fake_engine.text_script('x'))
  one.engine.error = RuntimeError('/secret')
  monkeypatch.setattr(fake_engine.FakeEngine, 'is_alive', SlowToTell())
  with pytest.raises(types.RequestError) as caught:
    one.start(request())
  assert caught.value.status == 503
  assert 'secret' not in str(caught.value)


class SlowToTell:
  """True when the session asks, False when the engine does."""

  def __init__(self):
    self._answers = iter([True, False])

  def __get__(self, *unused):
    return next(self._answers)


def test_an_engine_failure_ends_the_iteration():
  one = session(fake_engine.text_script('x' * 99), fail_after=2)
  running = one.start(request())
  with pytest.raises(types.ChatjaxError, match='The engine failed') as caught:
    list(running)
  assert 'scripted' not in str(caught.value)  # the engine's words stay here
  assert list(running) == []
  with pytest.raises(types.RequestError) as refused:
    one.start(request())
  assert refused.value.status == 503


def test_what_an_engine_should_not_send_is_not_shown(monkeypatch):
  one = session(fake_engine.text_script('x'))
  submit = lambda request, sink: sink.error(RuntimeError('/secret'))
  monkeypatch.setattr(one.engine, 'submit', submit)
  with pytest.raises(generation.EngineError, match='RuntimeError') as caught:
    list(one.start(request()))
  assert 'secret' not in str(caught.value)


def test_the_end_of_a_stream_gains_nothing():
  one = session(fake_engine.text_script('one', 'two'), block=9)
  for more in ({}, {'logprobs': True}, {'stop': ('ne', 'wo')}):
    asked = dataclasses.replace(
      request(n=2, **more), return_token_ids=True, include_usage=True
    )
    choices = [c for chunk in one.stream(asked) for c in chunk.choices]
    for idx in (0, 1):
      *parts, last = [c for c in choices if c.index == idx]
      assert last.model_dump(exclude_unset=True)['delta'] == {}
      assert (last.finish_reason, last.logprobs) == ('stop', None)
      assert all(part.finish_reason is None for part in parts)
      assert parts[-1].delta.content
      ids = [i for part in (*parts, last) for i in part.token_ids]
      assert ids == list(one.create(asked).choices[idx].token_ids)


def test_cached_prompt_tokens_are_counted():
  one = session(fake_engine.text_script('hello'), num_cached=5)
  answer = one.create(request())
  assert answer.usage.prompt_tokens_details.cached_tokens == 5
  streamed = dataclasses.replace(request(), stream=True, include_usage=True)
  *_, last = one.stream(streamed)
  assert last.usage.prompt_tokens_details.cached_tokens == 5


def test_the_cache_salt_names_the_pair():
  one = session(fake_engine.text_script('x'))
  keys = (None, '', 'a', 'b', 'a"', 'a", "b', '[null, null]')
  for key in keys:
    for salt in keys:
      one.create(
        dataclasses.replace(request(), prompt_cache_key=key, cache_salt=salt)
      )
  salts = [asked.cache_salt for asked in one.engine.requests]
  assert len(set(salts)) == len(keys) ** 2
  assert salts[0] == ''


def test_the_priority_reaches_the_engine():
  one = session(fake_engine.text_script('x'))
  one.create(dataclasses.replace(request(), priority=-7))
  assert one.engine.requests[0].priority == -7


class NoSystem(byte_tokenizer.ByteChatFormat):
  """A template like that of Gemma 2."""

  def prompt(self, messages, **kwargs):
    if messages[0]['role'] != 'user':
      raise types.RequestError(f'no {messages[0]["role"]}', param='messages')
    return super().prompt(messages, **kwargs)


def test_verbosity_needs_no_place_for_a_system():
  ask = lambda role, verbosity: types.Request(
    messages=[{'role': role, 'content': 'hi'}, *MESSAGES], verbosity=verbosity
  )
  common, strict = session([]), session([], chat_format=NoSystem())
  assert strict.prompt(ask('user', None)).text == 'user: hi\nuser: hi'
  text = 'user: Answer briefly.\n\nhi\nuser: hi'
  assert strict.prompt(ask('user', 'low')).text == text
  text = 'system: Answer briefly.\nuser: hi\nuser: hi'
  assert common.prompt(ask('user', 'low')).text == text
  text = 'system: hi\n\nAnswer briefly.\nuser: hi'
  assert common.prompt(ask('system', 'low')).text == text
  for role in ('system', 'assistant'):
    with pytest.raises(types.RequestError, match='no system'):
      strict.prompt(ask(role, 'low'))
