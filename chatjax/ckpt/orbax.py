"""Converted parameters on disk: an Orbax checkpoint and a small manifest.

A checkpoint folder appears under its name only when it is complete:

  checkpoints/<name>          what `manifest.Manifest.folder` calls it
  checkpoints/<name>.partial  being written, or left by a process that died
  locks/<name>                one process converts, the others wait
"""

from __future__ import annotations

from collections.abc import Callable
import os
import pathlib
import shutil
from typing import Any

import jax
import orbax.checkpoint as ocp

from chatjax import types
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import manifest as manifest_lib

FORMAT_VERSION = manifest_lib.FORMAT_VERSION
_RESERVE_BYTES = 2**22  # for its index, and the programs compiled next


class CheckpointError(types.ChatjaxError):
  """A checkpoint folder that cannot be used; the message names it."""


def ensure(
  checkpoints: pathlib.Path,
  manifest: manifest_lib.Manifest,
  make: Callable[[], Any],
) -> pathlib.Path:
  """The folder of a checkpoint, which is made if it is not there yet.

  Args:
    checkpoints: the folder of all checkpoints; `locks` lies beside it.
    manifest: what the parameters are made of.
    make: returns a tree of arrays.

  Raises:
    CheckpointError: it cannot be written.
  """
  path = manifest.folder(checkpoints)
  if manifest.is_complete(path):
    return path
  try:
    with home_lib.lock(checkpoints.parent / 'locks' / path.name):
      # Another process may have made it while this one waited.
      if not manifest.is_complete(path):
        _save(path, manifest, make)
  except OSError as e:
    raise CheckpointError(
      f'Cannot write checkpoint {path}: {e.strerror or e}. Free some space'
      ' there, or point CHATJAX_HOME to a folder that can be written.'
    ) from e
  return path


def _save(
  path: pathlib.Path,
  manifest: manifest_lib.Manifest,
  make: Callable[[], Any],
) -> None:
  """Writes beside, then renames; the lock must be held."""
  partial = path.with_name(f'{path.name}.partial')
  # Whoever left one is dead: the lock is ours.
  shutil.rmtree(partial, ignore_errors=True)
  tree = make()
  try:
    partial.mkdir(parents=True)
    _check_space(partial, tree)
    with ocp.StandardCheckpointer() as checkpointer:
      checkpointer.save(manifest_lib.params(partial).absolute(), tree)
    manifest.write(partial)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(partial, path)
  except BaseException:
    shutil.rmtree(partial, ignore_errors=True)
    raise


def _check_space(folder: pathlib.Path, tree: Any) -> None:
  """Refuses at once: Orbax reports a full disk in pages of tracebacks."""
  needed = _RESERVE_BYTES + sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise CheckpointError(
      f'The converted weights need {needed / 1e6:.0f} MB in {folder.parent},'
      f' {free / 1e6:.0f} MB are free. Free some space there, or point'
      ' CHATJAX_HOME to another disk.'
    )


def restore(path: pathlib.Path, abstract: Any) -> Any:
  """Reads a tree of the given shapes and dtypes onto the default device."""
  sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  targets = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
    abstract,
  )
  try:
    with ocp.StandardCheckpointer() as checkpointer:
      return checkpointer.restore(manifest_lib.params(path).absolute(), targets)
  except (ValueError, OSError, KeyError) as e:
    reason = str(e).splitlines()[0][:200]
    raise CheckpointError(
      f'Checkpoint {path} is damaged ({reason}); delete the folder to'
      ' convert the weights again.'
    ) from e
