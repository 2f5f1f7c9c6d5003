"""`chatjax eval`, `eval compare` and `replay FOLDER` from the command line."""

import json
import os
import re

import pytest

from chatjax import config as config_lib
from chatjax.cli import eval_options
from chatjax.cli import flagset
from chatjax.cli import loading
from chatjax.cli import main
from chatjax.cli import options
from chatjax.cli import replay_eval
from chatjax.evals import folder as folder_lib
from chatjax.evals import plan as plan_lib
from chatjax.store import manifest as manifest_lib
from tests.evals import tasks

FLAGS = ['--request={"max_tokens": 40}', '--set=engine.max_rows=2']


@pytest.fixture
def task(tmp_path):
  return str(tasks.write(tmp_path / 'task.jsonl', tasks.DRAWN))


def test_a_task_is_evaluated(fake, task, tmp_path):
  out = tmp_path / 'out'
  code, told, err = fake('6', 'eval', task, f'--output={out}', *FLAGS)
  assert (code, err) == (0, '')
  assert told.splitlines() == [
    'exact match            0.0 %   0.0 to 79.3 (Wilson, 1 items)',
    'regex match          100.0 %   20.7 to 100.0 (Wilson, 1 items)',
    'json match           100.0 %   20.7 to 100.0 (Wilson, 1 items)',
    'code pass@1            0.0 %   0.0 to 79.3 (Wilson, 1 items)',
    '',
    f'{out / "report.html"}',
  ]
  manifest, records = folder_lib.read(out)
  assert manifest.config['engine']['max_rows'] == 2
  assert 'store' not in manifest.config
  assert manifest.settings['request'] == {'temperature': 0.0, 'max_tokens': 40}
  assert len(records) == 4


def test_samples_are_asked_for_by_flags(fake, task, tmp_path):
  out = tmp_path / 'out'
  code, told, _ = fake(
    'x = 7', 'eval', task, f'--output={out}', '--n=2', '--seeds=-1,5',
    '--k=1,4', '--seed=9', '--request={"temperature": 1}',
  )  # fmt: skip
  assert code == 0
  assert 'code pass@4          100.0 %' in told
  manifest, records = folder_lib.read(out)
  assert manifest.settings['seeds'] == [-1, 5]
  id_ = records[0]['id']
  less, five = (plan_lib.item_seed(seed, id_) for seed in (-1, 5))
  drawn = [one['seed'] for one in records[0]['samples']]
  assert drawn == [less, less, five, five]


def test_two_runs_are_compared(fake, task, tmp_path):
  first, second = tmp_path / 'a', tmp_path / 'b'
  fake('6', 'eval', task, f'--output={first}')
  fake('x = 7', 'eval', task, f'--output={second}')
  code, told, err = fake('', 'eval', 'compare', str(first), str(second))
  assert (code, err) == (0, '')
  assert f'# {first} against {second}' in told
  row = '| code | pass@1 | 0.0 % | 100.0 % | +100.0 | -58.7 to +100.0 |'
  assert f'{row} 0 | 1 | 1 |' in told
  out = tmp_path / 'c'
  again = fake('', 'eval', 'compare', str(first), str(second),
               f'--output={out}')  # fmt: skip
  assert again[1] == told
  assert sorted(os.listdir(out)) == [
    *('comparison.html', 'comparison.md', 'comparison_code_pass_at_1.svg'),
    *('comparison_differences.svg', 'comparison_exact_match.svg'),
    *('comparison_json_match.svg', 'comparison_regex_match.svg'),
    *('first.manifest.json', 'second.manifest.json'),
  ]
  text = (out / 'comparison.md').read_text()
  shown = re.findall(r'!\[.*\]\((.*)\)', text)
  assert sorted(shown) == [
    name for name in sorted(os.listdir(out)) if name.endswith('.svg')
  ]
  # There are no pictures beside what is printed.
  assert re.sub(r'!\[.*\]\(.*\)\n\n', '', text) == told[:-1]
  kept = (out / 'second.manifest.json').read_text()
  assert kept == (second / 'manifest.json').read_text()


def test_versus_runs_both_and_compares(fake, task, tmp_path):
  out = tmp_path / 'out'
  code, told, _ = fake(
    '6', 'eval', task, f'--output={out}', '--versus=dtype=float32',
    '--versus=context=2048',
  )  # fmt: skip
  assert code == 0
  assert '# as given against dtype=float32, context=2048' in told
  assert '4 of them were answered alike' in told
  first, second = (manifest_lib.read(out / name) for name in ('', 'versus'))
  assert first.config['engine']['dtype'] == 'int8'
  assert second.config['engine']['dtype'] == 'float32'
  assert second.config['engine']['context'] == 2048
  assert (out / 'comparison.html').is_file()


@pytest.mark.parametrize(
  ('arguments', 'told'),
  [
    ([], 'Give one file of items'),
    (['TASK'], 'Say with --output where the results go'),
    (['TASK', '--output=O', '--request={'], '--request is no JSON'),
    (['TASK', '--output=O', '--request=[]'], 'must be a JSON object'),
    (['TASK', '--output=O', '--request={"n": 2}'], "without 'n'"),
    (['TASK', '--output=O', '--n=2'], '2 samples at temperature 0'),
    (['TASK', '--output=O', '--seeds=a'], '--seeds=a must be integers'),
    (['TASK', '--output=O', '--k=2'], 'pass@2 wants 2 or more'),
    (['TASK', '--output=O', '--k='], 'k is empty'),
    (['TASK', '--output=O', '--kind=essay'], '--kind=essay is not one of'),
    (['TASK', '--output=O', '--versus=dtyp=int8'], "did you mean 'dtype'"),
    (['TASK', '--output=O', '--versus=model=smollm'], "'smollm'"),
    (['TASK', '--output=O', '--versus=dtype'], 'not of the form'),
    (['compare', 'one'], 'Give two folders'),
  ],
)
def test_command_lines_that_make_no_sense(
  fake, task, tmp_path, arguments, told
):
  given = [one.replace('TASK', task) for one in arguments]
  given = [one.replace('=O', f'={tmp_path / "out"}') for one in given]
  code, out, err = fake('6', 'eval', *given)
  assert (code, out) == (2, '')
  assert told in err
  assert not (tmp_path / 'out').exists()


def test_a_wrong_item_is_told_with_its_line(fake, tmp_path):
  bad = {**tasks.DRAWN[0], 'answer': 4}
  path = tasks.write(tmp_path / 'task.jsonl', [tasks.DRAWN[1], bad])
  code, out, err = fake('6', 'eval', str(path), f'--output={tmp_path / "out"}')
  assert (code, out) == (1, '')
  assert err.startswith(f"chatjax: {path}, line 2: the field 'answer' is 4;")


def test_an_unfinished_or_foreign_folder(fake, tmp_path):
  for command in (['replay'], ['eval', 'compare', str(tmp_path)]):
    code, _, err = fake('6', *command, str(tmp_path))
    assert code == 1
    assert f'{tmp_path} has no manifest.json' in err


class Kept:
  """An engine that outlives the command."""

  def __init__(self, engine):
    self._engine = engine

  def __getattr__(self, name):
    return getattr(self._engine, name)

  def close(self):
    assert self._engine.num_open == 0


@pytest.fixture
def tiny(monkeypatch):
  """The command on tiny models; the configs that they were loaded with."""
  configs = []
  running = {}

  def load(config, *, accept_license):
    del accept_license
    configs.append(config)
    if config.model not in running:
      running[config.model] = tasks.tiny_session(seed=len(running))
    return tasks.tiny_chat.session(Kept(running[config.model].engine))

  monkeypatch.setattr(loading, 'load', load)
  monkeypatch.setattr(options.locate, 'check', lambda name: None)
  yield configs
  for one in running.values():
    one.engine.close()


def test_a_folder_is_replayed_as_it_was_made(tiny, tmp_path, capsys):
  path = tasks.write(tmp_path / 'task.jsonl')
  out = str(tmp_path / 'out')
  flags = ['--model=tiny', '--dtype=float32', '--set=engine.page_size=32']
  request = '--request={"max_tokens": 6}'
  assert main.main(['eval', str(path), f'--output={out}', request, *flags]) == 0
  capsys.readouterr()
  assert main.main(['replay', out]) == 0
  told = capsys.readouterr().out
  assert told.startswith('identical: 6 items, ')
  assert 'fingerprint' not in told
  assert tiny[0] == tiny[1]
  assert tiny[1].engine.page_size == 32
  # On another model it is not the same, and the exit code says so.
  assert main.main(['replay', out, '--model=other']) == 3
  told = capsys.readouterr().out
  assert told.startswith('different: ')
  assert ' of 6 items.\n  a: other log-probabilities of its choices.' in told
  assert 'fingerprint, weights: ' in told
  assert tiny[2].engine == tiny[1].engine


def test_a_tilde_behind_output_is_the_home(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  values = flagset.new()
  eval_options.define(values)
  flagset.parse(values, ['--output=~/x'], command='eval')
  assert eval_options.read(values).output == tmp_path / 'x'


def test_a_recorded_config_comes_back():
  engine = config_lib.EngineConfig(
    dtype='float32', lookahead=1, mesh=config_lib.MeshConfig(model=2)
  )
  config = config_lib.Config(output_format='hermes', engine=engine)
  manifest = manifest_lib.Manifest(
    kind='eval', model='', fingerprint='', parts={}, inputs={},
    config=json.loads(json.dumps(eval_options.recorded(config))),
    config_digest='', settings={}, code={}, versions={}, seed_rule='',
  )  # fmt: skip
  values = flagset.new()
  options.define(values)
  flagset.parse(values, ['--max_rows=3'], command='replay')
  made = options.config(values, replay_eval.recorded(manifest))
  assert made.engine.max_rows == 3
  assert made.engine.mesh == engine.mesh
  assert (made.engine.dtype, made.engine.lookahead) == ('float32', 1)
  assert made.output_format == 'hermes'
