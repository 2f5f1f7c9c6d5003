"""Large files: memory does not grow, and work begins at once."""

import json
import re
import time

import pytest

from chatjax.batch import source as source_lib
from chatjax.protocol import limits as limits_lib
from tests.batch import runs

LIMITS = limits_lib.Limits()


def many(count, size=400):
  """Of ten requests one is right."""
  for i in range(count):
    wrong = {'temperature': 9} if i % 10 else {}
    yield runs.line(f'request-{i}', seed=i, user='x' * size, **wrong)


def peak_kb(pid):
  with open(f'/proc/{pid}/status') as file:
    return int(re.search(r'VmHWM:\s+(\d+) kB', file.read())[1])


def measured(forker, path, output):
  """(peak memory in kB, records on disk) of a run that is killed."""
  process = forker.start(path, output, text='x')
  found = 0
  while process.wait(0.0) is None:
    try:
      found = max(found, peak_kb(process.pid))
    except (FileNotFoundError, ProcessLookupError, TypeError):
      break
    time.sleep(0.02)
  assert process.wait(300.0) == 4, process.told
  return found


@pytest.mark.slow
def test_memory_does_not_grow_with_the_lines(forker, tmp_path):
  small = runs.write(tmp_path / 'small', many(10_000))
  large = runs.write(tmp_path / 'large', many(50_000))
  least = measured(forker, small, tmp_path / 'small-out')
  most = measured(forker, large, tmp_path / 'large-out')
  # The file itself has 30 MB, and what becomes of it has 20.
  assert most - least < 4_000, (least, most)


@pytest.mark.slow
def test_a_long_run_resumes_within_five_seconds(forker, tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', many(50_000))
  output = tmp_path / 'out'
  process = forker.start(path, output, text='x')
  done_folder = output / 'work' / 'done'
  while not done_folder.exists() or len(list(done_folder.iterdir())) < 20:
    assert process.wait(0.1) is None
  process.kill()
  process.wait()
  # A machine that others use may be slow once.
  assert any(resumes(forker, path, output) < 5 for _ in range(3))


def resumes(forker, path, output):
  """Seconds from the command to a range that is finished."""
  done_folder = output / 'work' / 'done'
  done = len(list(done_folder.iterdir()))
  begin_s = time.monotonic()
  process = forker.start(path, output, text='x', pause_s=0.001)
  while len(list(done_folder.iterdir())) == done:
    assert time.monotonic() - begin_s < 60
    time.sleep(0.01)
  passed_s = time.monotonic() - begin_s
  process.kill()
  process.wait()
  return passed_s


def test_a_file_is_looked_through_in_little_memory(tmp_path):
  """What is kept of 20,000 lines is some hundred numbers."""
  path = runs.write(tmp_path / 'in.jsonl', many(20_000, 0))
  with source_lib.Source(path, limits=LIMITS) as source:
    assert source.num_requests == 20_000
    assert len(source._marks) == 1250
    assert source.range_lines == 256
    line = next(iter(source.read(77)))
    assert json.loads(line.data)['custom_id'] == f'request-{77 * 256}'
    assert source.read_at(line.offset) == line.data


@pytest.mark.parametrize('range_lines', [1, 7, 16, 100, 1000])
def test_ranges_are_the_file(tmp_path, range_lines):
  lines = list(runs.mixed(100))
  lines.insert(50, b'\n')
  lines.insert(70, lines[3])
  path = runs.write(tmp_path / 'in.jsonl', lines)
  with source_lib.Source(
    path, limits=LIMITS, range_lines=range_lines
  ) as source:
    assert source.num_lines == 102
    assert source.num_requests == 101
    found = [one for i in range(source.num_ranges) for one in source.read(i)]
  assert [one.data for one in found] == [one for one in lines if one.strip()]
  assert [one.number for one in found if one.is_duplicate] == [71]
  assert [one.number for one in found] == [
    i for i in range(1, 103) if lines[i - 1].strip()
  ]
