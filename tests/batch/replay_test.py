"""Answers of a batch, drawn again."""

import copy
import dataclasses
import json

import pytest

from chatjax import types
from chatjax.batch import replay as replay_lib
from chatjax.batch import run as run_lib
from chatjax.store import manifest as manifest_lib
from tests.batch import runs
from tests.interface import tiny_chat

LINES = [
  runs.line('plain', model='tiny', max_tokens=8),
  runs.line('many', model='tiny', max_tokens=8, n=2, temperature=1.5),
  runs.line('bits', model='tiny', max_tokens=8, logprobs=True, seed=3),
  runs.line('text', runs.TEXT, model='tiny', prompt=['a', 'b'], max_tokens=5),
  runs.line('wrong', model='tiny', temperature=9),
]


@pytest.fixture(scope='module')
def session():
  with tiny_chat.running() as engine:
    yield tiny_chat.session(engine)


@pytest.fixture(scope='module')
def output(session, tmp_path_factory):
  folder = tmp_path_factory.mktemp('batch')
  path = runs.write(folder / 'in.jsonl', LINES)
  run_lib.run(session, path, folder / 'out', settings=run_lib.Settings(rows=4))
  return folder / 'out'


@pytest.mark.parametrize('name', ['plain', 'many', 'bits', 'text'])
def test_an_answer_is_drawn_again_bit_for_bit(session, output, name):
  kept = replay_lib.find(output / 'results.jsonl', name)
  report = replay_lib.replay(session, kept)
  assert report.is_identical
  assert report.changed_parts == {}
  assert report.num_tokens > 0
  assert report.digest == kept.body['chatjax']['digest']
  assert 'bit for bit' in replay_lib.describe(report)


@pytest.mark.parametrize('name', ['plain', 'many', 'bits', 'text'])
def test_a_model_of_another_name_draws_with_the_same_seed(
  session, output, name
):
  other = copy.copy(session)
  other.model_id = 'elsewhere'
  kept = replay_lib.find(output / 'results.jsonl', name)
  report = replay_lib.replay(other, kept)
  assert report.is_identical, report.difference


def test_lines_end_where_they_end_when_a_batch_is_run(session, tmp_path):
  """A lone carriage return, NEL and LS end none."""
  first = runs.line('first', model='tiny', user='a\u2028b\x85c', max_tokens=3)
  first = json.dumps(json.loads(first), ensure_ascii=False).encode() + b'\n'
  path = runs.write(
    tmp_path / 'in.jsonl',
    [first.replace(b', ', b',\r'), LINES[0].replace(b', ', b',\r'), LINES[2]],
  )
  run_lib.run(session, path, tmp_path / 'out')
  for line, name in enumerate(('first', 'plain', 'bits'), 1):
    kept = replay_lib.find(tmp_path / 'out' / 'results.jsonl', name)
    assert (kept.line, kept.asked.custom_id) == (line, name)
    assert replay_lib.replay(session, kept).is_identical


@pytest.mark.parametrize(
  ('name', 'changed', 'where'),
  [
    ('plain', {'chatjax': {'digest': 'x'}}, 'chatjax'),
    ('many', {'choices': []}, 'choices[0]'),
    ('bits', {'usage': {}}, 'usage.prompt_tokens'),
  ],
)
def test_what_differs_is_named(session, output, name, changed, where):
  kept = replay_lib.find(output / 'results.jsonl', name)
  other = dataclasses.replace(kept, body={**kept.body, **changed})
  report = replay_lib.replay(session, other)
  assert not report.is_identical
  assert report.difference[0].startswith(where)
  assert where in replay_lib.describe(report)


def test_one_token_makes_a_difference(session, output):
  """A record whose text is what it was, drawn from another seed."""
  kept = replay_lib.find(output / 'results.jsonl', 'bits')
  body = {**kept.asked.body, 'seed': 4}
  asked = dataclasses.replace(kept.asked, body=body)
  report = replay_lib.replay(session, dataclasses.replace(kept, asked=asked))
  assert not report.is_identical


def test_parts_that_changed_are_told(session, output):
  kept = replay_lib.find(output / 'results.jsonl', 'plain')
  parts = {**kept.manifest.parts, 'weights': 'others'}
  manifest = dataclasses.replace(kept.manifest, parts=parts)
  report = replay_lib.replay(
    session, dataclasses.replace(kept, manifest=manifest)
  )
  assert report.is_identical
  assert list(report.changed_parts) == ['weights']
  assert 'weights: others then' in replay_lib.describe(report)


def test_what_there_is_not_is_told(output, tmp_path):
  for name in ('wrong', 'none'):
    with pytest.raises(types.ChatjaxError, match='no answer to'):
      replay_lib.find(output / 'results.jsonl', name)
  with pytest.raises(types.ChatjaxError, match=r'no manifest\.json'):
    replay_lib.find(tmp_path / 'results.jsonl', 'x')
  manifest = manifest_lib.read(output)
  dataclasses.replace(manifest, is_complete=False).write(tmp_path)
  with pytest.raises(types.ChatjaxError, match='not complete'):
    replay_lib.find(tmp_path / 'results.jsonl', 'x')


@pytest.mark.parametrize('form', ['{}/results.jsonl#b', '{}#b'])
def test_the_command(forker, tmp_path, form):
  path = runs.write(
    tmp_path / 'in.jsonl', [runs.line('a'), runs.line('b', seed=1)]
  )
  output = tmp_path / 'out'
  code, told = forker.run(path, output)
  assert code == 0, told

  def replay(record):
    pid = forker.ask(
      run=['replay', f'--record={record}'], text='', pause_s=0.0,
      told=str(tmp_path / 'told'), environ={},
    )  # fmt: skip
    return forker.ask(wait=pid, timeout_s=30), (tmp_path / 'told').read_text()

  code, told = replay(form.format(output))
  assert code == 0, told
  assert 'identical: ' in told
  code, told = replay(output)
  assert code == 2
  assert 'names no record' in told
  # A table that somebody has touched up is found out.
  results = output / 'results.jsonl'
  data = results.read_bytes().splitlines(keepends=True)
  record = json.loads(data[1])
  record['response']['body']['choices'][0]['message']['content'] = 'better'
  results.write_bytes(data[0] + json.dumps(record).encode() + b'\n')
  code, told = replay(form.format(output))
  assert code == 1
  assert 'were changed after' in told
