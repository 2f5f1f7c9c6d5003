"""The int8 product on its own, under the compiler's sanitizers."""

import os
import pathlib
import shutil
import subprocess

import pytest

TESTS = pathlib.Path(__file__).parent
HEADERS = TESTS.parent.parent / 'chatjax' / 'native'
FLAGS = ('-std=c++20', '-O1', '-g', '-ffp-contract=off', '-pthread')
# A stack frame that has been left is poisoned, as freed memory is.
ENVIRONMENT = {'ASAN_OPTIONS': 'detect_stack_use_after_return=1'}


def compile_and_run(source, folder, *flags) -> subprocess.CompletedProcess:
  """Runs a program, or returns the compiler's failure."""
  compiler = shutil.which('g++') or shutil.which('c++')
  if compiler is None:
    pytest.skip('there is no C++ compiler')
  program = folder / 'program'
  command = [compiler, *FLAGS, *flags, f'-I{HEADERS}', source, '-o', program]
  compiled = subprocess.run(command, capture_output=True, text=True)
  if compiled.returncode:
    return compiled
  return subprocess.run(
    [program],
    capture_output=True,
    text=True,
    timeout=60,
    env=os.environ | ENVIRONMENT,
  )


@pytest.mark.parametrize('sanitizer', ['address,undefined', 'thread'])
def test_all_paths_and_pools_agree(tmp_path, sanitizer):
  flags = (f'-fsanitize={sanitizer}', '-fno-sanitize-recover=all')
  empty = tmp_path / 'empty.cc'
  empty.write_text('int main() {}')
  if compile_and_run(empty, tmp_path, *flags).returncode:
    pytest.skip(f'a program with -fsanitize={sanitizer} does not run here')
  done = compile_and_run(TESTS / 'sanitize.cc', tmp_path, *flags)
  assert done.returncode == 0, done.stderr
  assert 'isa 0\n' in done.stdout
