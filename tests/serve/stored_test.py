"""Stored completions by the official client, and by hand."""

import json

import openai
import pytest

from chatjax.store import store as store_lib
from chatjax.testing import fake_engine
from tests.serve import harness

STRICT = {'_strict_response_validation': True}


@pytest.fixture
def served(tmp_path):
  script = fake_engine.text_script('one', 'two', 'three')
  with harness.Served(script, store=tmp_path / 'x.db') as one:
    yield one


@pytest.fixture
def client(served):
  with openai.OpenAI(**served.client_args, **STRICT) as client:
    yield client.chat.completions


def test_the_whole_life_of_an_answer(served, client):
  made = served.create(store=True, metadata={'run': '1'}, n=2, seed=4)
  got = client.retrieve(made.id)
  assert got.choices == made.choices
  assert got.usage == made.usage
  assert got.metadata == {'run': '1'}
  assert client.update(made.id, metadata={'run': '2'}).metadata == {'run': '2'}
  assert [one.id for one in client.list(metadata={'run': '2'})] == [made.id]
  assert list(client.list(metadata={'run': '1'})) == []
  gone = client.delete(made.id)
  assert (gone.id, gone.deleted) == (made.id, True)
  with pytest.raises(openai.NotFoundError):
    client.retrieve(made.id)
  with pytest.raises(openai.NotFoundError):
    client.delete(made.id)


def test_only_what_is_asked_for_is_kept(served, client):
  served.create()
  served.create(store=False)
  assert list(client.list()) == []


def test_lists_come_in_pages(served, client):
  made = [served.create(store=True).id for _ in range(5)]
  assert [one.id for one in client.list(limit=2)] == made
  back = client.list(limit=2, order='desc')
  assert [one.id for one in back] == made[::-1]
  page = client.list(limit=2)
  assert (page.has_more, [x.id for x in page.data]) == (True, made[:2])
  assert [x.id for x in client.list(after=made[2])] == made[3:]
  assert [x.id for x in client.list(model='tiny')] == made
  assert list(client.list(model='other')) == []


def test_a_stream_is_kept_as_a_whole(served, client):
  chunks = served.stream(store=True, seed=9, max_tokens=2)
  got = client.retrieve(chunks[0].id)
  text = ''.join(
    chunk.choices[0].delta.content or '' for chunk in chunks if chunk.choices
  )
  assert got.choices[0].message.content == text == 'on'
  assert got.choices[0].finish_reason == 'length'
  assert got.usage.completion_tokens == 2


def test_messages_of_the_request(served):
  messages = [
    {'role': 'system', 'content': 'Be kind.'},
    {'role': 'user', 'content': [{'type': 'text', 'text': 'hi'}]},
  ]
  made = served.create(store=True, messages=messages)
  with served.client() as client:
    got = list(client.chat.completions.messages.list(made.id, limit=1))
  assert [one.role for one in got] == ['system', 'user']
  assert [one.content for one in got] == ['Be kind.', 'hi']
  assert got[1].content_parts[0].text == 'hi'
  assert len({one.id for one in got}) == 2
  path = f'/v1/chat/completions/{made.id}/messages'
  status, _, data = served.raw('GET', f'{path}?order=desc')
  assert [x['role'] for x in json.loads(data)['data']] == ['user', 'system']
  status, _, data = served.raw('GET', f'{path}?after=none')
  assert (status, harness.error_of(data)['param']) == (404, 'after')


@pytest.mark.parametrize(
  ('query', 'param'),
  [
    ('limit=0', 'limit'),
    ('limit=101', 'limit'),
    ('limit=x', 'limit'),
    ('order=up', 'order'),
    ('what=1', 'what'),
    ('limit=1&limit=2', 'limit'),
    ('after=none', 'after'),
  ],
)
def test_wrong_queries_are_named(served, query, param):
  status, _, data = served.raw('GET', f'/v1/chat/completions?{query}')
  assert status in (400, 404)
  assert harness.error_of(data)['param'] == param


@pytest.mark.parametrize(
  ('body', 'param'),
  [
    ({}, 'metadata'),
    ({'metadata': {'a': 1}}, 'metadata.a'),
    ({'metadata': {'k' * 65: 'x'}}, 'metadata'),
    ({'metadata': {}, 'model': 'x'}, 'model'),
    ({'metadata': [1]}, 'metadata'),
  ],
)
def test_wrong_updates_are_named(served, body, param):
  made = served.create(store=True)
  status, _, data = served.post(body, f'/v1/chat/completions/{made.id}')
  assert status == 400
  assert harness.error_of(data)['param'].startswith(param)


def test_null_takes_all_notes_away(served, client):
  made = served.create(store=True, metadata={'a': 'b'})
  assert client.update(made.id, metadata=None).metadata == {}


def test_a_store_that_fails_does_not_fail_the_answer(
  served, client, monkeypatch
):
  def full(*unused):
    raise store_lib.StoreError('The store could not be written: disk is full.')

  monkeypatch.setattr(store_lib.Store, 'add', full)
  made = served.create(store=True)
  assert made.choices[0].message.content == 'one'
  assert 'disk is full' in made.chatjax['store_error']
  _, _, data = served.post({
    'model': 'tiny', 'messages': harness.MESSAGES, 'stream': True,
    'store': True,
  })  # fmt: skip
  assert b': not stored: The store could not be written' in data
  assert data.endswith(b'data: [DONE]\n\n')
  monkeypatch.undo()
  assert 'store_error' not in served.create(store=True).chatjax


def test_a_store_that_cannot_be_read_is_503(served, monkeypatch):
  def locked(*unused, **unused_fields):
    raise store_lib.StoreError('secret/path is locked')

  monkeypatch.setattr(store_lib.Store, 'list', locked)
  status, _, data = served.raw('GET', '/v1/chat/completions')
  assert status == 503
  assert 'secret' not in harness.error_of(data)['message']


def test_an_answer_that_was_not_read_is_not_kept(served, client):
  served.engine._pause_s = 0.2
  with served.open_request(store=True):
    harness.wait_until(lambda: served.engine.requests)
  harness.wait_until(lambda: not served.engine.num_open)
  assert list(client.list()) == []
