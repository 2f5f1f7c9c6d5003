"""HumanEval: its problems, its own solutions, and what the oracle answered.

Golden: `scripts/make_humaneval_goldens.py`, the weights of the GGUF file in
float32 in `transformers`, greedily, asked as chatjax asks.
"""

import dataclasses
import gzip
import hashlib
import json
import pathlib

import pytest

from chatjax import api
from chatjax.ckpt import fetch
from chatjax.ckpt import home as home_lib
from chatjax.evals import evaluate
from chatjax.evals import folder as folder_lib
from chatjax.evals import humaneval
from chatjax.evals import items as items_lib
from chatjax.evals import plan as plan_lib

MODEL = 'qwen2.5-coder-0.5b-instruct'
GOLDEN = pathlib.Path(__file__).parent / 'goldens' / f'{MODEL}.humaneval.json'
RECORD = {
  'task_id': 'T/0',
  'prompt': '\n\ndef one():\n  """One."""\n',
  'entry_point': 'one',
  'canonical_solution': '  return 1\n',
  'test': 'def check(f):\n  assert f() == 1\n',
}


@pytest.fixture
def small(tmp_path, monkeypatch):
  """A file of one problem in place of the real one."""
  path = tmp_path / 'small.gz'
  path.write_bytes(gzip.compress(f'{json.dumps(RECORD)}\n'.encode()))
  source = dataclasses.replace(
    humaneval.SOURCE,
    sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    size=path.stat().st_size,
    places=(fetch.LocalFile(path=path),),
  )
  monkeypatch.setattr(humaneval, 'SOURCE', source)
  return tmp_path


def test_problems_become_items(small):
  (item,) = humaneval.items(humaneval.problems(small))
  assert (item.id, item.kind, item.line) == ('T/0', 'code', 1)
  assert item.messages[0]['content'].endswith(
    '\n\n```python\ndef one():\n  """One."""\n```'
  )
  assert item.request == {'stop': ['\n```\n'], 'max_tokens': 512}
  assert item.grader.mark('Here:\n```python\ndef one():\n  return 1').score == 1
  assert item.grader.mark('```python\ndef one():\n  return 2').score == 0
  assert item.grader.mark('  return 1').score == 1
  assert 'canonical_solution' not in item.record


def test_a_record_of_a_problem_is_marked_again_alike(small):
  (item,) = humaneval.items(humaneval.problems(small))
  record = {'id': item.id, 'kind': item.kind, 'item': item.record}
  assert items_lib.grader_of(record) == item.grader


def real_items():
  return humaneval.items(humaneval.problems(home_lib.home()))


@pytest.mark.slow
def test_the_solutions_of_the_authors_pass_and_half_of_them_do_not():
  path = fetch.fetch(humaneval.SOURCE, home_lib.home())
  with gzip.open(path, 'rt') as lines:
    solutions = [json.loads(line)['canonical_solution'] for line in lines]
  items = real_items()
  assert len(items) == len(solutions) == 164
  for item, solution in zip(items, solutions, strict=True):
    mark = item.grader.mark(solution)
    assert mark.score == 1, (item.id, mark.detail)
  for item in items[::20]:
    assert item.grader.mark('  pass\n').score == 0, item.id


def of_golden():
  """Which problems the oracle solved, as it is marked here."""
  answers = json.loads(GOLDEN.read_text())['answers']
  items = real_items()
  assert [item.id for item in items] == [one['task_id'] for one in answers]
  return [
    item.grader.mark(answer['text']).score
    for item, answer in zip(items, answers, strict=True)
  ]


@pytest.mark.slow
@pytest.mark.real_model
def test_float32_passes_what_transformers_passes(tmp_path):
  """pass@1 is within two points; most answers are the same text."""
  want = of_golden()
  task = evaluate.Task(items=real_items(), inputs={})
  with api.load(MODEL, dtype='float32', context=1024) as model:
    evaluate.evaluate(
      model.session, task, plan_lib.Plan(), tmp_path, config={}, workers=16
    )
  _, records = folder_lib.read(tmp_path)
  got = [record['scores']['pass@1'] for record in records]
  assert abs(sum(got) - sum(want)) / len(want) <= 0.02
  answers = json.loads(GOLDEN.read_text())['answers']
  same = [
    record['samples'][0]['text'] == answer['text']
    for record, answer in zip(records, answers, strict=True)
  ]
  assert sum(same) / len(same) > 0.9
