"""Batches of a tiny model in the real engine, killed at random points.

HARDENING, batch durability.
"""

import random

import pytest

from chatjax.testing import hub_folder
from tests.batch import killing
from tests.batch import runs

NUM_LINES = 240
NUM_KILLS = 60
FLAGS = (
  '--dtype=float32', '--context=64', '--max_rows=4', '--range_lines=16',
  '--set=engine.chunk=16', '--set=engine.page_size=8',
  '--set=engine.cache_tokens=256',
)  # fmt: skip


def lines():
  """One in twelve is wrong."""
  for i in range(NUM_LINES):
    yield runs.line(
      f'r{i}',
      model='tiny-model',
      messages=[{'role': 'user', 'content': f'{"word " * (i % 5)}{i}'}],
      max_tokens=4 + i % 20,
      temperature=9 if i % 12 == 7 else 1,
      logprobs=True,
      n=1 + i % 2,
    )


@pytest.mark.slow
def test_sixty_kills_change_nothing(tmp_path):
  folder = tmp_path / 'tiny-model'
  hub_folder.write(folder, config={**hub_folder.CONFIG, 'num_hidden_layers': 1})
  path = runs.write(tmp_path / 'in.jsonl', lines())

  def command(output):
    return killing.Command(
      path, output, *FLAGS, model=folder, CHATJAX_HOME=str(tmp_path / 'home')
    )

  command(tmp_path / 'whole').finish(4)
  output, rng, seen = tmp_path / 'out', random.Random(3), []
  again = command(output)
  for i in range(NUM_KILLS):
    # A few records further each time, and not just when one was written.
    again.kill_at(3 * i, after_s=rng.uniform(0, 0.05))
    assert not (output / 'results.jsonl').exists()
    seen.append(killing.num_records(output))
  assert sum(0 < one < NUM_LINES for one in seen) > NUM_KILLS // 2, seen
  again.finish(4)
  assert runs.made(output) == runs.made(tmp_path / 'whole')
  results, errors = runs.ids(output)
  assert len({*results, *errors}) == len(results) + len(errors) == NUM_LINES
  assert len(errors) == NUM_LINES // 12
