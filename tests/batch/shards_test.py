"""Several workers on one folder, of which some die."""

import random
import time

import pytest

from chatjax.batch import shards
from tests.batch import runs

NUM_LINES = 120
LINES = '--range_lines=16'


@pytest.fixture(scope='module')
def whole(forker, tmp_path_factory):
  """A file, and what one worker makes of it."""
  folder = tmp_path_factory.mktemp('whole')
  path = runs.write(folder / 'in.jsonl', runs.mixed(NUM_LINES))
  code, told = forker.run(path, folder / 'out', LINES)
  assert code == 4, told
  return path, runs.made(folder / 'out')


def start(forker, path, output, shard, pause_s=0.02):
  return forker.start(
    path, output, f'--shard={shard}', LINES, '--lease_s=2', pause_s=pause_s
  )


@pytest.mark.parametrize('count', [1, 2, 3])
def test_results_are_equal_whatever_the_count(forker, whole, tmp_path, count):
  """One worker is killed; the others take over what it had."""
  path, expected = whole
  output = tmp_path / 'out'
  workers = [start(forker, path, output, f'{i}/{count}') for i in range(count)]
  time.sleep(random.Random(count).uniform(0.3, 0.6))
  workers[0].kill()
  assert workers.pop(0).wait() == -9
  if not workers:
    workers.append(start(forker, path, output, '0/1'))
  for worker in workers:
    assert worker.wait() == 4, worker.told
    assert f'of {NUM_LINES} requests' in worker.told
  assert runs.made(output) == expected


def test_a_worker_does_all_that_nobody_does(forker, whole, tmp_path):
  path, expected = whole
  worker = start(forker, path, tmp_path / 'out', '2/5', pause_s=0.0)
  assert worker.wait() == 4, worker.told
  assert runs.made(tmp_path / 'out') == expected


def test_workers_share_the_work(forker, whole, tmp_path):
  path, _ = whole
  output = tmp_path / 'out'
  workers = [start(forker, path, output, f'{i}/2') for i in range(2)]
  owners = set()
  while workers[0].wait(0.0) is None:
    for lease in (output / 'work' / 'leases').glob('range-*'):
      try:
        owners.add(lease.read_text())
      except FileNotFoundError:
        continue
    time.sleep(0.01)
  assert workers[1].wait() == 4
  assert len(owners - {''}) == 2


@pytest.mark.parametrize('second', ['0/1', '0/2', '1/2'])
def test_two_writers_are_refused(forker, whole, tmp_path, second):
  path, expected = whole
  output = tmp_path / 'out'
  first = start(forker, path, output, '0/1')
  deadline_s = time.monotonic() + 10
  while not list((output / 'work').glob('leases/worker-*')):
    assert time.monotonic() < deadline_s
    time.sleep(0.01)
  code, told = forker.run(path, output, f'--shard={second}', LINES)
  assert code == 1
  assert f'Process {first.pid} on ' in told
  assert 'writes into' in told
  assert first.wait() == 4
  assert runs.made(output) == expected


def test_shards_are_found_from_managers(forker, whole, tmp_path):
  path, _ = whole
  output = tmp_path / 'out'
  process = forker.start(
    path, output, LINES, pause_s=0.05, SLURM_PROCID='3', SLURM_NTASKS='4'
  )
  time.sleep(0.5)
  names = [one.name for one in (output / 'work' / 'leases').iterdir()]
  process.kill()
  process.wait()
  assert 'worker-3-of-4.1' in names


@pytest.mark.parametrize(
  ('environ', 'found'),
  [
    ({}, '0-of-1'),
    ({'SLURM_PROCID': '1', 'SLURM_NTASKS': '3'}, '1-of-3'),
    ({'SLURM_PROCID': '0', 'SLURM_NTASKS': '1'}, '0-of-1'),
    (
      {
        'SLURM_ARRAY_TASK_ID': '12',
        'SLURM_ARRAY_TASK_MIN': '10',
        'SLURM_ARRAY_TASK_COUNT': '4',
      },
      '2-of-4',
    ),
    (
      {
        'SLURM_ARRAY_TASK_ID': '14',
        'SLURM_ARRAY_TASK_MIN': '10',
        'SLURM_ARRAY_TASK_STEP': '2',
        'SLURM_ARRAY_TASK_COUNT': '4',
        'SLURM_PROCID': '1',
        'SLURM_NTASKS': '3',
      },
      '7-of-12',
    ),
    ({'JOB_COMPLETION_INDEX': '2', 'JOB_COMPLETIONS': '5'}, '2-of-5'),
    ({'JOB_COMPLETION_INDEX': '2', 'CHATJAX_SHARDS': '5'}, '2-of-5'),
    ({'TPU_WORKER_ID': '1', 'TPU_WORKER_HOSTNAMES': 'a,b'}, '1-of-2'),
    ({'TPU_WORKER_ID': '0', 'TPU_WORKER_HOSTNAMES': 'localhost'}, '0-of-1'),
    ({'TPU_WORKER_ID': '1'}, '0-of-1'),
    (
      # Several slices: each counts its own hosts.
      {
        'TPU_WORKER_ID': '1',
        'TPU_WORKER_HOSTNAMES': 'a,b',
        'MEGASCALE_SLICE_ID': '2',
        'MEGASCALE_NUM_SLICES': '4',
      },
      '5-of-8',
    ),
    (
      # A job of pods with a whole TPU each.
      {
        'TPU_WORKER_ID': '0',
        'TPU_WORKER_HOSTNAMES': 'localhost',
        'JOB_COMPLETION_INDEX': '2',
        'JOB_COMPLETIONS': '5',
      },
      '2-of-5',
    ),
    (
      # Kubernetes does not say how many there are; the TPU does.
      {
        'TPU_WORKER_ID': '2',
        'TPU_WORKER_HOSTNAMES': 'a,b,c',
        'JOB_COMPLETION_INDEX': '2',
      },
      '2-of-3',
    ),
  ],
)
def test_managers_tell_the_shard(environ, found):
  assert shards.detect(environ).name == found


def test_whether_anybody_tells():
  assert shards.told({}) is None
  one = {'SLURM_PROCID': '0', 'SLURM_NTASKS': '1'}
  assert shards.told(one) == shards.ALL


@pytest.mark.parametrize(
  'environ',
  [
    {'SLURM_PROCID': 'x', 'SLURM_NTASKS': '3'},
    {'SLURM_PROCID': '3', 'SLURM_NTASKS': '3'},
    {'JOB_COMPLETION_INDEX': '2'},
    {'TPU_WORKER_ID': 'x', 'TPU_WORKER_HOSTNAMES': 'a,b'},
    {'TPU_WORKER_ID': '2', 'TPU_WORKER_HOSTNAMES': 'a,b'},
  ],
)
def test_what_managers_cannot_mean_is_refused(environ):
  with pytest.raises(shards.ShardError, match='shard'):
    shards.detect(environ)


@pytest.mark.parametrize('text', ['', '1', '1/', '-1/2', '2/2', '0/0', 'a/b'])
def test_shards_that_there_are_not(text):
  with pytest.raises(shards.ShardError, match='--shard='):
    shards.Shard.parse(text)
