"""Batches of a real model, killed in the middle.

HARDENING, batch durability.
"""

import json

import pytest

from tests.batch import killing
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


def command(path, output):
  return killing.Command(path, output, '--max_rows=2', '--range_lines=4')


@pytest.mark.parametrize(
  'counts', [(4,), pytest.param((2, 5, 8), marks=pytest.mark.slow)]
)
def test_kills_change_nothing(tmp_path, counts):
  path = runs.write(tmp_path / 'in.jsonl', lines())
  command(path, tmp_path / 'whole').finish()
  output = tmp_path / 'out'
  again = command(path, output)
  for count in counts:
    again.kill_at(count)
    assert not (output / 'results.jsonl').exists()
  again.finish()
  assert runs.made(output) == runs.made(tmp_path / 'whole')
  results, errors = runs.ids(output)
  assert (results, errors) == ([f'r{i}' for i in range(NUM_LINES)], [])
  manifest = json.loads((output / 'manifest.json').read_text())
  assert manifest['counts']['completed'] == NUM_LINES
