"""The products on their own: under sanitizers, on an emulated processor."""

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


def compile_and_run(
  source, folder, *flags, compiler=('g++', 'c++'), runner=()
) -> subprocess.CompletedProcess:
  """Runs a program, or returns the compiler's failure."""
  found = [path for path in map(shutil.which, compiler) if path]
  if not found:
    pytest.skip(f'there is no C++ compiler: {" or ".join(compiler)}')
  program = folder / 'program'
  command = [found[0], *FLAGS, *flags, f'-I{HEADERS}', source, '-o', program]
  compiled = subprocess.run(command, capture_output=True, text=True)
  if compiled.returncode:
    return compiled
  return subprocess.run(
    [*runner, program],
    capture_output=True,
    text=True,
    timeout=60,
    env=os.environ | ENVIRONMENT,
  )


@pytest.mark.slow
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


@pytest.mark.slow
def test_neon_gives_the_bits_of_this_processor(tmp_path):
  if shutil.which('qemu-aarch64') is None:
    pytest.skip('there is no qemu-aarch64')
  emulated = compile_and_run(
    TESTS / 'sanitize.cc', tmp_path, '-static',
    compiler=('aarch64-linux-gnu-g++',), runner=('qemu-aarch64', '-cpu', 'max'),
  )  # fmt: skip
  assert emulated.returncode == 0, emulated.stderr
  assert 'isa 3\n' in emulated.stdout
  own = compile_and_run(TESTS / 'sanitize.cc', tmp_path)
  assert emulated.stdout.splitlines()[-1] == own.stdout.splitlines()[-1]
