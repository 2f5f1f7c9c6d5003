"""Whole runs: records, resume, errors, folders."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from chatjax import types
from chatjax.evals import asking
from chatjax.evals import folder as folder_lib
from chatjax.evals import items as items_lib
from chatjax.evals import model as model_lib
from chatjax.evals import plan as plan_lib
from chatjax.evals import replay as replay_lib
from chatjax.evals import sandbox
from chatjax.evals import summary
from chatjax.store import manifest as manifest_lib
from chatjax.testing import byte_tokenizer
from tests.evals import tasks

REPORTS = [
  'report.html', 'report.md',
  'report_figures.svg', 'report_items.svg', 'report_tokens.svg',
]  # fmt: skip
FILES = ['.lock', 'manifest.json', *REPORTS, 'results.jsonl']


@pytest.fixture(scope='module')
def tiny():
  one = tasks.tiny_session()
  yield one
  assert one.engine.num_pages_used == 0
  one.engine.close()


def figures(found):
  return {(one.kind, one.name): one.estimate.mean for one in found.metrics}


def contents(path):
  return {name: (path / name).read_bytes() for name in os.listdir(path)}


def test_answers_are_marked_by_their_kind(tmp_path):
  found = tasks.run(tasks.says('6'), tmp_path / 'out')
  assert figures(found) == {
    ('exact', 'match'): 0.0,
    ('regex', 'match'): 1.0,
    ('json', 'match'): 1.0,
    ('code', 'pass@1'): 0.0,
  }
  assert (found.items, found.errors, found.samples, found.cut) == (4, 0, 4, 0)
  assert found.tokens == (2, 2, 2, 2)  # with that which ends it
  assert figures(tasks.run(tasks.says('x = 7'), tmp_path / 'other')) == {
    ('exact', 'match'): 0.0,
    ('regex', 'match'): 1.0,
    ('json', 'match'): 0.0,
    ('code', 'pass@1'): 1.0,
  }


def test_a_record_holds_what_was_asked_and_what_came(tmp_path):
  plan = plan_lib.Plan(request={'max_tokens': 9}, seed=3)
  item = {**tasks.DRAWN[0], 'request': {'top_p': 0.5}}
  tasks.run(tasks.says('4'), tmp_path / 'out', [item], plan=plan)
  manifest, (record,) = folder_lib.read(tmp_path / 'out')
  assert record['item'] == item
  assert (record['id'], record['line'], record['kind']) == ('c', 1, 'exact')
  (asked,) = record['asked']
  seed = plan_lib.item_seed(3, 'c')
  assert asked['request'] == {
    'messages': [{'role': 'user', 'content': 'Say 4.'}],
    'temperature': 0.0, 'max_tokens': 9, 'top_p': 0.5, 'seed': seed, 'n': 1,
  }  # fmt: skip
  assert asked['resolved']['seed'] == seed
  assert bytes(asked['prompt_ids'][1:]).decode().startswith('user: Say 4.')
  assert [len(ids) for ids in asked['output_ids']] == [2]
  assert record['samples'] == [
    {'seed': seed, 'choice': 0, 'text': '4', 'finish_reason': 'stop',
     'num_tokens': 2, 'score': 1.0, 'detail': ''},
  ]  # fmt: skip
  assert record['scores'] == {'match': 1.0}
  assert manifest.kind == 'eval'
  assert manifest.is_complete
  assert manifest.counts == {'items': 1, 'errors': 0}
  assert manifest.settings['request'] == {'temperature': 0.0, 'max_tokens': 9}
  task = tmp_path / 'task.jsonl'
  assert manifest.inputs == {'task.jsonl': manifest_lib.digest_file(task)}
  for name in ('results.jsonl', *REPORTS):
    told = manifest_lib.digest_file(tmp_path / 'out' / name)
    assert manifest.results[name] == told


def test_samples_by_n_and_by_seeds(tmp_path):
  plan = plan_lib.Plan(request=tasks.SHORT, n=2, seeds=(5, 6), ks=(1, 2, 3))
  one = tasks.says('x = 7', 'x = 8')
  found = tasks.run(one, tmp_path / 'out', [tasks.ITEMS[5]], plan=plan)
  assert figures(found) == {
    ('code', 'pass@1'): 0.5,
    ('code', 'pass@2'): pytest.approx(1 - 1 / 6),
    ('code', 'pass@3'): 1.0,
  }
  _, (record,) = folder_lib.read(tmp_path / 'out')
  drawn = [(one['seed'], one['choice']) for one in record['samples']]
  five, six = (plan_lib.item_seed(seed, 'f') for seed in (5, 6))
  assert drawn == [(five, 0), (five, 1), (six, 0), (six, 1)]
  half = tasks.run(one, tmp_path / 'b', [tasks.ITEMS[2]], plan=plan)
  assert figures(half) == {('exact', 'match'): 0.0}


@pytest.mark.parametrize(
  ('fields', 'told'),
  [
    ({'n': 0}, 'n is 0'),
    ({'seeds': (1, 1)}, 'A seed is given twice'),
    ({'seed': 2**63}, 'is no 64-bit integer'),
    ({'ks': (2,)}, 'pass@2 wants 2 or more samples'),
    ({'ks': (0,)}, 'pass@0 wants 1 or more'),
    ({'request': {'seed': 1}}, "without 'seed', which the run decides"),
    ({'request': {'temperature': 3}}, 'temperature'),
  ],
)
def test_plans_that_make_no_sense(fields, told):
  with pytest.raises(plan_lib.PlanError, match=told):
    plan_lib.Plan(**fields)


def test_seeds_follow_from_the_item_alone():
  plan = plan_lib.Plan(seed=1)
  assert plan.seeds_of('a') == plan_lib.Plan(seed=1, n=1).seeds_of('a')
  seeds = {plan_lib.Plan(seed=s).seeds_of(i) for s in (1, 2) for i in 'ab'}
  assert len(seeds) == 4
  # The rule is in the manifest: whoever draws by it finds these.
  assert plan_lib.item_seed(0, 'a') == -969810455942401634


def test_the_same_run_has_the_same_bytes(tiny, tmp_path):
  tasks.run(tiny, tmp_path / 'a', tasks.ITEMS, workers=1)
  tasks.run(tiny, tmp_path / 'b', tasks.ITEMS, workers=6)
  first, second = contents(tmp_path / 'a'), contents(tmp_path / 'b')
  assert sorted(first) == FILES
  assert first == second
  # And once more in the same folder: nothing is asked.
  silent = tasks.tiny_chat.session(Silent(tiny.engine))
  tasks.run(silent, tmp_path / 'a', tasks.ITEMS)
  assert contents(tmp_path / 'a') == first


class Silent:
  """An engine that nobody may ask."""

  def __init__(self, engine):
    self._engine = engine

  def __getattr__(self, name):
    assert name != 'submit'
    return getattr(self._engine, name)


def test_a_run_goes_on_where_it_was_stopped(tiny, tmp_path):
  tasks.run(tiny, tmp_path / 'whole', tasks.ITEMS)
  whole = contents(tmp_path / 'whole')
  for after in (0, 1, 3, 5):
    path = tmp_path / f'stopped{after}'
    engine = tasks.Stopping(tiny.engine, after)
    broken = tasks.tiny_chat.session(engine)
    with pytest.raises(ConnectionResetError):
      tasks.run(broken, path, tasks.ITEMS, workers=1)
    kept = folder_lib.records(path / folder_lib.PARTIAL)
    assert len(kept) == after
    assert not manifest_lib.read(path).is_complete
    with pytest.raises(folder_lib.FolderError, match='is unfinished'):
      folder_lib.read(path)
    # A line that the kill has torn.
    with open(path / folder_lib.PARTIAL, 'ab') as file:
      file.write(b'{"key": "torn')
    rest = tasks.Stopping(tiny.engine, len(tasks.ITEMS) - after)
    tasks.run(tasks.tiny_chat.session(rest), path, tasks.ITEMS)
    assert contents(path) == whole


def test_a_damaged_record_is_asked_again(tiny, tmp_path):
  path = tmp_path / 'out'
  broken = tasks.tiny_chat.session(tasks.Stopping(tiny.engine, 3))
  with pytest.raises(ConnectionResetError):
    tasks.run(broken, path, tasks.ITEMS, workers=1)
  partial = path / folder_lib.PARTIAL
  first, *rest = partial.read_bytes().split(b'\n')
  partial.write_bytes(b'\n'.join([first[:-5], *rest]))
  tasks.run(tiny, path, tasks.ITEMS)
  tasks.run(tiny, tmp_path / 'whole', tasks.ITEMS)
  assert contents(path) == contents(tmp_path / 'whole')


KILLED = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from chatjax.testing import byte_tokenizer
from tests.evals import tasks
one = tasks.says('6', pause_s=0.02)
tasks.run(one, pathlib.Path(sys.argv[2]), tasks.MANY, workers=2)
"""


@pytest.mark.slow
def test_killed_at_any_time_it_loses_nothing(tmp_path):
  tasks.run(tasks.says('6'), tmp_path / 'whole', tasks.MANY)
  whole = contents(tmp_path / 'whole')
  root = pathlib.Path(__file__).parents[2]
  path = tmp_path / 'killed'
  command = [sys.executable, '-c', KILLED, str(root), str(path)]
  killed = 0
  for wait_s in [0.02 * i for i in range(1, 12)]:
    process = subprocess.Popen(command)
    while process.poll() is None and not (path / '.lock').exists():
      time.sleep(0.01)
    time.sleep(wait_s)
    killed += process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
  assert killed > 3
  assert subprocess.run(command, check=False, timeout=120).returncode == 0
  assert contents(path) == whole


def test_a_refused_request_counts_as_wrong(tiny, tmp_path):
  long = {**tasks.DRAWN[0], 'id': 'long', 'question': 'x' * 500}
  choice = {**tasks.ITEMS[0], 'id': 'wide', 'choices': ['x' * 500, 'y']}
  items = [tasks.DRAWN[0], long, choice]
  found = tasks.run(tiny, tmp_path / 'out', items)
  assert (found.items, found.errors) == (3, 2)
  _, records = folder_lib.read(tmp_path / 'out')
  assert [('error' in record) for record in records] == [False, True, True]
  assert 'context' in records[1]['error']
  assert records[1]['scores'] == {'match': 0.0}
  assert records[2]['scores'] == {'acc': 0.0, 'acc_norm': 0.0}
  report = (tmp_path / 'out' / 'report.md').read_text()
  assert 'Refused, and counted as wrong: 2.' in report


def test_a_dead_engine_is_no_wrong_answer(tmp_path):
  one = tasks.says('6', fail_after=3)
  with pytest.raises(types.ChatjaxError, match='engine'):
    tasks.run(one, tmp_path / 'out', workers=1)
  kept = folder_lib.records(tmp_path / 'out' / folder_lib.PARTIAL)
  assert len(kept) < len(tasks.DRAWN)
  assert not any('error' in record for record in kept)


def test_answers_in_flight_are_kept_when_a_run_is_ended(tmp_path):
  def end(done, unused_total):
    if done:
      raise KeyboardInterrupt

  path, one = tmp_path / 'out', tasks.says('6', pause_s=0.05)
  with pytest.raises(KeyboardInterrupt):
    tasks.run(one, path, tasks.MANY, workers=6, progress=end)
  kept = folder_lib.records(path / folder_lib.PARTIAL)
  assert 4 <= len(kept) == len({record['key'] for record in kept}) < 60
  found = tasks.run(one, path, tasks.MANY)
  assert found.items == 60


def test_a_sandbox_that_does_not_start_is_no_wrong_answer(
  tmp_path, monkeypatch
):
  path, item = tmp_path / 'out', tasks.ITEMS[5:]
  layers = sandbox.run('').layers
  with monkeypatch.context() as patch:
    empty = sandbox.Verdict(error=None, layers=layers)
    tried = lambda program, limits: None if program else empty
    patch.setattr(sandbox, '_try', tried)
    with pytest.raises(sandbox.SandboxError, match='give the same command'):
      tasks.run(tasks.says('x = 7'), path, item)
  assert folder_lib.records(path / folder_lib.PARTIAL) == []
  found = tasks.run(tasks.says('x = 7'), path, item)
  assert figures(found) == {('code', 'pass@1'): 1.0}


@pytest.mark.parametrize('max_open', [1, 3])
def test_a_queue_that_the_run_itself_has_filled(tmp_path, max_open):
  one = tasks.says('6', max_open=max_open, pause_s=0.01)
  found = tasks.run(one, tmp_path / 'out', tasks.MANY[:9], workers=6)
  assert (found.items, found.errors) == (9, 0)


def test_a_queue_smaller_than_a_request_ends_the_run(tmp_path):
  plan = plan_lib.Plan(request=tasks.SHORT, n=3)
  with pytest.raises(types.RequestError, match='queue is full'):
    tasks.run(tasks.says('6', max_open=2), tmp_path / 'out', plan=plan)


@pytest.mark.parametrize(
  ('run', 'item', 'is_refused'),
  [
    ({}, {}, True),
    ({'temperature': 1.0}, {}, False),
    ({'temperature': 1.0}, {'temperature': 0}, True),
    ({}, {'temperature': 0.5}, False),
  ],
)
def test_samples_that_would_be_the_same(tmp_path, run, item, is_refused):
  plan = plan_lib.Plan(request=run, n=2)
  items = [tasks.ITEMS[0], {**tasks.DRAWN[0], 'request': item}]
  if is_refused:
    told = "'c': 2 samples at temperature 0 are all the same"
    with pytest.raises(plan_lib.PlanError, match=told):
      tasks.run(tasks.says('4'), tmp_path / 'out', items, plan=plan)
    assert not (tmp_path / 'out').exists()
  else:
    tasks.run(tasks.says('4', '5'), tmp_path / 'out', items[1:], plan=plan)


def test_a_folder_is_of_one_run(tmp_path):
  path = tmp_path / 'out'
  tasks.run(tasks.says('6'), path)
  plan = plan_lib.Plan(request={**tasks.SHORT, 'top_p': 0.5})
  with pytest.raises(folder_lib.FolderError, match='differs in settings'):
    tasks.run(tasks.says('6'), path, plan=plan)
  with pytest.raises(folder_lib.FolderError, match='differs in inputs'):
    tasks.run(tasks.says('6'), path, tasks.DRAWN[1:])
  other = tasks.says('6')
  other.engine.fingerprint = 'fp_other'
  with pytest.raises(folder_lib.FolderError, match='differs in fingerprint'):
    tasks.run(other, path)
  (path / 'manifest.json').unlink()
  with pytest.raises(folder_lib.FolderError, match='without a manifest'):
    tasks.run(tasks.says('6'), path)


def test_a_folder_has_one_writer(tmp_path):
  path = tmp_path / 'out'
  tasks.run(tasks.says('6'), path)
  manifest = manifest_lib.read(path)
  with (
    folder_lib.Folder(path, manifest),
    pytest.raises(folder_lib.FolderError, match='by another process'),
  ):
    tasks.run(tasks.says('6'), path)
  tasks.run(tasks.says('6'), path)


def test_a_disk_that_is_full(tmp_path, monkeypatch):
  path = tmp_path / 'out'
  tasks.run(tasks.says('6'), tmp_path / 'whole')
  sync, calls = os.fsync, []

  def full(descriptor):
    calls.append(descriptor)
    if len(calls) >= 5:  # two for the manifest, one each for names and records
      raise OSError(28, 'No space left on device')
    sync(descriptor)

  monkeypatch.setattr(os, 'fsync', full)
  with pytest.raises(folder_lib.FolderError, match='No space left on device'):
    tasks.run(tasks.says('6'), path, workers=1)
  monkeypatch.undo()
  assert len(folder_lib.records(path / folder_lib.PARTIAL)) == 1
  tasks.run(tasks.says('6'), path)
  assert contents(path) == contents(tmp_path / 'whole')


def test_a_disk_that_takes_half_a_record(tmp_path, monkeypatch):
  path = tmp_path / 'out'
  tasks.run(tasks.says('6'), path)
  manifest = manifest_lib.read(path)
  write = os.write
  left = 2

  def half(descriptor, data):
    nonlocal left
    left -= 1
    if left == 0:
      raise OSError(28, 'No space left on device')
    return write(descriptor, data[:9])

  (path / folder_lib.RESULTS).unlink()
  with folder_lib.Folder(path, manifest) as folder:
    folder.add({'key': 'a'})
    with monkeypatch.context() as patch:
      patch.setattr(os, 'write', half)
      with pytest.raises(folder_lib.FolderError, match='No space left'):
        folder.add({'key': 'b', 'text': 'it is torn'})
      folder.add({'key': 'c', 'text': 'in several pieces'})
    assert sorted(folder.done()) == ['a', 'c']


def test_a_file_in_the_way(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(folder_lib.FolderError, match='cannot be written'):
    tasks.run(tasks.says('6'), tmp_path / 'file' / 'out')


def test_changed_results_are_found(tmp_path):
  path = tmp_path / 'out'
  tasks.run(tasks.says('6'), path)
  results = path / folder_lib.RESULTS
  results.write_bytes(results.read_bytes().replace(b'"6"', b'"7"'))
  with pytest.raises(folder_lib.FolderError, match='was changed'):
    folder_lib.read(path)
  with pytest.raises(manifest_lib.ManifestError, match='has no manifest'):
    folder_lib.read(tmp_path)


def test_changed_results_are_not_taken_for_those_of_the_run(tmp_path):
  path = tmp_path / 'out'
  tasks.run(tasks.says('6'), path)
  whole = contents(path)
  results = path / folder_lib.RESULTS
  wrong, right = b'"scores": {"match": 0.0}', b'"scores": {"match": 1.0}'
  assert wrong in whole[folder_lib.RESULTS]
  changed = whole[folder_lib.RESULTS].replace(wrong, right)
  results.write_bytes(changed)
  with pytest.raises(folder_lib.FolderError, match='was changed'):
    tasks.run(tasks.says('6'), path)
  assert contents(path) == {**whole, folder_lib.RESULTS: changed}
  # Nor are records beside those of a finished run.
  results.write_bytes(whole[folder_lib.RESULTS])
  (path / folder_lib.PARTIAL).write_bytes(changed)
  tasks.run(tasks.says('6'), path)
  assert contents(path) == whole
  results.unlink()
  tasks.run(tasks.says('6'), path)
  assert contents(path) == whole


def test_scores_are_those_of_the_model(tiny, tmp_path):
  tasks.run(tiny, tmp_path / 'out', tasks.ITEMS[:2])
  _, (plain, asked) = folder_lib.read(tmp_path / 'out')
  (told,) = plain['asked']
  assert told['prompt_ids'] == [byte_tokenizer.BOS, *b'One, two,']
  assert told['token_ids'] == [list(b' 3'), list(b' x')]
  totals = [sample['logprob'] for sample in plain['samples']]
  assert all(total < 0 for total in totals)
  assert plain['scores']['acc'] == float(totals[0] > totals[1])
  prompt_ids = asked['asked'][0]['prompt_ids']
  assert bytes(prompt_ids[-24:]) == b'user: Which?\nassistant: '
  assert len(asked['samples']) == 3


def test_a_run_is_replayed_bit_for_bit(tiny, tmp_path):
  path = tmp_path / 'out'
  tasks.run(tiny, path, tasks.ITEMS)
  manifest, records = folder_lib.read(path)
  model = model_lib.Model(tiny)
  assert [record.get('error') for record in records] == [None] * len(records)
  found = replay_lib.replay(model, manifest, records)
  assert found.is_identical
  assert (found.items, found.changed_parts) == (len(tasks.ITEMS), {})
  assert found.tokens > 30
  # One bit of one token, and of one score, and a token.
  for index, name in ((0, 'logprob_bits'), (3, 'logprob_bits')):
    spoilt = json.loads(json.dumps(records))
    row = spoilt[index]['asked'][0][name][0]
    row[1] = f'{int(row[1], 16) ^ 1:08x}'
    if index == 3:
      with pytest.raises(types.ChatjaxError, match=r"'d': The record was chan"):
        replay_lib.replay(model, manifest, spoilt)
    else:
      (one,) = replay_lib.replay(model, manifest, spoilt).different
      assert one.id == 'a'


@pytest.mark.parametrize(
  ('index', 'change', 'told'),
  [
    (0, lambda one: one['scores'].update(acc=0.5), 'acc [01].0, not 0.5'),
    (0, lambda one: one['samples'][0].update(logprob=-9.5), 'other choices'),
    (2, lambda one: one['scores'].update(match=1.0), 'match 0.0, not 1.0'),
    (4, lambda one: one['samples'][0].update(score=1.0), 'score 0, not 1'),
    (5, lambda one: one['scores'].update({'pass@1': 1.0}), 'pass@1 0.0, not'),
    (3, lambda one: one['samples'][0].update(text='5'), 'another text'),
  ],
)  # fmt: skip
def test_a_replay_marks_again(tiny, tmp_path, index, change, told):
  path = tmp_path / 'out'
  tasks.run(tiny, path, tasks.ITEMS)
  manifest, records = folder_lib.read(path)
  changed = json.loads(json.dumps(records))
  change(changed[index])
  found = replay_lib.replay(model_lib.Model(tiny), manifest, changed)
  (one,) = found.different
  assert one.id == records[index]['id']
  assert re.search(told, one.what), one.what


def test_a_replay_on_another_model_differs(tiny, tmp_path):
  path = tmp_path / 'out'
  tasks.run(tiny, path, tasks.ITEMS)
  manifest, records = folder_lib.read(path)
  other = tasks.tiny_session(seed=1)
  try:
    found = replay_lib.replay(model_lib.Model(other), manifest, records)
  finally:
    other.engine.close()
  assert not found.is_identical
  assert set(found.changed_parts) == {'weights'}
  assert {one.id for one in found.different} >= {'a', 'c'}


def test_two_configurations_item_by_item(tmp_path):
  tasks.run(tasks.says('6'), tmp_path / 'a')
  tasks.run(tasks.says('x = 7'), tmp_path / 'b')
  _, first = folder_lib.read(tmp_path / 'a')
  _, second = folder_lib.read(tmp_path / 'b')
  found = summary.compare(first, second[::-1], seed=0)
  by_name = {(one.kind, one.name): one for one in found.differences}
  code = by_name['code', 'pass@1']
  assert (code.first.mean, code.second.mean, code.gain.mean) == (0, 1, 1)
  assert (code.only_first, code.only_second, code.p_value) == (0, 1, 1.0)
  assert by_name['json', 'match'].only_first == 1
  assert by_name['regex', 'match'].gain.mean == 0
  assert (found.items, found.equal_answers) == (4, 0)


def test_only_the_same_questions_are_compared(tmp_path):
  one = tasks.says('6')
  tasks.run(one, tmp_path / 'a')
  tasks.run(one, tmp_path / 'b', tasks.DRAWN[1:], task='b.jsonl')
  tasks.run(one, tmp_path / 'c', plan=plan_lib.Plan(seed=1), task='c.jsonl')
  other = [{**tasks.DRAWN[0], 'answer': '5'}, *tasks.DRAWN[1:]]
  tasks.run(one, tmp_path / 'd', other, task='d.jsonl')
  runs = {name: folder_lib.read(tmp_path / name)[1] for name in 'abcd'}
  for name, told in (
    ('b', 'of different items'),
    ('c', 'was asked with other seeds'),
    ('d', 'is another question'),
  ):
    with pytest.raises(summary.CompareError, match=told):
      summary.compare(runs['a'], runs[name], seed=0)


class Refusing:
  """A model that answers every request with an error."""

  def __init__(self, status):
    self._error = types.RequestError('no', status=status)

  def draw(self, body):
    raise self._error


@pytest.mark.parametrize('status', [400, 413, 500, 503])
def test_only_a_fault_of_the_request_is_a_wrong_answer(tmp_path, status):
  (item,) = items_lib.read(
    tasks.write(tmp_path / 'task.jsonl', tasks.DRAWN[:1])
  )
  ask = lambda: asking.record(
    Refusing(status), item, plan_lib.Plan(), run='run'
  )
  if status < 500:
    assert ask()['scores'] == {'match': 0.0}
  else:
    with pytest.raises(types.RequestError):
      ask()
