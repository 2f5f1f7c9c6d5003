"""The shell scripts, with a Python that only notes what it is asked for."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PYTHON = r"""#!/usr/bin/env bash
echo "$*" >>"$FAKE_LOG"
case "$*" in
  '-m venv '*)
    mkdir -p "$3/bin"
    ln -sf "$(command -v ruff)" "$3/bin/ruff"
    cp "$0" "$3/bin/python"
    [ "${FAKE_DIES:-}" != venv ] || kill -9 $PPID
    touch "$3/has-pip" ;;
  '-m pip --version') [ -e "$(dirname "$0")/../has-pip" ] ;;
  '-m pip install '*)
    [ "${FAKE_DIES:-}" != pip ] || kill -9 $PPID
    touch "$(dirname "$0")/chatjax"
    chmod +x "$(dirname "$0")/chatjax" ;;
  *'not real_model'*) exit "${FAKE_FAST:-0}" ;;
  *real_model*) exit "${FAKE_REAL:-0}" ;;
esac
"""


# What an environment is made of: a change in any makes it again.
SOURCES = (
  'setup.cfg', 'setup.py', 'pyproject.toml', 'constraints.txt',
  'chatjax/native/kernels.cc', 'chatjax/native/product.h',
)  # fmt: skip


class Checkout:
  """A copy of the scripts, and what its Python was asked for."""

  def __init__(self, root):
    self.root, self.log = root, root / 'log'
    self.venv = root / '.venv'
    shutil.copytree(ROOT / 'scripts', root / 'scripts')
    (root / 'chatjax/native').mkdir(parents=True)
    for name in SOURCES:
      (root / name).write_text(name)
    for name, text in (('python3', PYTHON), ('ruff', '#!/bin/sh\n')):
      path = root / 'path' / name
      path.parent.mkdir(exist_ok=True)
      path.write_text(text)
      path.chmod(0o755)

  def run(self, command, **env):
    """Returns the exit code and what Python was asked for."""
    self.log.write_text('')
    known = {k: v for k, v in os.environ.items() if k != 'CHATJAX_VENV'}
    path = f'{self.root / "path"}:{os.environ["PATH"]}'
    done = subprocess.run(
      ['bash', '-c', command], cwd=self.root, check=False, timeout=60,
      stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
      env={**known, 'PATH': path, 'FAKE_LOG': str(self.log), **env},
    )  # fmt: skip
    return done.returncode, self.log.read_text()


@pytest.fixture
def checkout(tmp_path):
  return Checkout(tmp_path)


MAKE = 'set -euo pipefail; source scripts/venv.sh; make_venv dev'


def test_an_environment_is_made_once(checkout):
  code, asked = checkout.run(MAKE)
  assert code == 0
  assert '-m venv' in asked
  assert '.[dev]' in asked
  assert '-m pip' not in checkout.run(MAKE)[1]
  for name in SOURCES:
    (checkout.root / name).write_text('changed')
    code, asked = checkout.run(MAKE)
    assert (code, '-m venv' in asked, '-m pip install' in asked) == (
      0, False, True,
    ), name  # fmt: skip


@pytest.mark.parametrize('where', ['venv', 'pip'])
def test_a_half_made_environment_is_made_again(checkout, where):
  assert checkout.run(MAKE, FAKE_DIES=where)[0] != 0
  (checkout.venv / 'bin' / 'chatjax').touch(mode=0o755)
  (checkout.venv / 'half').touch()
  code, asked = checkout.run(MAKE)
  assert (code, '-m venv' in asked, '-m pip install' in asked) == (
    0, True, True,
  )  # fmt: skip
  assert not (checkout.venv / 'half').exists()
  assert '-m pip' not in checkout.run(MAKE)[1]


def test_a_folder_that_was_there_is_never_emptied(checkout):
  checkout.venv.mkdir()
  (checkout.venv / 'mine').touch()
  checkout.run(MAKE, FAKE_DIES='venv')
  assert checkout.run(MAKE)[0] == 0
  assert (checkout.venv / 'mine').exists()
  assert (checkout.venv / 'has-pip').exists()


@pytest.mark.parametrize(('arguments', 'fast', 'real', 'code'), [
    ('', 0, 0, 0), ('', 5, 0, 5), ('', 0, 5, 5), ('', 1, 0, 1), ('', 0, 1, 1),
    ('--all', 0, 0, 0), ('--all', 0, 5, 5), ('--all', 5, 0, 5),
    ('tests/nn', 0, 5, 0), ('tests/nn', 5, 0, 0), ('tests/nn', 5, 5, 5),
    ('tests/nn', 1, 5, 1), ('tests/nn', 5, 1, 1), ('tests/nn', 0, 1, 1),
    ('--all tests/nn', 0, 5, 0),
])  # fmt: skip
def test_no_tests_are_fine_in_one_of_two_runs(
  checkout, arguments, fast, real, code
):
  got, asked = checkout.run(
    f'bash scripts/test.sh {arguments}',
    FAKE_FAST=str(fast), FAKE_REAL=str(real),
  )  # fmt: skip
  assert got == code
  if fast != 1 and (arguments not in ('', '--all') or fast == 0):
    assert f'-m real_model {arguments}'.strip() in asked
