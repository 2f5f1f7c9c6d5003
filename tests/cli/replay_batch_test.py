"""`chatjax replay --record`: with which configuration an answer is drawn."""

import pytest

from chatjax.batch import run as run_lib
from chatjax.cli import loading
from chatjax.cli import main
from tests.batch import runs
from tests.cli import fake_chatjax


@pytest.fixture
def configs(monkeypatch):
  """The command on a scripted engine; what it was loaded with."""
  found = []
  make = fake_chatjax.loader('', 0.0)

  def load(config, *, accept_license):
    found.append(config)
    return make(config, accept_license=accept_license)

  monkeypatch.setattr(loading, 'load', load)
  return found


def test_a_flag_leaves_the_rest_of_the_recorded_config(configs, tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', [runs.line('a')])
  output = tmp_path / 'out'
  flags = ['--dtype=float32', '--set=engine.page_size=32', '--mesh=data=2']
  flags.append('--output_format=hermes')
  assert main.main([*runs.command(path, output), *flags]) == 0
  replay = ['replay', f'--record={output}#a']
  assert main.main(replay) == 0
  assert main.main([*replay, '--max_rows=3']) == 0
  ran, again, changed = configs
  assert (again.model, again.engine) == (ran.model, ran.engine)
  assert again.output_format == ran.output_format
  assert changed.engine.max_rows == 3
  assert changed.engine.page_size == 32
  assert changed.engine.mesh == ran.engine.mesh
  assert (changed.model, changed.engine.dtype) == (runs.MODEL, 'float32')


def test_a_batch_that_the_command_did_not_run_tells_its_model(
  configs, tmp_path
):
  path = runs.write(tmp_path / 'in.jsonl', [runs.line('a')])
  output = tmp_path / 'out'
  assert main.main(runs.command(path, output)) == 0
  (config,) = configs
  session = fake_chatjax.loader('', 0.0)(config, accept_license=False)
  run_lib.run(session, path, tmp_path / 'by-hand')
  session.engine.close()
  assert main.main(['replay', f'--record={tmp_path / "by-hand"}#a']) == 0
  assert configs[-1].model == runs.MODEL


def test_a_tilde_behind_a_flag_is_the_home(configs, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  runs.write(tmp_path / 'in.jsonl', [runs.line('a')])
  assert main.main(runs.command('~/in.jsonl', '~/out')) == 0
  assert (tmp_path / 'out' / 'results.jsonl').exists()
  assert main.main(['replay', '--record=~/out#a']) == 0
