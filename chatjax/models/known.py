"""The models that were loaded from paths or the hub on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import pathlib

from chatjax.ckpt import home as home_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
  """One model.

  Attributes:
    record: the file that remembers it.
  """

  id: str
  path: pathlib.Path
  record: pathlib.Path


def remember(home: pathlib.Path, model_id: str, path: pathlib.Path) -> None:
  """Notes where a model lies."""
  key = hashlib.sha256(f'{model_id}\n{path}'.encode()).hexdigest()[:32]
  # A home that can only be read is no reason to refuse a model.
  with contextlib.suppress(OSError):
    home_lib.write_json(
      home / 'models' / f'{key}.json', {'id': model_id, 'path': str(path)}
    )


def models(home: pathlib.Path) -> list[Known]:
  """All that are noted and still there, by id."""
  found = []
  for record in sorted((home / 'models').glob('*.json')):
    kept = home_lib.read_json(record)
    if not isinstance(kept, dict) or not {'id', 'path'} <= set(kept):
      continue
    path = pathlib.Path(str(kept['path']))
    if path.exists():
      found.append(Known(id=str(kept['id']), path=path, record=record))
  return sorted(found, key=lambda known: known.id)
