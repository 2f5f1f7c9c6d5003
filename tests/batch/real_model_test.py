"""Batches of a real model, killed in the middle.

HARDENING, batch durability.
"""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.batch import runs

pytestmark = pytest.mark.real_model
NUM_LINES = 10


def lines():
  for i in range(NUM_LINES):
    yield runs.line(
      f'r{i}',
      messages=[{'role': 'user', 'content': f'Count to {i + 3}.'}],
      max_tokens=12 + 4 * (i % 3),
      logprobs=True,
      n=1 + i % 2,
    )


def start(path, output):
  environ = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(('SLURM_', 'JOB_COMPLETION'))
  }
  return subprocess.Popen(
    [
      *(sys.executable, '-m', 'chatjax.cli.main'),
      *runs.command(path, output, '--max_rows=2', '--range_lines=4'),
    ],
    cwd=runs.ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env=environ,
  )


def num_records(output):
  files = list((output / 'work').glob('*/*.part'))
  return sum(file.read_bytes().count(b'\n') for file in files)


def finish(path, output):
  with start(path, output) as process:
    told, _ = process.communicate(timeout=600)
  assert process.returncode == 0, told


def kill_at(path, output, count):
  """Kills a run once so many records are on disk."""
  with start(path, output) as process:
    deadline_s = time.monotonic() + 600
    while num_records(output) < count:
      assert process.poll() is None, process.stdout.read()
      assert time.monotonic() < deadline_s
      time.sleep(0.02)
    process.kill()
    process.communicate(timeout=30)


@pytest.mark.parametrize(
  'counts', [(4,), pytest.param((2, 5, 8), marks=pytest.mark.slow)]
)
def test_kills_change_nothing(tmp_path, counts):
  path = runs.write(tmp_path / 'in.jsonl', lines())
  finish(path, tmp_path / 'whole')
  output = tmp_path / 'out'
  for count in counts:
    kill_at(path, output, count)
    assert not (output / 'results.jsonl').exists()
  finish(path, output)
  assert runs.made(output) == runs.made(tmp_path / 'whole')
  results, errors = runs.ids(output)
  assert (results, errors) == ([f'r{i}' for i in range(NUM_LINES)], [])
  manifest = json.loads((output / 'manifest.json').read_text())
  assert manifest['counts']['completed'] == NUM_LINES
