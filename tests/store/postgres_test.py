"""The same store in a Postgres server of its own."""

import glob
import os
import pathlib
import shutil
import socket
import subprocess
import threading

import pytest

from chatjax.store import store as store_lib
from tests.store import store_test

_PROGRAMS = '/usr/lib/postgresql/*/bin'
# Postgres refuses to run as root.
_USER = 'postgres' if os.geteuid() == 0 else None


def _program(name):
  found = shutil.which(name) or next(
    iter(sorted(glob.glob(f'{_PROGRAMS}/{name}'), reverse=True)), None
  )
  if found is None:
    pytest.skip('there is no Postgres here (apt-get install postgresql)')
  return found


def _free_port():
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


@pytest.fixture(scope='module')
def url(tmp_path_factory):
  initdb, pg_ctl = _program('initdb'), _program('pg_ctl')
  folder = tmp_path_factory.mktemp('postgres')
  if _USER:
    for parent in [folder, *folder.parents]:
      if parent == pathlib.Path('/tmp'):
        break
      parent.chmod(0o755)
    shutil.chown(folder, _USER)
  data, port = folder / 'data', _free_port()

  def run(*command):
    subprocess.run(
      command, check=True, user=_USER, cwd=folder, stdout=subprocess.DEVNULL,
      env={**os.environ, 'LC_ALL': 'C.UTF-8'},
    )  # fmt: skip

  run(initdb, '-D', data, '-A', 'trust', '-U', 'postgres', '-E', 'UTF8')
  options = f'-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off'
  run(pg_ctl, '-D', data, '-w', '-l', folder / 'log', '-o', options, 'start')
  yield f'postgresql+psycopg://postgres@127.0.0.1:{port}/postgres'
  run(pg_ctl, '-D', data, '-m', 'immediate', 'stop')


@pytest.fixture
def store(url):
  one = store_lib.Store(url)
  for stored in one.list(limit=10_000).data:
    one.delete(stored['id'])
  yield one
  one.close()


test_added = store_test.test_what_was_added_is_there
test_pages = store_test.test_pages_go_on_where_the_last_one_ended
test_filters = store_test.test_filters
test_notes = store_test.test_notes_are_replaced_and_filters_follow
test_deleted = store_test.test_deleted_is_gone_with_its_notes
test_once = store_test.test_one_id_is_kept_once
test_threads = store_test.test_threads_write_at_once


def test_two_servers_open_one_database_at_once(url):
  opened, faults = [], []

  def open_one():
    try:
      opened.append(store_lib.Store(url))
    except store_lib.StoreError as error:
      faults.append(error)

  threads = [threading.Thread(target=open_one) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  for store in opened:
    store.close()
  assert not faults


def test_a_server_that_is_gone_is_a_store_error():
  gone = f'postgresql+psycopg://postgres@127.0.0.1:{_free_port()}/postgres'
  with pytest.raises(store_lib.StoreError, match='opened'):
    store_lib.Store(gone)


def test_passwords_are_not_shown():
  with pytest.raises(store_lib.StoreError) as caught:
    store_lib.Store('nodialect://me:secret@host/x')
  assert 'secret' not in str(caught.value)
