"""kill -9 at random points: no result is lost, none is made twice.

HARDENING, batch durability.
"""

import json
import random
import time

import pytest

from tests.batch import killing
from tests.batch import runs

NUM_LINES = 240
NUM_ERRORS = 32


@pytest.fixture(scope='module')
def whole(forker, tmp_path_factory):
  """A file, and what an undisturbed run makes of it."""
  folder = tmp_path_factory.mktemp('whole')
  path = runs.write(folder / 'in.jsonl', runs.mixed(NUM_LINES))
  code, told = forker.run(path, folder / 'out')
  assert code == 4, told
  return path, runs.made(folder / 'out')


def killed(forker, path, output, wait_s):
  """Starts a run and kills it; whether it had ended by itself."""
  process = forker.start(path, output, pause_s=0.01)
  time.sleep(wait_s)
  process.kill()
  code = process.wait()
  assert code in (-9, 4), process.told
  return code == 4


def check(forker, path, output, expected):
  code, told = forker.run(path, output)
  assert code == 4, told
  assert runs.made(output) == expected
  results, errors = runs.ids(output)
  assert not set(results) & set(errors)
  assert len(results) == len(set(results)) == NUM_LINES - NUM_ERRORS
  assert len(errors) == NUM_ERRORS
  assert f'{len(results)} of {NUM_LINES} requests' in told
  assert not (output / 'work').exists()


def test_a_dozen_kills_change_nothing(forker, whole, tmp_path):
  path, expected = whole
  rng, output = random.Random(1), tmp_path / 'out'
  seen = []
  for _ in range(12):
    if killed(forker, path, output, rng.uniform(0.1, 0.6)):
      break
    seen.append(killing.num_records(output))
  # They fell where there was something to lose.
  assert sum(0 < one < NUM_LINES for one in seen) > 3, seen
  check(forker, path, output, expected)


@pytest.mark.slow
def test_a_hundred_kills_change_nothing(forker, whole, tmp_path):
  path, expected = whole
  rng, num_kills = random.Random(2), 0
  for round_idx in range(100):
    output = tmp_path / f'out{round_idx}'
    while num_kills < 100:
      if killed(forker, path, output, rng.uniform(0.05, 1.0)):
        break
      num_kills += 1
    check(forker, path, output, expected)
    if num_kills == 100:
      return
  pytest.fail(f'only {num_kills} kills')


def test_order_on_disk_is_the_order_of_the_file(whole):
  path, expected = whole
  given = []
  for line in path.read_bytes().splitlines():
    try:
      given.append(json.loads(line)['custom_id'])
    except ValueError:
      given.append(None)
  for name in ('results.jsonl', 'errors.jsonl'):
    lines = expected[name].splitlines()
    found = iter(given)
    assert all(json.loads(one)['custom_id'] in found for one in lines)
