"""Converted float parameters as tensors that can be converted further."""

from __future__ import annotations

from collections.abc import Mapping
import pathlib
import threading
import zlib

import numpy as np
import tensorstore

from chatjax.ckpt import home as home_lib
from chatjax.ckpt import mapping
from chatjax.ckpt import orbax

_LETTERS = 'ABCDEFGHIJ'


class Stored:
  """The parameters of a checkpoint folder, by path; see `stream.Tensors`."""

  def __init__(self, folder: pathlib.Path):
    """Opens all parameters; reads none.

    Raises:
      orbax.CheckpointError: they cannot be opened.
    """
    self._folder = folder
    self._lock = threading.Lock()
    self._last: tuple[str, np.ndarray] | None = None
    try:
      self._arrays = {
        name: _open(place, name)
        for place in orbax.places(folder)
        for name in _names(place)
      }
    except (ValueError, OSError, KeyError) as error:
      raise orbax.CheckpointError(
        f'Checkpoint {folder} is damaged ({str(error).splitlines()[0][:200]}).'
      ) from error
    self.shapes: Mapping[str, tuple[int, ...]] = {
      name: tuple(array.shape) for name, array in self._arrays.items()
    }

  def rows(self, name: str, start: int, stop: int) -> np.ndarray:
    """Some rows; the whole parameter is kept until another is asked for."""
    with self._lock:  # it lies in one piece, which would be decoded each time
      if self._last is None or self._last[0] != name:
        self._last = None
        self._last = (name, self._read(name))
      return self._last[1][start:stop]

  def where(self, name: str) -> str:
    return f'{self._folder}: parameter {name!r}'

  def damaged(self) -> list[str]:
    """Parameters whose bytes are not those that were written."""
    sums = orbax.sums(self._folder)
    return [name for name in self.shapes if self._sum(name) != sums.get(name)]

  def _sum(self, name: str) -> int | None:
    try:
      read = np.ascontiguousarray(self._read(name))
    except orbax.CheckpointError:
      return None
    return zlib.crc32(read.view(np.uint8).data)

  def rules(self) -> tuple[mapping.Rule, ...]:
    """The table that makes each parameter of itself."""
    return tuple(
      mapping.Rule(target=name, sources=((name, _same(len(shape))),))
      for name, shape in self.shapes.items()
    )

  def _read(self, name: str) -> np.ndarray:
    try:
      return self._arrays[name].read().result()
    except (ValueError, OSError) as error:
      raise orbax.CheckpointError(
        f'{self.where(name)} is damaged ({str(error).splitlines()[0][:200]}).'
      ) from error


def _same(rank: int) -> str:
  letters = ','.join(_LETTERS[:rank])
  return f'{letters}->{letters}'


def _names(place: pathlib.Path) -> list[str]:
  """Paths of the arrays in one part, out of Orbax's own index."""
  found = home_lib.read_json(place / '_METADATA')
  if not isinstance(found, dict):
    raise ValueError(f'{place / "_METADATA"} is missing or cut')
  return [
    '.'.join(str(key['key']) for key in entry['key_metadata'])
    for entry in found['tree_metadata'].values()
  ]


def _open(place: pathlib.Path, name: str) -> tensorstore.TensorStore:
  base = f'file://{place.absolute()}/'
  return tensorstore.open(
    {
      'driver': 'zarr',
      'kvstore': {'driver': 'ocdbt', 'base': base, 'path': f'{name}/'},
    },
    open=True,
  ).result()
