"""Kept answers drawn again."""

import dataclasses

import pytest

import chatjax
from chatjax import api
from chatjax.chat import replay as replay_lib
from chatjax.chat import session as session_lib
from chatjax.cli import replay as command
from chatjax.engine import engine as engine_lib
from chatjax.store import store as store_lib
from chatjax.testing import byte_tokenizer
from chatjax.testing import tiny

MESSAGES = [{'role': 'user', 'content': 'hi'}]


@pytest.fixture(scope='module')
def engine():
  # 259 ids; the tokenizer spells 258.
  engine = engine_lib.Engine(tiny.weights('llama', 'int8'), tiny.ENGINE)
  yield engine
  engine.close()


def chat_with(engine, path):
  session = session_lib.Session(
    engine,
    byte_tokenizer.ByteTokenizer(),
    byte_tokenizer.ByteChatFormat(),
    model_id='tiny',
    sampler_version=1,
    open_store=lambda: store_lib.Store.in_file(path),
  )
  return api.Chat(session)


@pytest.fixture
def chat(engine, tmp_path):
  return chat_with(engine, tmp_path / 'x.db')


@pytest.mark.parametrize(
  'fields',
  [
    {},
    {'n': 3, 'temperature': 1.3, 'top_p': 0.9},
    {'seed': 7, 'stop': ['a'], 'logprobs': True, 'top_logprobs': 2},
    {'structured_outputs': {'regex': '[a-c]{5}'}},
    {'presence_penalty': 1.0, 'logit_bias': {'70': 5}, 'min_tokens': 3},
  ],
)
@pytest.mark.parametrize('is_stream', [False, True])
def test_an_answer_is_drawn_again_bit_for_bit(chat, fields, is_stream):
  ask = {'store': True, 'max_tokens': 12, **fields}
  if is_stream:
    answer_id = list(chat.stream(MESSAGES, **ask))[0].id  # noqa: RUF015
  else:
    answer_id = chat.chat(MESSAGES, **ask).id
  report = chat.replay(answer_id)
  assert report.is_identical
  assert report.is_same_prompt
  assert report.changed_parts == {}
  kept = chat.session.keeper.store.provenance(answer_id)
  assert report.num_tokens == sum(map(len, kept.output_ids)) > 0
  assert 'bit for bit' in command.describe(report, kept)


def test_an_answer_comes_though_its_store_cannot_be_made(engine, tmp_path):
  (tmp_path / 'file').write_text('x')
  chat = chat_with(engine, tmp_path / 'file' / 'x.db')
  answer = chat.chat(MESSAGES, store=True, max_tokens=2)
  assert 'could not be opened' in answer.chatjax.store_error


def test_a_model_closes_its_store(chat, monkeypatch):
  monkeypatch.setattr(chat.session.engine, 'close', lambda: None)
  chat.close()  # nothing was opened
  chat.chat(MESSAGES, store=True, max_tokens=2)
  closed = []
  store = chat.session.keeper.store
  monkeypatch.setattr(store, 'close', lambda: closed.append(store))
  chat.close()
  assert closed == [store]


def test_what_differs_is_named(chat):
  answer = chat.chat(MESSAGES, store=True, max_tokens=8, n=2, seed=1)
  kept = chat.session.keeper.store.provenance(answer.id)
  ids, bits = kept.output_ids[1], kept.logprob_bits[1]
  other_id = (ids[3] + 1) % 256
  changed = dataclasses.replace(
    kept,
    output_ids=(kept.output_ids[0], (*ids[:3], other_id, *ids[4:])),
    parts={**kept.parts, 'weights': 'others', 'gone': '1'},
  )
  report = replay_lib.replay(chat.session, changed)
  assert not report.is_identical
  one = report.difference
  assert (one.choice, one.position) == (1, 3)
  assert (one.kept, one.drawn) == ((other_id, bits[3]), (ids[3], bits[3]))
  assert set(report.changed_parts) == {'weights', 'gone'}
  shown = command.describe(report, changed)
  assert f'different: choice 1 from token 3 on; kept token {other_id}' in shown
  assert 'fingerprint, gone: 1 then, None now.' in shown


def test_one_bit_of_a_log_probability_is_a_difference(chat):
  answer = chat.chat(MESSAGES, store=True, max_tokens=8)
  kept = chat.session.keeper.store.provenance(answer.id)
  bits = list(kept.logprob_bits[0])
  bits[-1] = f'{int(bits[-1], 16) ^ 1:08x}'
  report = replay_lib.replay(
    chat.session, dataclasses.replace(kept, logprob_bits=(tuple(bits),))
  )
  assert report.difference.position == len(bits) - 1


def test_an_answer_that_was_longer_is_a_difference(chat):
  answer = chat.chat(MESSAGES, store=True, max_tokens=8, ignore_eos=True)
  kept = chat.session.keeper.store.provenance(answer.id)
  shorter = dataclasses.replace(
    kept,
    output_ids=(kept.output_ids[0][:5],),
    logprob_bits=(kept.logprob_bits[0][:5],),
  )
  one = replay_lib.replay(chat.session, shorter).difference
  assert (one.position, one.kept) == (5, None)
  assert one.drawn[0] == kept.output_ids[0][5]


def test_another_prompt_today_does_not_change_the_replay(chat, monkeypatch):
  answer = chat.chat(MESSAGES, store=True, max_tokens=8)
  monkeypatch.setattr(chat.session.chat_format, 'opening', 'today: ')
  report = chat.replay(answer.id)
  assert report.is_identical
  assert not report.is_same_prompt
  kept = chat.session.keeper.store.provenance(answer.id)
  assert 'other tokens now' in command.describe(report, kept)


def test_what_was_not_kept_cannot_be_replayed(chat):
  with pytest.raises(chatjax.types.RequestError) as caught:
    chat.replay('chatcmpl-none')
  assert caught.value.status == 404
  made = chat.chat(MESSAGES, store=True, metadata={'a': 'b'}, max_tokens=2)
  assert chat.stored(made.id)['metadata'] == {'a': 'b'}
  with pytest.raises(chatjax.types.RequestError):
    chat.stored('chatcmpl-none')


def test_without_a_store_nothing_can_be_kept(engine):
  session = session_lib.Session(
    engine,
    byte_tokenizer.ByteTokenizer(),
    byte_tokenizer.ByteChatFormat(),
    model_id='tiny',
    sampler_version=1,
  )
  with pytest.raises(chatjax.types.RequestError) as caught:
    api.Chat(session).chat(MESSAGES, store=True)
  assert caught.value.param == 'store'
