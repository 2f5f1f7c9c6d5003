"""Stored completions: lists, notes, durability, and what goes wrong."""

import dataclasses
import multiprocessing
import os
import sqlite3
import stat
import threading
import time

import pytest

from chatjax import types
from chatjax.store import records
from chatjax.store import store as store_lib

PROVENANCE = records.Provenance(
  prompt_ids=(1, 2),
  request={'messages': [{'role': 'user', 'content': 'hi'}]},
  resolved={'seed': 5},
  fingerprint='fp',
  parts={'weights': 'w'},
  sampler_version=1,
  choice_keys=('00',),
  output_ids=((3, 4),),
  logprob_bits=(('bf800000', '00000000'),),
)


def answer(name, *, model='m', **metadata):
  return records.Stored(
    id=name,
    created=100,
    model=model,
    completion={'id': name, 'object': 'chat.completion', 'model': model},
    messages=[{'role': 'user', 'content': f'to {name}'}],
    metadata=metadata,
    provenance=PROVENANCE,
  )


@pytest.fixture
def store(tmp_path):
  with_file = store_lib.Store.in_file(tmp_path / 'new' / 'answers.db')
  yield with_file
  with_file.close()


def ids(page):
  return [one['id'] for one in page.data]


def test_what_was_added_is_there(store):
  store.add(answer('a', k='v', other='é'))
  got = store.get('a')
  assert got == {
    'id': 'a', 'object': 'chat.completion', 'model': 'm',
    'metadata': {'k': 'v', 'other': 'é'},
  }  # fmt: skip
  assert store.messages('a') == [{'role': 'user', 'content': 'to a'}]
  assert store.provenance('a') == PROVENANCE
  assert store.get('b') is store.messages('b') is store.provenance('b') is None


def test_pages_go_on_where_the_last_one_ended(store):
  names = [f'{i:02}' for i in range(7)]
  for name in names:
    store.add(answer(name))
  for order in ('asc', 'desc'):
    seen, after = [], None
    while True:
      page = store.list(after=after, limit=3, order=order)
      seen += ids(page)
      assert page.has_more == (len(seen) < 7)
      if not page.has_more:
        break
      after = seen[-1]
    assert seen == (names if order == 'asc' else names[::-1])
  with pytest.raises(types.RequestError) as caught:
    store.list(after='none')
  assert (caught.value.param, caught.value.status) == ('after', 404)


def test_filters(store):
  store.add(answer('a', x='1', y='1'))
  store.add(answer('b', x='1', y='2'))
  store.add(answer('c', x='2', y='1'))
  store.add(answer('d', model='n', x='1', y='1'))
  assert ids(store.list(metadata={'x': '1'})) == ['a', 'b', 'd']
  assert ids(store.list(metadata={'x': '1', 'y': '1'})) == ['a', 'd']
  assert ids(store.list(model='n')) == ['d']
  assert ids(store.list(model='m', metadata={'y': '1'})) == ['a', 'c']
  assert ids(store.list(metadata={'z': '1'})) == []
  page = store.list(metadata={'x': '1'}, after='a', limit=1)
  assert (ids(page), page.has_more) == (['b'], True)


def test_notes_are_replaced_and_filters_follow(store):
  store.add(answer('a', x='1'))
  assert store.update('a', {'y': '2'})['metadata'] == {'y': '2'}
  assert ids(store.list(metadata={'x': '1'})) == []
  assert ids(store.list(metadata={'y': '2'})) == ['a']
  assert store.update('a', {})['metadata'] == {}
  assert store.update('none', {}) is None


def test_deleted_is_gone_with_its_notes(store):
  store.add(answer('a', x='1'))
  store.add(answer('b', x='1'))
  assert store.delete('a')
  assert not store.delete('a')
  assert store.get('a') is None
  assert ids(store.list(metadata={'x': '1'})) == ['b']
  # Its number is not given to another, whose notes it would inherit.
  store.add(answer('c'))
  assert store.get('c')['metadata'] == {}


def test_one_id_is_kept_once(store):
  store.add(answer('a'))
  with pytest.raises(store_lib.StoreError, match='written'):
    store.add(answer('a'))
  assert ids(store.list()) == ['a']


def test_threads_write_at_once(store):
  def write(who):
    for i in range(20):
      store.add(answer(f'{who}-{i}', who=f'{who}'))

  threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(store.list(limit=100).data) == 80
  own = ids(store.list(metadata={'who': '2'}, limit=100))
  assert own == [f'2-{i}' for i in range(20)]


def _write_for_ever(path):
  store = store_lib.Store.in_file(path)
  for i in range(10_000):
    store.add(answer(f'{i}', x='1'))
    print(i, flush=True, file=open(f'{path}.said', 'w'))  # noqa: SIM115


def test_what_was_said_to_be_kept_survives_a_kill(tmp_path):
  path = tmp_path / 'answers.db'
  writer = multiprocessing.get_context('spawn').Process(
    target=_write_for_ever, args=(path,)
  )
  writer.start()
  said = tmp_path / 'answers.db.said'
  deadline = time.monotonic() + 60
  while not (said.exists() and int(said.read_text() or 0) > 5):
    assert time.monotonic() < deadline
    time.sleep(0.01)
  writer.kill()
  writer.join()
  last = int(said.read_text() or 6)
  store = store_lib.Store.in_file(path)
  kept = ids(store.list(limit=20_000))
  assert len(kept) in (last + 1, last + 2)
  assert kept == [f'{i}' for i in range(len(kept))]
  assert len(store.list(metadata={'x': '1'}, limit=20_000).data) == len(kept)
  store.close()


def test_a_locked_store_says_so(store, tmp_path, monkeypatch):
  path = tmp_path / 'new' / 'answers.db'
  monkeypatch.setattr(store_lib, '_BUSY_S', 0)
  other = store_lib.Store.in_file(path)
  with sqlite3.connect(path, isolation_level=None) as lock:
    lock.execute('BEGIN EXCLUSIVE')
    with pytest.raises(store_lib.StoreError, match='locked'):
      other.add(answer('a'))
    lock.execute('ROLLBACK')
  lock.close()
  other.add(answer('a'))
  other.close()


def test_a_full_store_says_so(store):
  with store._engine.connect() as connection:
    connection.exec_driver_sql('PRAGMA max_page_count=20')
    # The same connection is used again: the pool has one for this thread.
  big = dataclasses.replace(answer('a'), completion={'x': 'y' * 200_000})
  with pytest.raises(store_lib.StoreError, match='full'):
    store.add(big)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_read_only_store_says_so(store, tmp_path):
  (tmp_path / 'new' / 'answers.db').chmod(stat.S_IRUSR)
  (tmp_path / 'new').chmod(stat.S_IRUSR | stat.S_IXUSR)
  with pytest.raises(store_lib.StoreError):
    store.add(answer('a'))


def test_stores_that_cannot_be_opened(tmp_path):
  with pytest.raises(store_lib.StoreError, match='sqlite:///'):
    store_lib.Store('nonsense')
  with pytest.raises(store_lib.StoreError, match='opened'):
    store_lib.Store(f'sqlite:///{tmp_path}/no/such/folder/x.db')
  (tmp_path / 'text.db').write_text('no database' * 100)
  with pytest.raises(store_lib.StoreError, match='not a database'):
    store_lib.Store.in_file(tmp_path / 'text.db')


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
  (tmp_path / 'file').write_text('x')
  for path in (tmp_path / 'file' / 'x.db', tmp_path / 'file' / 'y' / 'x.db'):
    with pytest.raises(store_lib.StoreError, match='could not be opened'):
      store_lib.Store.in_file(path)


@pytest.mark.parametrize('name', ['a?b', 'a#b', 'a%20b', 'a?mode=ro'])
def test_a_store_is_in_the_file_that_was_named(tmp_path, name):
  path = tmp_path / name / 'x.db'
  store_lib.Store.in_file(path).close()
  assert [one.name for one in tmp_path.rglob('*')] == [name, 'x.db']


def test_a_closed_store_opens_again(store):
  store.add(answer('a'))
  store.close()
  assert store.get('a')['id'] == 'a'


def test_a_store_of_another_version_is_refused(tmp_path, monkeypatch):
  store_lib.Store.in_file(tmp_path / 'x.db').close()
  monkeypatch.setattr(store_lib.tables, 'VERSION', 2)
  with pytest.raises(store_lib.StoreError, match='another version'):
    store_lib.Store.in_file(tmp_path / 'x.db')


def test_a_changed_record_is_seen():
  text = PROVENANCE.as_json()
  assert records.Provenance.from_json(text) == PROVENANCE
  with pytest.raises(ValueError, match='changed'):
    records.Provenance.from_json(text.replace('[[3, 4]]', '[[3, 5]]'))


def test_pages_of_a_hundred_out_of_ten_thousand_are_fast(store):
  rows = [
    {
      'id': f'{i}', 'created': 1, 'model': 'm', 'messages': '[]',
      'completion': '{"choices": "%s"}' % ('x' * 500), 'provenance': '{}',
    }
    for i in range(10_000)
  ]  # fmt: skip
  with store._engine.begin() as connection:
    connection.execute(store_lib.tables.COMPLETIONS.insert(), rows)
  times, after = [], None
  for _ in range(100):
    start = time.perf_counter()
    page = store.list(after=after, limit=100)
    times.append(time.perf_counter() - start)
    after = str(int(after or -1) + 100)
  assert not page.has_more
  assert sorted(times)[90] < 0.05
