"""The launch scripts, dry and with programs that only note their call."""

import pathlib
import shlex
import subprocess

import pytest

SCRIPTS = pathlib.Path(__file__).parents[2] / 'scripts'
COMMAND = ('chatjax', 'serve', '--model=a b', '--mesh=model=16')


def launch(name, *arguments, path=None):
  """(exit code, stdout, stderr)."""
  env = {'PATH': f'{path}:/usr/bin:/bin' if path else '/usr/bin:/bin'}
  done = subprocess.run(
    ['bash', SCRIPTS / f'launch_{name}.sh', *arguments],
    capture_output=True, text=True, check=False, timeout=20, env=env,
  )  # fmt: skip
  return done.returncode, done.stdout, done.stderr


def test_hosts_get_one_process_each():
  code, out, err = launch(
    'hosts', '--hosts=me@a,b', '--dir=/x y', '--dry_run', *COMMAND
  )
  assert (code, err) == (0, '')
  for i, (line, host) in enumerate(
    zip(out.splitlines(), ('me@a', 'b'), strict=True)
  ):
    *ssh, remote = shlex.split(line)
    assert ssh == ['ssh', '-tt', host]
    leader, _, command = remote.partition('; export CHATJAX_LEADER; ')
    assert leader == 'CHATJAX_LEADER=a'
    assert shlex.split(command) == [
      *('cd', '/x y', '&&'),
      *COMMAND,
      *('--coordinator=a:8476', '--num_processes=2', f'--process_id={i}'),
    ]


def test_slurm_starts_a_process_per_gpu():
  code, out, err = launch(
    'slurm', '--nodes=2', '--time=01:00:00', '--dry_run', *COMMAND
  )
  assert (code, err) == (0, '')
  assert shlex.split(out) == [
    *('srun', '--nodes=2', '--ntasks-per-node=8', '--kill-on-bad-exit=1'),
    *('--label', '--time=01:00:00', '--gpus-per-node=8'),
    *COMMAND,
    '--distributed',
  ]
  _, out, _ = launch(
    'slurm', '--nodes=3', '--gpus_per_node=0', '--dry_run', 'chatjax', 'serve'
  )
  assert '--ntasks-per-node=1 ' in out
  assert '--gpus-per-node' not in out


def test_tpu_pod_runs_on_all_workers():
  code, out, err = launch(
    'tpu_pod', '--name=pod', '--zone=z', '--project=p', '--dry_run', *COMMAND
  )
  assert (code, err) == (0, '')
  *gcloud, command = shlex.split(out)
  assert gcloud == [
    *('gcloud', 'compute', 'tpus', 'tpu-vm', 'ssh', 'pod', '--zone=z'),
    *('--project=p', '--worker=all'),
  ]
  assert shlex.split(command.removeprefix('--command=')) == [
    *COMMAND,
    '--distributed',
  ]


@pytest.mark.parametrize(
  ('name', 'arguments', 'named'),
  [
    ('hosts', ('chatjax', 'serve'), '--hosts'),
    ('hosts', ('--hosts=a',), 'command'),
    ('slurm', ('--nodes=two', 'chatjax'), '--nodes'),
    ('tpu_pod', ('--name=pod', 'chatjax'), '--zone'),
    ('tpu_pod', ('--nmae=pod', 'chatjax'), '--nmae=pod'),
    ('hosts', ('--hosts=a', *COMMAND, '--dry_run'), '--dry_run before'),
    ('slurm', ('--nodes=2', *COMMAND, '--dry_run'), '--dry_run before'),
    (
      'tpu_pod',
      ('--name=pod', '--zone=z', *COMMAND, '--dry_run'),
      '--dry_run before',
    ),
  ],
)
def test_what_is_missing_is_named(name, arguments, named):
  code, out, err = launch(name, *arguments)
  assert (code, out) == (2, '')
  assert named in err
  assert err.startswith(f'launch_{name}.sh: ')


def test_hosts_are_run_and_the_first_failure_is_the_exit_code(tmp_path):
  ssh = tmp_path / 'ssh'
  ssh.write_text(
    f'#!/bin/sh\necho "$2" >>{tmp_path}/log\n[ "$2" = a ] || exit 3\n'
  )
  ssh.chmod(0o755)
  code, _, err = launch('hosts', '--hosts=a,b', *COMMAND, path=tmp_path)
  assert (code, err) == (3, '')
  assert sorted((tmp_path / 'log').read_text().split()) == ['a', 'b']
