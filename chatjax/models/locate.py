"""What `--model` names: an id of the registry, a path, or a hub repository."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import os
import pathlib
import re

from chatjax.ckpt import digest as digest_lib
from chatjax.ckpt import errors
from chatjax.ckpt import folder as folder_lib
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import hub
from chatjax.ckpt import manifest as manifest_lib
from chatjax.models import known
from chatjax.models import registry

_HUB = re.compile(
  r'(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?'
)
_SNAPSHOT = re.compile(r'models--(?P<owner>.+?)--(?P<name>.+)')

# (what is being done, bytes done, bytes in all)
Progress = Callable[[str, int, int], None]
FETCHING, CHECKING = 'fetching', 'checking'


def _silent(what: str, done: int, total: int) -> None:
  """Reports to nobody."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Located:
  """A checkpoint on this machine.

  Attributes:
    id: what clients call the model.
    path: a GGUF file or a folder.
    digest: sha256 of all that it says.
    entry: of the registry, if the model is there.
  """

  id: str
  path: pathlib.Path
  digest: str
  entry: registry.Entry | None = None


def is_path(model: str) -> bool:
  """Whether a name means a file or folder rather than a model by name."""
  looks_so = model.startswith(('/', './', '../', '~')) or model in ('.', '..')
  return looks_so or model.endswith('.gguf') or os.path.isdir(model)


def check(model: str) -> None:
  """Refuses what can name no model; touches no network.

  Raises:
    registry.UnknownModelError: a path that is not there, or no such id.
  """
  if model in registry.REGISTRY:
    return
  if is_path(model):
    if not pathlib.Path(model).expanduser().exists():
      raise registry.UnknownModelError(
        f'There is no file or folder {model!r}. Give the path of a GGUF file'
        ' or of a folder with config.json and safetensors.'
      )
  elif not _HUB.fullmatch(model):
    registry.get(model)


def served_id(model: str) -> str:
  """What clients will call a model, told from its name alone."""
  if model in registry.REGISTRY or not is_path(model):
    return model
  return id_of(_absolute(model))


def _absolute(model: str) -> pathlib.Path:
  return pathlib.Path(model).expanduser().absolute()


def locate(
  model: str,
  *,
  accept_license: bool = False,
  progress: Progress = _silent,
) -> Located:
  """The checkpoint of a model, which is fetched if it is not here.

  Args:
    model: an id of the registry, a path, or `owner/name[@revision]`.
    accept_license: accept the terms of the weights, where they want that.
    progress: called while something is fetched or hashed.

  Raises:
    types.ChatjaxError: there is none, or it cannot be fetched or used.
  """
  check(model)
  home = home_lib.home()
  if model in registry.REGISTRY:
    entry = registry.get(model)
    path = registry.fetch_weights(
      model,
      accept_license=accept_license,
      progress=lambda done, total, label: progress(FETCHING, done, total),
    )
    # For `chatjax models verify`, which names the tensor that has changed.
    digest_lib.of_files(path.parent, (path.name,), home)
    return Located(id=model, path=path, digest=entry.source.sha256, entry=entry)
  if is_path(model):
    path = _absolute(model)
    found = of_path(path, home, progress)
  else:
    match = _HUB.fullmatch(model)
    revision = match['revision'] or 'main'
    path = hub.snapshot(
      match['repo'],
      revision,
      tick=lambda done, total: progress(FETCHING, done, total),
    )
    found = of_path(path, home, progress, model_id=model)
  known.remember(home, found.id, found.path)
  return found


def of_path(
  path: pathlib.Path,
  home: pathlib.Path,
  progress: Progress = _silent,
  model_id: str | None = None,
) -> Located:
  """A GGUF file or folder on this machine.

  Raises:
    types.ChatjaxError: it holds no weights that can be used.
  """
  names = files(path)
  folder = path if path.is_dir() else path.parent
  digests = digest_lib.of_files(
    folder, names, home, lambda done, total: progress(CHECKING, done, total)
  )
  return Located(
    id=model_id or id_of(path), path=path, digest=digest_of(path, digests)
  )


def digest_of(
  path: pathlib.Path, digests: Mapping[str, digest_lib.FileDigest]
) -> str:
  """One sha256 for a model; that of a single file is the file's."""
  if path.is_file():
    return digests[path.name].sha256
  return digest_lib.total(digests)


def files(path: pathlib.Path) -> tuple[str, ...]:
  """Names of the files that make a model, below its folder.

  Raises:
    types.ChatjaxError: it holds no weights that can be used.
  """
  if path.is_file():
    if path.suffix != '.gguf':
      raise errors.FolderError(
        f'{path} is no GGUF file. Give the path of one, or of a folder with'
        ' config.json and safetensors.'
      )
    return (path.name,)
  texts = folder_lib.texts(path)
  if folder_lib.CONFIG not in texts:
    raise errors.FolderError(
      f'{path} has no {folder_lib.CONFIG}: it is not the folder of a model.'
    )
  if manifest_lib.find(path) is not None:
    # The parameters themselves are checked by their own manifest.
    return (*texts, manifest_lib.NAME)
  index = (folder_lib.INDEX,) if (path / folder_lib.INDEX).is_file() else ()
  return (*texts, *index, *folder_lib.Tensors(path).files)


def id_of(path: pathlib.Path) -> str:
  """What clients call a model that is known by its path."""
  if path.is_file():
    return path.stem
  snapshot = path.parent.name == 'snapshots'
  match = _SNAPSHOT.fullmatch(path.parent.parent.name) if snapshot else None
  if match:
    return f'{match["owner"]}/{match["name"]}'
  return path.name
