"""Converted parameters on disk: Orbax checkpoints and a small manifest.

A checkpoint folder appears under its name only when it is complete:

  checkpoints/<name>          what `manifest.Manifest.folder` calls it
  checkpoints/<name>.partial  being written, or left by a process that died
  locks/<name>                one process converts, the others wait

Large models are kept in several parts, each an Orbax checkpoint: memory then
holds one of them, and a conversion that was cut off goes on with the next.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import os
import pathlib
import shutil
from typing import Any
import zlib

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import type_handlers

from chatjax import types
from chatjax.ckpt import digest as digest_lib
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import manifest as manifest_lib

FORMAT_VERSION = manifest_lib.FORMAT_VERSION
PART_BYTES = 2**30
_RESERVE_BYTES = 2**22  # for its index, and the programs compiled next
_PARTS = 'parts.json'
_BEGUN = 'begun.json'
_SHA256 = 'sha256.json'
_SUMS = 'sums.json'  # a checksum of each array: they tell where a byte changed

# Path of an array, its names joined by dots -> where it goes; None is the
# default device.
Placement = Callable[[str], jax.sharding.Sharding | None]


class CheckpointError(types.ChatjaxError):
  """A checkpoint folder that cannot be used; the message names it."""


def ensure(
  checkpoints: pathlib.Path,
  manifest: manifest_lib.Manifest,
  abstract: Mapping[str, Any],
  make: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> pathlib.Path:
  """The folder of a checkpoint, which is made if it is not there yet.

  Args:
    checkpoints: the folder of all checkpoints; `locks` lies beside it.
    manifest: what the parameters are made of.
    abstract: nested dicts of shapes and dtypes.
    make: returns arrays for a part of `abstract`.

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
        partial = path.with_name(f'{path.name}.partial')
        save(partial, manifest, abstract, make)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(partial, path)
  except OSError as e:
    raise CheckpointError(
      f'Cannot write checkpoint {path}: {e.strerror or e}. Free some space'
      ' there, or point CHATJAX_HOME to a folder that can be written.'
    ) from e
  return path


def save(
  folder: pathlib.Path,
  manifest: manifest_lib.Manifest,
  abstract: Mapping[str, Any],
  make: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> None:
  """Writes a checkpoint into a folder that nobody else writes to.

  Goes on after the last whole part of an earlier try of the same.

  Raises:
    CheckpointError: there is not enough space.
  """
  plan = _plan(abstract)
  record = [manifest.record(), plan]
  if home_lib.read_json(folder / _BEGUN) != record:
    # Whoever left it is dead, and made something else.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    home_lib.write_json(folder / _BEGUN, record)
  _drop_torn(folder)
  try:
    _check_space(folder, abstract)
    for paths, place in zip(plan, _places(folder, len(plan)), strict=True):
      if not place.is_dir():
        _save_part(place, make(_subtree(abstract, paths)))
  except BaseException:
    if not any(place.is_dir() for place in _places(folder, len(plan))):
      shutil.rmtree(folder, ignore_errors=True)
    raise
  if len(plan) > 1:
    home_lib.write_json(manifest_lib.params(folder) / _PARTS, plan)
  home_lib.write_json(folder / _SHA256, _hash(folder))
  (folder / _BEGUN).unlink()
  manifest.write(folder)


def restore(
  path: pathlib.Path,
  abstract: Mapping[str, Any],
  placement: Placement = lambda name: None,
) -> Any:
  """Reads a tree of the given shapes and dtypes onto devices.

  Args:
    path: the folder.
    abstract: nested dicts of shapes and dtypes.
    placement: a sharding for each array; only what a device holds is read for
      it.
  """
  plan = _saved_plan(path)
  restored: dict[str, Any] = {}
  targets = _targets(abstract, placement)
  try:
    with ocp.StandardCheckpointer(
      multiprocessing_options=_own()
    ) as checkpointer:
      for paths, place in zip(plan, _places(path, len(plan)), strict=True):
        part = targets if paths is None else _subtree(targets, paths)
        _merge(restored, checkpointer.restore(place.absolute(), part))
  except (ValueError, OSError, KeyError) as e:
    reason = str(e).splitlines()[0][:200]
    raise CheckpointError(
      f'Checkpoint {path} is damaged ({reason}); delete the folder to'
      ' convert the weights again.'
    ) from e
  return restored


def _own() -> ocp.options.MultiprocessingOptions:
  """Each process reads for itself, and waits for no other."""
  if jax.process_count() == 1:
    return ocp.options.MultiprocessingOptions()
  me = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=me,
    active_processes={me},
    barrier_sync_key_prefix=f'process_{me}',
  )


def places(folder: pathlib.Path) -> list[pathlib.Path]:
  """The Orbax checkpoints that a folder holds."""
  return _places(folder, len(_saved_plan(folder)))


def _saved_plan(folder: pathlib.Path) -> list[list[str] | None]:
  """Paths of the parameters of each part; None where one part has them all."""
  return home_lib.read_json(manifest_lib.params(folder) / _PARTS) or [None]


def sums(folder: pathlib.Path) -> dict[str, int]:
  """CRC-32 of each array, as it was when it was written."""
  found: dict[str, int] = {}
  for place in places(folder):
    kept = home_lib.read_json(place.with_name(f'{place.name}.{_SUMS}'))
    found |= kept if isinstance(kept, dict) else {}
  return found


def changed(folder: pathlib.Path) -> list[pathlib.Path] | None:
  """Files that are not what they were when they were written.

  None for a folder of an earlier version, which does not say.
  """
  kept = home_lib.read_json(folder / _SHA256)
  if not isinstance(kept, dict):
    return None
  now = _hash(folder)
  return [folder / name for name in kept if now.get(name) != kept[name]]


def _hash(folder: pathlib.Path) -> dict[str, str]:
  """sha256 of all files below the parameters."""
  paths = [
    path for path in sorted(manifest_lib.params(folder).rglob('*'))
    if path.is_file()
  ]  # fmt: skip
  hashed = digest_lib.hash_files(paths)
  return {
    str(path.relative_to(folder)): one.sha256 for path, one in hashed.items()
  }


def _targets(abstract: Mapping[str, Any], placement: Placement) -> Any:
  default = jax.sharding.SingleDeviceSharding(jax.devices()[0])

  def place(path, leaf):
    return jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=placement(_name(path)) or default
    )

  return jax.tree_util.tree_map_with_path(place, abstract)


def placement(shardings: Any) -> Placement:
  """Places arrays as a tree of shardings says."""
  flat, _ = jax.tree_util.tree_flatten_with_path(shardings)
  by_name = {_name(path): sharding for path, sharding in flat}
  return by_name.__getitem__


def _name(path: Sequence[Any]) -> str:
  """Of an array: names joined by dots."""
  return '.'.join(str(getattr(k, 'key', None) or k.name) for k in path)


def _plan(abstract: Mapping[str, Any]) -> list[list[str]]:
  """Paths of the parameters of each part."""
  parts: list[list[str]] = [[]]
  size = 0
  for path, leaf in _flat(abstract).items():
    nbytes = _nbytes(leaf)
    if parts[-1] and size + nbytes > PART_BYTES:
      parts.append([])
      size = 0
    parts[-1].append(path)
    size += nbytes
  return parts


def _places(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
  """Where the parts lie; a single one is the folder of parameters itself."""
  params = manifest_lib.params(folder)
  return [params / f'part_{i}' for i in range(count)] if count > 1 else [params]


def _save_part(place: pathlib.Path, tree: Any) -> None:
  place.parent.mkdir(parents=True, exist_ok=True)
  sums = {
    _name(path): zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).data)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
  home_lib.write_json(place.with_name(f'{place.name}.{_SUMS}'), sums)
  try:
    # The arrays are nobody else's, and go to the disk as they stand in memory:
    # copies and compression would take as much memory again, and compression
    # takes only a sixth off weights of 8 bits.
    own = type_handlers.NumpyHandler(deepcopy_host_arrays=False)
    handler = ocp.PyTreeCheckpointHandler(
      use_compression=False,
      type_handler_registry=type_handlers.create_type_handler_registry(
        (np.ndarray, own), (jax.Array, type_handlers.ArrayHandler())
      ),
    )
    with ocp.Checkpointer(handler) as checkpointer:
      checkpointer.save(place.absolute(), tree)
  except BaseException:
    shutil.rmtree(place, ignore_errors=True)
    raise


def _drop_torn(folder: pathlib.Path) -> None:
  """Removes what Orbax had not finished; it renames what is whole."""
  for place in (folder, manifest_lib.params(folder)):
    for torn in place.glob('*.orbax-checkpoint-tmp*'):
      shutil.rmtree(torn, ignore_errors=True)


def _flat(
  tree: Mapping[str, Any], parents: tuple[str, ...] = ()
) -> dict[str, Any]:
  """Path -> parameter, in the order in which jax has them."""
  flat = {}
  for name in sorted(tree):
    here = (*parents, name)
    if isinstance(tree[name], Mapping):
      flat |= _flat(tree[name], here)
    else:
      flat['.'.join(here)] = tree[name]
  return flat


def _subtree(tree: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
  flat, part = _flat(tree), {}
  for path in paths:
    *parents, name = path.split('.')
    at = part
    for parent in parents:
      at = at.setdefault(parent, {})
    at[name] = flat[path]
  return part


def _merge(into: dict[str, Any], tree: Mapping[str, Any]) -> None:
  for name, value in tree.items():
    if isinstance(value, Mapping) and name in into:
      _merge(into[name], value)
    else:
      into[name] = value


def _nbytes(tree: Any) -> int:
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _check_space(folder: pathlib.Path, abstract: Any) -> None:
  """Refuses at once: Orbax reports a full disk in pages of tracebacks."""
  params = manifest_lib.params(folder)
  here = sum(p.stat().st_size for p in params.rglob('*') if p.is_file())
  needed = max(0, _nbytes(abstract) - here) + _RESERVE_BYTES
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise CheckpointError(
      f'The converted weights need {needed / 1e6:.0f} MB in {folder.parent},'
      f' {free / 1e6:.0f} MB are free. Free some space there, or point'
      ' CHATJAX_HOME to another disk.'
    )
