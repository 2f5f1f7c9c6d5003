"""Writes the table of HumanEval into docs/evaluation.md.

    chatjax eval humaneval --dtype=float32 --context=1024 --output=f32
    chatjax eval humaneval --context=1024 --output=int8
    python scripts/make_humaneval_table.py --runs=f32,int8

The answers of `transformers` are those of make_humaneval_goldens.py; they
are marked here by the same code in the same sandbox.
"""

from __future__ import annotations

from collections.abc import Sequence
import json
import pathlib

from absl import app
from absl import flags

from chatjax.ckpt import home as home_lib
from chatjax.evals import folder as folder_lib
from chatjax.evals import humaneval
from chatjax.evals import statistics

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'evaluation.md'
GOLDENS = ROOT / 'tests' / 'evals' / 'goldens'
_BEGIN, _END = '<!-- humaneval: begin -->\n', '<!-- humaneval: end -->'
_HEAD = (
  '| | pass@1 | passed | interval | against transformers |',
  '|---|---:|---:|---:|---|',
)

_MODEL = flags.DEFINE_string(
  'model', 'qwen2.5-coder-0.5b-instruct', 'Whose goldens are compared.'
)
_RUNS = flags.DEFINE_list(
  'runs', None, 'Folders of chatjax eval humaneval.', required=True
)

Passed = dict[str, bool]


def of_golden(path: pathlib.Path) -> Passed:
  """Which problems the oracle's answers solve."""
  problems = humaneval.problems(home_lib.home())
  graders = {item.id: item.grader for item in humaneval.items(problems)}
  passed = {}
  for answer in json.loads(path.read_text())['answers']:
    mark = graders[answer['task_id']].mark(answer['text'])
    passed[answer['task_id']] = mark.score == 1
  return passed


def of_run(path: pathlib.Path) -> tuple[str, Passed]:
  """How a run was made, and which problems its answers solve."""
  manifest, records = folder_lib.read(path)
  dtype = manifest.config['engine']['dtype']
  passed = {record['id']: record['scores']['pass@1'] == 1 for record in records}
  return f'chatjax, {dtype}', passed


def row(name: str, passed: Passed, oracle: Passed) -> str:
  """A line of the table."""
  count = sum(passed.values())
  low, high = statistics.wilson(count, len(passed))
  told = ''
  if passed is not oracle:
    lost = sum(oracle[one] and not passed[one] for one in passed)
    won = sum(passed[one] and not oracle[one] for one in passed)
    p = statistics.mcnemar(lost, won)
    told = f'{won} more, {lost} fewer (McNemar p = {p:.2g})'
  return (
    f'| {name} | {100 * count / len(passed):.1f} % | {count} of {len(passed)} |'
    f' {100 * low:.1f} to {100 * high:.1f} | {told} |'
  )


def render(page: str, rows: Sequence[str]) -> str:
  """The page with its table."""
  before, _, rest = page.partition(_BEGIN)
  after = rest[rest.index(_END) :]
  return before + _BEGIN + '\n'.join([*_HEAD, *rows]) + '\n' + after


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments {argv[1:]}; use flags.')
  oracle = of_golden(GOLDENS / f'{_MODEL.value}.humaneval.json')
  rows = [row('transformers, float32', oracle, oracle)]
  for path in _RUNS.value:
    name, passed = of_run(pathlib.Path(path))
    rows.append(row(name, passed, oracle))
  PAGE.write_text(render(PAGE.read_text(), rows))
  print('\n'.join(rows))


if __name__ == '__main__':
  app.run(main)
