"""Reads GGUF files that nobody has vouched for."""

from __future__ import annotations

from collections.abc import Mapping
import math
import os
import pathlib
import stat
import types
from typing import Any

import gguf
from gguf import quants
import numpy as np

from chatjax.ckpt import errors
from chatjax.ckpt import gguf_head

GGUFError = errors.GGUFError

# Elements dequantized at once. It bounds the temporaries (about 10 floats per
# element) and keeps them in the cache; a multiple of every block size.
CHUNK = 2**16

_PLAIN = {
    'F32': '<f4', 'F16': '<f2', 'F64': '<f8',
    'I8': '<i1', 'I16': '<i2', 'I32': '<i4', 'I64': '<i8',
}  # fmt: skip


class GGUF:
  """An open GGUF file. Closes with `close` or at the end of a `with`.

  Tensor data is read with `pread`, not through a map: a file that shrinks
  while it is open then gives an error instead of a dead process. Reading is
  safe from several threads.

  Attributes:
    metadata: key -> int, float, bool, str, list of str or numpy array.
    tensors: name -> gguf_head.TensorInfo, in the file's order.
  """

  def __init__(
    self,
    path: pathlib.Path,
    descriptor: int,
    metadata: dict[str, Any],
    tensors: dict[str, gguf_head.TensorInfo],
  ):
    self.path = path
    self.metadata: Mapping[str, Any] = types.MappingProxyType(metadata)
    self.tensors: Mapping[str, gguf_head.TensorInfo] = types.MappingProxyType(
      tensors
    )
    self._descriptor: int | None = descriptor

  @classmethod
  def open(cls, path: str | os.PathLike[str]) -> GGUF:
    """Opens a file and reads all of it but the tensors' data.

    Raises:
      GGUFError: the file cannot be read or is not a sound GGUF file.
    """
    path = pathlib.Path(path)
    try:
      # Opening a pipe would wait for its writer for ever.
      if not stat.S_ISREG(path.stat().st_mode):
        raise GGUFError(f'{path} is not a regular file.')
      descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
      raise GGUFError(f'{path} cannot be opened: {error.strerror}.') from error
    try:
      metadata, tensors = gguf_head.read(path, descriptor)
    except BaseException:
      os.close(descriptor)
      raise
    return cls(path, descriptor, metadata, tensors)

  def __enter__(self) -> GGUF:
    return self

  def __exit__(self, *unused_error: object) -> None:
    self.close()

  def close(self) -> None:
    if self._descriptor is not None:
      os.close(self._descriptor)
      self._descriptor = None

  def read(self, name: str, *, rows: slice | None = None) -> np.ndarray:
    """A tensor, or some rows of one, as float32.

    Needs little memory beyond the result. Integers above 2**24 are rounded.

    Args:
      name: a key of `tensors`.
      rows: of the outermost axis of a tensor with two axes or more; step 1.

    Raises:
      GGUFError: no such tensor, a format that cannot be dequantized, data
        cut short, or values that are not finite.
    """
    info = self._info(name)
    first, shape = self._row_range(info, rows)
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[info.ggml_type]
    out = np.empty(math.prod(shape), np.float32)
    base = info.offset + first // block_size * block_bytes
    for start in range(0, out.size, CHUNK):
      stop = min(start + CHUNK, out.size)
      data = self._pread(
        info,
        base + start // block_size * block_bytes,
        (stop - start) // block_size * block_bytes,
      )
      out[start:stop] = self._to_float(info, data)
      if not np.isfinite(out[start:stop]).all():
        raise self._error(
          info,
          'holds values that are not finite (NaN or infinity) near element '
          f'{first + start}. The file is damaged; fetch it again.',
        )
    return out.reshape(shape)

  def _info(self, name: str) -> gguf_head.TensorInfo:
    if self._descriptor is None:
      raise GGUFError(f'{self.path} is closed; open it again to read {name!r}.')
    if name not in self.tensors:
      raise GGUFError(
        f'{self.path} has no tensor {name!r}; it has {len(self.tensors)}, '
        f'for example {list(self.tensors)[:5]}.'
      )
    return self.tensors[name]

  def _row_range(
    self, info: gguf_head.TensorInfo, rows: slice | None
  ) -> tuple[int, tuple[int, ...]]:
    """The first element of a row range, and the shape of the range."""
    if rows is None:
      return 0, info.shape
    if len(info.shape) < 2:
      raise self._error(info, f'has shape {info.shape}: it has no rows.')
    start, stop, step = rows.indices(info.shape[0])
    if step != 1:
      raise self._error(info, f'rows with step {step}; only 1 is allowed.')
    shape = (max(stop - start, 0), *info.shape[1:])
    return start * math.prod(info.shape[1:]), shape

  def _pread(self, info: gguf_head.TensorInfo, offset: int, size: int) -> bytes:
    data = os.pread(self._descriptor, size, offset)
    if len(data) != size:
      raise self._error(
        info,
        f'{size} bytes were expected at offset {offset}, {len(data)} were '
        'read. The file has been cut since it was opened; fetch it again.',
      )
    return data

  def _to_float(self, info: gguf_head.TensorInfo, data: bytes) -> np.ndarray:
    # Damaged scales overflow; the caller finds what is not finite.
    with np.errstate(all='ignore'):
      if plain := _PLAIN.get(info.ggml_type.name):
        return np.frombuffer(data, plain).astype(np.float32)
      try:
        return quants.dequantize(np.frombuffer(data, np.uint8), info.ggml_type)
      except NotImplementedError as error:
        raise self._error(
          info,
          f'is stored as {info.ggml_type.name}, which cannot be dequantized. '
          'Use a file in another format, for example Q4_K_M or Q8_0.',
        ) from error

  def _error(self, info: gguf_head.TensorInfo, what: str) -> GGUFError:
    return GGUFError(f'{self.path}: tensor {info.name!r}: {what}')
