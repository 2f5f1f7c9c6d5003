"""Leases: one owner at a time, and none for ever."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from chatjax.batch import leases as leases_lib


@pytest.fixture
def join(tmp_path):
  """(label, lease_s) -> leases of this folder."""
  made = []

  def call(label='one', lease_s=30.0):
    made.append(leases_lib.Leases(tmp_path, label=label, lease_s=lease_s))
    return made[-1]

  yield call
  for one in made:
    one.close()


def pretend_elsewhere(folder, owner_id):
  """A process of another machine: nothing is known of its pid."""
  path = folder / f'beat-{owner_id}'
  told = json.loads(path.read_text()) | {'host': 'elsewhere'}
  path.write_text(json.dumps(told))


def test_one_owner_at_a_time(join):
  one, other = join('one'), join('other')
  lease = one.take('range-1')
  assert lease == leases_lib.Lease(name='range-1', generation=1)
  assert other.take('range-1') is None
  assert one.take('range-1') is None
  assert other.holder('range-1')['label'] == 'one'
  assert other.take('range-2').generation == 1
  one.release(lease)
  assert other.holder('range-1') is None
  assert other.take('range-1').generation == 2


def test_what_an_owner_leaves_is_free(join):
  one, other = join(), join()
  one.take('a')
  one.close()
  assert other.take('a').generation == 2


def test_a_dead_process_is_seen_at_once(join, tmp_path):
  code = (
    'import pathlib, sys, time\n'
    'from chatjax.batch import leases\n'
    'one = leases.Leases(pathlib.Path(sys.argv[1]), label="x")\n'
    'one.take("a")\n'
    'print("taken", flush=True)\n'
    'time.sleep(60)\n'
  )
  process = subprocess.Popen(
    [sys.executable, '-c', code, str(tmp_path)], stdout=subprocess.PIPE
  )
  with process:
    assert process.stdout.readline() == b'taken\n'
    other = join()
    assert other.take('a') is None
    assert other.holder('a')['pid'] == process.pid
    process.kill()
    # Before it is waited for, it is a zombie.
    deadline_s = time.monotonic() + 5
    while (lease := other.take('a')) is None:
      assert time.monotonic() < deadline_s
      time.sleep(0.01)
    assert lease.generation == 2


def test_a_silent_owner_elsewhere_loses_its_lease(join, tmp_path):
  one, other = join('one', 1e6), join('other', 0.2)
  one.take('a')
  pretend_elsewhere(tmp_path, one.owner_id)
  begin_s = time.monotonic()
  assert other.take('a') is None  # it may have beaten just now
  time.sleep(0.1)
  assert other.take('a') is None
  while (lease := other.take('a')) is None:
    assert time.monotonic() < begin_s + 5
    time.sleep(0.02)
  assert time.monotonic() - begin_s > 0.2
  assert lease.generation == 2


def test_an_owner_elsewhere_that_beats_keeps_it(join, tmp_path):
  one, other = join('one', 0.3), join('other', 0.3)
  one._told['host'] = 'elsewhere'
  one.take('a')
  end_s = time.monotonic() + 1.0
  while time.monotonic() < end_s:
    assert other.take('a') is None
    time.sleep(0.02)


def test_clocks_do_not_matter(join, tmp_path):
  one, other = join('one', 0.3), join('other', 0.3)
  one._told['host'] = 'elsewhere'
  one.take('a')
  for path in tmp_path.iterdir():
    os.utime(path, (1, 1))
  assert other.take('a') is None


def test_of_many_takers_one_wins(join):
  owners = [join() for _ in range(8)]
  for round_idx in range(20):
    barrier = threading.Barrier(8)
    won = []

    def take(owner, name=f'range-{round_idx}', won=won, barrier=barrier):
      barrier.wait()
      if owner.take(name):
        won.append(owner)

    threads = [threading.Thread(target=take, args=(one,)) for one in owners]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    assert len(won) == 1


@pytest.mark.parametrize('code', ['EPERM', 'ENOTSUP'])
def test_a_file_system_without_links_will_do(join, monkeypatch, code):
  def refuse(*unused):
    raise OSError(getattr(leases_lib.errno, code), 'no links')

  monkeypatch.setattr(os, 'link', refuse)
  one, other = join(), join()
  assert one.take('a').generation == 1
  assert other.take('a') is None


def test_a_file_is_created_once(tmp_path):
  path = tmp_path / 'x'
  assert leases_lib.create_once(path, b'one')
  assert not leases_lib.create_once(path, b'two')
  assert path.read_bytes() == b'one'
  assert os.listdir(tmp_path) == ['x']


def test_a_link_whose_answer_was_lost_counts(join, monkeypatch):
  """A network file system tries again, and finds its own link."""
  link = os.link

  def lossy(*names):
    link(*names)
    raise FileExistsError

  one, other = join(), join()
  with monkeypatch.context() as patch:
    patch.setattr(os, 'link', lossy)
    assert one.take('a').generation == 1
  assert other.take('a') is None


@pytest.mark.parametrize(
  'data', [b'\0' * 32, b'ab12', b'\xff' * 32, b'../' * 10 + b'xx']
)
def test_a_lease_that_a_loss_of_power_left_is_free(join, tmp_path, data):
  (tmp_path / 'a.3').write_bytes(data)
  one = join()
  assert one.holder('a') is None
  assert one.take('a').generation == 4


@pytest.mark.parametrize(
  'data', [b'', b'{"host"', b'\0\0', b'\xff', b'[]', b'{"host": "x"}']
)
def test_an_owner_whose_beat_is_torn_is_gone(join, tmp_path, data):
  owner_id = 'ab' * 16
  (tmp_path / 'a.1').write_text(owner_id)
  (tmp_path / f'beat-{owner_id}').write_bytes(data)
  one = join()
  assert one.holder('a') is None
  assert one.take('a').generation == 2
