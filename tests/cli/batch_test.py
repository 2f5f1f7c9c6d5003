"""`chatjax batch`: flags, shards, what is said and what is shown."""

import io
import json
import os
import socket
import subprocess
import sys

import pytest
from rich import console as console_lib

from chatjax.batch import final
from chatjax.batch import worker
from chatjax.cli import batch
from chatjax.cli import batch_progress
from chatjax.cli import flagset
from chatjax.cli import main
from chatjax.cli import options
from chatjax.testing import hub_folder
from tests.batch import runs

MODEL = f'--model={runs.MODEL}'


@pytest.fixture(autouse=True)
def alone(monkeypatch):
  """Whatever has started the tests, it does not split them."""
  for name in list(os.environ):
    if name.startswith(
      ('SLURM_', 'JOB_COMPLETION', 'TPU_', 'MEGASCALE_', 'OMPI_')
    ):
      monkeypatch.delenv(name)


def test_what_is_done_is_said(fake, tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(20))
  flags = ['batch', MODEL, f'--input={path}', f'--output={tmp_path / "out"}']
  code, out, err = fake('', *flags)
  assert code == batch.WITH_ERRORS
  assert out.startswith('17 of 20 requests are answered in ')
  assert '3 errors in' in out
  assert '20/20 done' in err
  # Again: nothing is left to do.
  assert fake('', *flags)[:2] == (code, out)
  good = runs.write(tmp_path / 'good.jsonl', [runs.line('a')])
  code, out, _ = fake('', *flags[:2], f'--input={good}', f'--output={tmp_path}')
  assert code == 0


@pytest.mark.parametrize(
  ('flags', 'code', 'said'),
  [
    ([], 2, '--input is missing'),
    (['--input=x'], 2, '--output is missing'),
    (['--input=x', '--output=y'], 1, 'x cannot be read'),
    (['--input=x', '--output=y', 'z'], 2, "Unexpected argument 'z'"),
    (['--input={}', '--output=y', '--shard=3/2'], 1, '--shard=3/2'),
    (['--input={}', '--output=y', '--lease_s=0'], 2, '--lease_s=0'),
    (['--input={}', '--output=y', '--coordinator=a:1'], 2, '--num_processes'),
  ],
)
def test_what_is_wrong_is_said(flags, code, said, tmp_path, capsys):
  path = runs.write(tmp_path / 'in.jsonl', [runs.line('a')])
  given = [flag.format(path) for flag in flags]
  assert main.main(['batch', MODEL, *given]) == code
  assert said in capsys.readouterr().err


@pytest.mark.parametrize(
  ('flags', 'environ', 'name'),
  [
    ([], {}, '0-of-1'),
    (['--shard=1/3'], {'SLURM_PROCID': '0', 'SLURM_NTASKS': '9'}, '1-of-3'),
    ([], {'SLURM_PROCID': '1', 'SLURM_NTASKS': '4'}, '1-of-4'),
    (
      ['--coordinator=a:1', '--num_processes=2', '--process_id=1'],
      {},
      '1-of-2',
    ),
    (['--distributed'], {'SLURM_PROCID': '1', 'SLURM_NTASKS': '4'}, '1-of-4'),
    (['--distributed'], {'SLURM_PROCID': '0', 'SLURM_NTASKS': '1'}, '0-of-1'),
    (
      ['--distributed'],
      {'JOB_COMPLETION_INDEX': '2', 'JOB_COMPLETIONS': '3'},
      '2-of-3',
    ),
    (
      ['--distributed'],
      {'TPU_WORKER_ID': '3', 'TPU_WORKER_HOSTNAMES': 'a,b,c,d'},
      '3-of-4',
    ),
    (
      # What only jax knows of.
      ['--distributed'],
      {
        'OMPI_MCA_orte_hnp_uri': '1531576320.0;tcp://10.96.0.1:34911',
        'OMPI_COMM_WORLD_RANK': '2',
        'OMPI_COMM_WORLD_SIZE': '5',
      },
      '2-of-5',
    ),
    (['--distributed', '--shard=1/3'], {}, '1-of-3'),
  ],
)
def test_who_says_which_shard_it_is(flags, environ, name, monkeypatch):
  for key, value in environ.items():
    monkeypatch.setenv(key, value)
  values = flagset.new()
  batch.define(values)
  flagset.parse(values, flags, command='batch')
  shard, is_leader = batch._shard(values, options.config(values))
  assert (shard.name, is_leader) == (name, True)


def test_processes_that_nobody_numbers_are_refused():
  values = flagset.new()
  batch.define(values)
  flagset.parse(values, ['--distributed'], command='batch')
  with pytest.raises(flagset.UsageError, match=r'--shard=i/n'):
    batch._shard(values, options.config(values))


def test_secrets_of_the_config_are_not_told(tmp_path):
  path = tmp_path / 'config.py'
  path.write_text(
    'from chatjax import config\n'
    'def get_config():\n'
    '  return config.Config(store="postgresql://me:secret@host/x")\n'
  )
  values = flagset.new()
  batch.define(values)
  flagset.parse(values, [f'--config={path}'], command='batch')
  assert 'secret' not in json.dumps(batch._told(options.config(values)))


def progress(done, *, tokens=0, failed=0, damaged=0):
  return worker.Progress(
    counts=final.Counts(done - failed, failed),
    num_requests=100,
    num_tokens=tokens,
    num_damaged=damaged,
  )


@pytest.fixture
def now(monkeypatch):
  """A clock that is set by hand."""
  at = [1000.0]
  monkeypatch.setattr(batch_progress.time, 'monotonic', lambda: at[0])
  return at


def test_lines_where_there_is_no_terminal(now):
  out = io.StringIO()
  with batch_progress.Bar(console_lib.Console(file=out)) as bar:
    for i in range(60):
      now[0] += 1
      bar.report(progress(i + 1, tokens=50 * i, failed=2, damaged=i // 40))
  lines = out.getvalue().splitlines()
  assert lines[0] == '1/100 done, 2 errors'
  assert lines[1] == '32/100 done, 50 tok/s, 2 errors, 1 min left'
  assert '1 records on disk were damaged' in lines[2]
  assert len(lines) == 3


def test_the_end_is_always_told(now):
  out = io.StringIO()
  with batch_progress.Bar(console_lib.Console(file=out)) as bar:
    bar.report(progress(10))
    now[0] += 1
    bar.report(progress(100, tokens=40))
  assert out.getvalue().splitlines() == [
    '10/100 done, 0 errors',
    '100/100 done, 40 tok/s, 0 errors',
  ]


def test_a_bar_in_a_terminal():
  out = io.StringIO()
  console = console_lib.Console(file=out, force_terminal=True, width=100)
  with batch_progress.Bar(console) as bar:
    bar.report(progress(25, failed=3))
  assert 'Answering' in out.getvalue()
  assert '25/100' in out.getvalue()
  assert '3 errors' in out.getvalue()


@pytest.mark.parametrize(
  ('seconds', 'told'),
  [(0.4, '0 s'), (59, '59 s'), (61, '1 min'), (3599, '1 h 00 min'),
   (3 * 3600 + 300, '3 h 05 min')],
)  # fmt: skip
def test_durations(seconds, told):
  assert batch_progress.duration(seconds) == told


@pytest.mark.slow
def test_processes_of_one_mesh_are_one_worker(tmp_path):
  folder_path = tmp_path / 'tiny-model'
  hub_folder.write(
    folder_path, config={**hub_folder.CONFIG, 'num_hidden_layers': 1}
  )
  lines = [
    runs.line(f'r{i}', model='tiny-model', max_tokens=8, logprobs=True)
    for i in range(12)
  ]
  path = runs.write(tmp_path / 'in.jsonl', lines)
  with socket.create_server(('127.0.0.1', 0)) as server:
    port = server.getsockname()[1]
  sizes = {'chunk': 16, 'page_size': 8, 'decode_steps': 3, 'cache_tokens': 256}
  command = [
    *(sys.executable, '-m', 'chatjax.cli.main', 'batch'),
    *(f'--model={folder_path}', f'--input={path}'),
    *(f'--output={tmp_path / "out"}', '--dtype=float32'),
    *('--mesh=data=2,model=2', '--context=64', '--max_rows=4'),
    *(f'--set=engine.{name}={value}' for name, value in sizes.items()),
    *(f'--coordinator=127.0.0.1:{port}', '--num_processes=2'),
  ]
  environ = os.environ | {
    'CHATJAX_HOME': str(tmp_path / 'home'),
    'JAX_NUM_CPU_DEVICES': '2',
    'CHATJAX_LEADER': '127.0.0.1',
  }
  processes = [
    subprocess.Popen(
      [*command, f'--process_id={i}'], env=environ, stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT, text=True, cwd=runs.ROOT,
    )
    for i in range(2)
  ]  # fmt: skip
  try:
    told = [process.communicate(timeout=300)[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
  assert [one.returncode for one in processes] == [0, 0], told
  assert '12 of 12 requests' in told[0]
  assert '12 of 12' not in told[1]
  assert runs.ids(tmp_path / 'out')[0] == [f'r{i}' for i in range(12)]


def test_speed_is_of_the_last_minute_in_little_memory():
  speed = batch_progress.Speed()
  for i in range(200_000):  # a thousand records a second
    speed.add(i / 1000, i, 5 * i)
  assert abs(speed.requests_per_s - 1000) < 1
  assert abs(speed.tokens_per_s - 5000) < 1
  assert len(speed._seen) < 70
