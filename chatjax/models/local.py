"""What of each model is on this machine: weights, converted forms, notes."""

from __future__ import annotations

import dataclasses
import difflib
import pathlib

from chatjax import types
from chatjax.ckpt import digest as digest_lib
from chatjax.ckpt import folder as folder_lib
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import hub
from chatjax.ckpt import manifest as manifest_lib
from chatjax.models import known
from chatjax.models import locate
from chatjax.models import registry


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
  """One model.

  Attributes:
    title: for people.
    path: the weight file or folder; it need not be there.
    entry: of the registry, if the model is there.
    sha256: what the converted forms were made of; None if that was not noted.
    notes: small files at home that speak of the model.
  """

  id: str
  title: str
  path: pathlib.Path
  entry: registry.Entry | None = None
  sha256: str | None = None
  notes: tuple[pathlib.Path, ...] = ()

  def names(self) -> tuple[str, ...]:
    """The files that make the model, below its folder; () if it is not here.

    Raises:
      types.ChatjaxError: they are no model that can be used.
    """
    return locate.files(self.path) if self.path.exists() else ()

  @property
  def folder(self) -> pathlib.Path:
    """Where these files lie."""
    return self.path if self.path.is_dir() else self.path.parent

  @property
  def is_converted(self) -> bool:
    """Whether the folder itself holds converted parameters."""
    return self.path.is_dir() and manifest_lib.find(self.path) is not None

  def size(self) -> int:
    """Bytes of the weights; those expected where they are not here."""
    if self.entry is not None:
      return self.entry.source.size
    try:
      paths = [self.folder / name for name in self.names()]
      if self.is_converted:
        paths = [path for path in self.path.rglob('*') if path.is_file()]
      return sum(path.stat().st_size for path in paths)
    except (types.ChatjaxError, OSError):
      return 0


def converted(item: Item, home: pathlib.Path) -> dict[str, pathlib.Path]:
  """The converted forms at home: how the weights are kept -> folder."""
  found = {}
  for folder in sorted((home / 'checkpoints').glob('*')):
    try:
      manifest = manifest_lib.find(folder)
    except types.ChatjaxError:
      continue  # of another version, or torn
    if manifest is not None and manifest.sha256 == item.sha256:
      found[manifest.dtype] = folder
  return found


def items(home: pathlib.Path) -> list[Item]:
  """The registry, then what was loaded from paths, then the hub's cache."""
  found = [_of_entry(entry, home) for entry in registry.REGISTRY.values()]
  taken = {item.path for item in found}
  for one in known.models(home):
    if one.path not in taken:
      found.append(_of_path(one.id, one.path, home, (one.record,)))
      taken.add(one.path)
  for repo in hub.cached_folders():
    if repo not in taken and (repo / folder_lib.CONFIG).is_file():
      found.append(_of_path(locate.id_of(repo), repo, home, ()))
  return found


def find(model: str, home: pathlib.Path) -> Item:
  """The model of an id or path.

  Raises:
    registry.UnknownModelError: there is none; names the nearest.
  """
  every = items(home)
  for item in every:
    if item.id == model:
      return item
  if locate.is_path(model):
    locate.check(model)
    path = pathlib.Path(model).expanduser().absolute()
    same = [item for item in every if item.path == path]
    return same[0] if same else _of_path(locate.id_of(path), path, home, ())
  near = difflib.get_close_matches(
    model, [x.id for x in every], n=1, cutoff=0.4
  )
  hint = f' Did you mean {near[0]!r}?' if near else ''
  raise registry.UnknownModelError(
    f'There is no model {model!r} here; chatjax models lists those that there'
    f' are.{hint}'
  )


def _of_entry(entry: registry.Entry, home: pathlib.Path) -> Item:
  path = home / 'weights' / entry.source.filename
  notes = (
    path.with_name(f'{path.name}.verified.json'),
    digest_lib.record(path.parent, (path.name,), home),
  )
  return Item(
    id=entry.id,
    title=entry.title,
    path=path,
    entry=entry,
    sha256=entry.source.sha256,
    notes=tuple(note for note in notes if note.exists()),
  )


def _of_path(
  model_id: str,
  path: pathlib.Path,
  home: pathlib.Path,
  notes: tuple[pathlib.Path, ...],
) -> Item:
  """A model that is no part of the registry."""
  sha256 = None
  try:
    names = locate.files(path)
  except types.ChatjaxError:
    names = ()
  folder = path if path.is_dir() else path.parent
  record = digest_lib.record(folder, names, home)
  if names and set(kept := digest_lib.read(record)) == set(names):
    notes = (*notes, record)
    sha256 = locate.digest_of(path, kept)
  return Item(
    id=model_id, title=_title(path), path=path, sha256=sha256, notes=notes
  )


def _title(path: pathlib.Path) -> str:
  if path.is_file():
    return 'GGUF file'
  config = home_lib.read_json(path / folder_lib.CONFIG)
  named = config.get('architectures') if isinstance(config, dict) else None
  return ', '.join(map(str, named or ())) or 'of no known architecture'
