"""An install where the native kernels cannot be compiled."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.mark.parametrize('compiler', ['false', 'no-such-compiler'])
def test_without_a_compiler_the_install_goes_on(tmp_path, compiler):
  pytest.importorskip('setuptools')
  command = [sys.executable, 'setup.py', 'build_ext', '--force']
  command += [
    '--build-lib',
    tmp_path / 'lib',
    '--build-temp',
    tmp_path / 'temp',
  ]
  done = subprocess.run(
    command, cwd=ROOT, capture_output=True, text=True,
    env=os.environ | {'CC': compiler, 'CXX': compiler},
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  # Without it ARM would give other bits (sanitize.cc shows them).
  assert '-ffp-contract=off' in done.stdout
  assert 'building extension "chatjax.native._kernels" failed' in done.stderr
  assert not list(tmp_path.rglob('*.so'))
