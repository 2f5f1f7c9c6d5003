"""The folder where everything fetched or converted is kept."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import fcntl
import json
import os
import pathlib
import re
from typing import Any
import uuid

_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._+-]{0,199}')


def home() -> pathlib.Path:
  """`CHATJAX_HOME`, or `~/.cache/chatjax`. It need not exist yet."""
  chosen = os.environ.get('CHATJAX_HOME') or '~/.cache/chatjax'
  return pathlib.Path(chosen).expanduser().absolute()


def check_name(name: str) -> str:
  """Returns a name that is safe as one component of a path.

  Raises:
    ValueError: the name could lead out of its folder.
  """
  if not _NAME.fullmatch(name):
    raise ValueError(
      f'{name!r} is not a plain file name: letters, digits and ._+- are '
      'allowed, a letter or digit first, 200 at most.'
    )
  return name


@contextlib.contextmanager
def lock(path: pathlib.Path) -> Iterator[None]:
  """Holds an exclusive lock on a file; waits while another holds it.

  The system drops the lock of a process that dies.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  # The file stays: whoever unlinks it may unlink it under a waiter.
  with open(path, 'ab') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a small record whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  fresh = path.with_name(f'.{path.name}.{uuid.uuid4().hex}')
  try:
    fresh.write_text(json.dumps(value), encoding='utf-8')
    os.replace(fresh, path)
  except BaseException:
    fresh.unlink(missing_ok=True)
    raise


def read_json(path: pathlib.Path) -> Any:
  """A record that `write_json` wrote, or None if there is no sound one."""
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError):
    return None
