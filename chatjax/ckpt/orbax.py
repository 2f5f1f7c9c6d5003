"""Converted parameters on disk: an Orbax checkpoint and a small manifest.

A checkpoint folder appears under its name only when it is complete.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
import os
import pathlib
import shutil
from typing import Any

import jax
import orbax.checkpoint as ocp

from chatjax import types

# Raised whenever the meaning of stored parameters changes.
FORMAT_VERSION = 1
_MANIFEST = 'chatjax.json'
_PARAMS = 'params'


class CheckpointError(types.ChatjaxError):
  """A checkpoint folder that cannot be used; the message names it."""


def save(path: pathlib.Path, params: Any, manifest: Mapping[str, Any]) -> None:
  """Writes a tree of arrays; a half-written folder never has the name."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
  shutil.rmtree(partial, ignore_errors=True)
  try:
    with ocp.StandardCheckpointer() as checkpointer:
      checkpointer.save(partial.absolute() / _PARAMS, params)
    text = json.dumps({'format': FORMAT_VERSION, **manifest}, indent=2)
    (partial / _MANIFEST).write_text(text)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(partial, path)
  except OSError as e:
    shutil.rmtree(partial, ignore_errors=True)
    raise CheckpointError(
      f'Cannot write checkpoint {path}: {e.strerror or e}.'
    ) from e


def is_complete(path: pathlib.Path, manifest: Mapping[str, Any]) -> bool:
  """Whether the folder holds exactly what the manifest describes."""
  try:
    found = json.loads((path / _MANIFEST).read_text())
  except (OSError, ValueError):
    return False
  return found == json.loads(json.dumps({'format': FORMAT_VERSION, **manifest}))


def restore(path: pathlib.Path, abstract: Any) -> Any:
  """Reads a tree of the given shapes and dtypes onto the default device."""
  sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  targets = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
    abstract,
  )
  try:
    with ocp.StandardCheckpointer() as checkpointer:
      return checkpointer.restore(path.absolute() / _PARAMS, targets)
  except (ValueError, OSError, KeyError) as e:
    reason = str(e).splitlines()[0][:200]
    raise CheckpointError(
      f'Checkpoint {path} is damaged ({reason}); delete the folder to'
      ' convert the weights again.'
    ) from e
