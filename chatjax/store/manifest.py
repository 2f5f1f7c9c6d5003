"""What a folder of results came of: `manifest.json` beside them.

  one = manifest.make(
    'batch', model=session.model_id, engine=session.engine,
    config=dataclasses.asdict(config), seed_rule='...',
    inputs={'requests.jsonl': manifest.digest_file(path)},
  )
  one.write(folder)                       # at the start
  manifest.read(folder).differences(one)  # before going on in a folder
  one.finish(results={...}, counts={...}).write(folder)

A manifest holds no times and no paths: of the same run it has the same bytes
wherever and whenever it ran.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
from typing import Any
from typing import Protocol
from typing import Self
import uuid

import chatjax
from chatjax import types
from chatjax.store import records

NAME = 'manifest.json'
FORMAT = 1
# What the bits and the wording of results stand on.
_PACKAGES = (
  'jax', 'jaxlib', 'flax', 'numpy', 'jinja2', 'llguidance', 'pydantic',
  'sentencepiece', 'tokenizers',
)  # fmt: skip
# Runs that differ in one of these are different runs.
_IDENTITY = ('kind', 'model', 'fingerprint', 'inputs', 'settings', 'code')
_CODE_SUFFIXES = ('.py', '.cc', '.h')
_BLOCK = 2**20


class ManifestError(types.ChatjaxError):
  """A manifest that is missing, damaged, or another run's."""


class Engine(Protocol):
  """What a manifest tells of an engine."""

  fingerprint: str
  fingerprint_parts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """Where results came from.

  Attributes:
    kind: what made them: 'batch', 'eval', ...
    model: its id.
    fingerprint: of all that may move a bit, and `parts`: its parts.
    inputs: name -> {'sha256', 'bytes'} of every file that was read.
    config: the whole configuration, and `config_digest`: its sha256.
    settings: what else decides the results, such as limits.
    code: {'version', 'sha256'} of the package.
    versions: of Python and of the packages below it.
    seed_rule: how a request without a seed gets one, in words.
    results: name -> {'sha256', 'bytes'} of every file; empty until the end.
    counts: of whatever there is to count; empty until the end.
    is_complete: whether the results are all there.
  """

  kind: str
  model: str
  fingerprint: str
  parts: Mapping[str, Any]
  inputs: Mapping[str, Mapping[str, Any]]
  config: Mapping[str, Any]
  config_digest: str
  settings: Mapping[str, Any]
  code: Mapping[str, str]
  versions: Mapping[str, str]
  seed_rule: str
  results: Mapping[str, Mapping[str, Any]] = dataclasses.field(
    default_factory=dict
  )
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
  is_complete: bool = False
  format: int = FORMAT

  def finish(
    self,
    *,
    results: Mapping[str, Mapping[str, Any]],
    counts: Mapping[str, int],
  ) -> Manifest:
    """The same with what came out."""
    return dataclasses.replace(
      self, results=results, counts=counts, is_complete=True
    )

  def differences(self, other: Manifest) -> dict[str, tuple[Any, Any]]:
    """What makes two manifests those of different runs: name -> (own, other).

    Of what has parts, those that differ: 'settings.max_n'.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for name in _IDENTITY:
      pair = getattr(self, name), getattr(other, name)
      if isinstance(pair[0], str) and pair[0] != pair[1]:
        found[name] = pair
      elif pair[0] != pair[1]:
        found |= _differences(name, *pair)
    if 'fingerprint' in found:
      found |= _differences('fingerprint', self.parts, other.parts)
    return found

  def as_json(self) -> str:
    return json.dumps(vars(self), indent=2, sort_keys=True, default=dict) + '\n'

  @classmethod
  def from_json(cls, text: str) -> Self:
    """What `as_json` wrote.

    Raises:
      ValueError: it is something else.
    """
    try:
      made = cls(**json.loads(text))
    except TypeError as error:
      raise ValueError(f'it is no manifest ({error})') from None
    if made.format != FORMAT:
      raise ValueError(f'its format is {made.format}, not {FORMAT}')
    return made

  def write(self, folder: pathlib.Path) -> None:
    """Writes `manifest.json` whole or not at all, and to the disk."""
    write_durably(folder / NAME, self.as_json().encode())


def make(
  kind: str,
  *,
  model: str,
  engine: Engine,
  config: Mapping[str, Any],
  inputs: Mapping[str, Mapping[str, Any]],
  seed_rule: str,
  settings: Mapping[str, Any] | None = None,
) -> Manifest:
  """The manifest of a run that begins; see `Manifest` for the arguments."""
  config = records.plain(config)
  return Manifest(
    kind=kind,
    model=model,
    fingerprint=engine.fingerprint,
    parts=records.plain(dict(engine.fingerprint_parts)),
    inputs=records.plain(inputs),
    config=config,
    config_digest=digest(config),
    settings=records.plain(settings or {}),
    code={'version': chatjax.__version__, 'sha256': code_digest()},
    versions=versions(),
    seed_rule=seed_rule,
  )


def read(folder: pathlib.Path) -> Manifest:
  """The manifest of a folder.

  Raises:
    ManifestError: there is none, or it is damaged.
  """
  path = folder / NAME
  try:
    return Manifest.from_json(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    raise ManifestError(
      f'{folder} has no {NAME}: nothing says what its files came of.'
    ) from None
  except (OSError, ValueError) as error:
    reason = getattr(error, 'strerror', None) or str(error)
    raise ManifestError(f'{path} cannot be read: {reason}.') from None


def _differences(
  name: str, one: Mapping[str, Any], other: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
  return {
    f'{name}.{key}': (one.get(key), other.get(key))
    for key in sorted({*one, *other})
    if one.get(key) != other.get(key)
  }


def digest(value: Any) -> str:
  """SHA-256 of plain JSON, whatever the order of its keys."""
  text = json.dumps(value, sort_keys=True, separators=(',', ':'))
  return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: pathlib.Path) -> dict[str, Any]:
  """{'sha256', 'bytes'} of a file."""
  made, size = hashlib.sha256(), 0
  with open(path, 'rb') as file:
    while block := file.read(_BLOCK):
      made.update(block)
      size += len(block)
  return {'sha256': made.hexdigest(), 'bytes': size}


@functools.cache
def code_digest() -> str:
  """SHA-256 of all source files of the package, and of their names."""
  root = pathlib.Path(chatjax.__file__).parent
  made = hashlib.sha256()
  for path in sorted(root.rglob('*')):
    if path.suffix in _CODE_SUFFIXES:
      made.update(f'{path.relative_to(root).as_posix()}\0'.encode())
      made.update(hashlib.sha256(path.read_bytes()).digest())
  return made.hexdigest()


def versions() -> dict[str, str]:
  """Of Python and of what results stand on."""
  found = {'python': platform.python_version()}
  for name in _PACKAGES:
    found[name] = importlib.metadata.version(name)
  return found


def write_durably(path: pathlib.Path, data: bytes) -> None:
  """Writes a file whole or not at all; on return it is on the disk."""
  fresh = path.with_name(f'.{path.name}.{uuid.uuid4().hex}')
  try:
    with open(fresh, 'wb') as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    os.replace(fresh, path)
  except BaseException:
    fresh.unlink(missing_ok=True)
    raise
  sync_folder(path.parent)


def write_all(descriptor: int, data: bytes) -> None:
  """A full disk may take a part of what it is given."""
  view = memoryview(data)
  while view:
    view = view[os.write(descriptor, view) :]


def copy_durably(path: pathlib.Path, target: pathlib.Path) -> None:
  """Copies a file; on return its bytes are on the disk, its name may not be."""
  with open(path, 'rb') as source, open(target, 'wb') as file:
    shutil.copyfileobj(source, file, _BLOCK)
    file.flush()
    os.fsync(file.fileno())


def make_folder(folder: pathlib.Path) -> None:
  """Makes a folder and all above it; on return their names are on the disk."""
  missing = [one for one in (folder, *folder.parents) if not one.exists()]
  folder.mkdir(parents=True, exist_ok=True)
  for one in missing:
    sync_folder(one.parent)


def sync_folder(folder: pathlib.Path) -> None:
  """Puts the names of a folder's files on the disk."""
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
