"""Reads and writes safetensors files, which may be damaged or made to harm.

A file is laid out as

  length of the head   8 bytes, little-endian
  head                 JSON: name -> dtype, shape, [begin, end) of its bytes
  data                 the tensors' bytes, without gaps, counted from here

Everything the head says is compared with what the file can hold before any of
it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
import math
import mmap
import os
import pathlib
import stat
import struct
import types
from typing import Any

import ml_dtypes
import numpy as np

from chatjax.ckpt import errors

SafetensorsError = errors.SafetensorsError

DTYPES: Mapping[str, np.dtype] = types.MappingProxyType(
  {
    'F64': np.dtype('<f8'),
    'F32': np.dtype('<f4'),
    'F16': np.dtype('<f2'),
    'BF16': np.dtype(ml_dtypes.bfloat16),
    'F8_E4M3': np.dtype(ml_dtypes.float8_e4m3fn),
    'F8_E5M2': np.dtype(ml_dtypes.float8_e5m2),
    'F8_E8M0': np.dtype(ml_dtypes.float8_e8m0fnu),
    'I64': np.dtype('<i8'),
    'I32': np.dtype('<i4'),
    'I16': np.dtype('<i2'),
    'I8': np.dtype('i1'),
    'U64': np.dtype('<u8'),
    'U32': np.dtype('<u4'),
    'U16': np.dtype('<u2'),
    'U8': np.dtype('u1'),
    'BOOL': np.dtype('?'),
  }
)
CODES = types.MappingProxyType({dtype: code for code, dtype in DTYPES.items()})
MAX_HEAD_BYTES = 100 * 10**6  # as the format's own library has it
_MAX_AXES = 8
_METADATA = '__metadata__'
_ALIGNMENT = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorInfo:
  """Where a tensor lies and how it is stored.

  Attributes:
    offset: of the first byte, from the start of the file.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  offset: int

  @property
  def nbytes(self) -> int:
    return math.prod(self.shape) * self.dtype.itemsize


class File:
  """An open file; its tensors are views of a map, read when they are used.

  Attributes:
    tensors: name -> TensorInfo, in the order of their bytes.
  """

  def __init__(self, path: str | os.PathLike[str]):
    """Opens a file and checks its head.

    Raises:
      SafetensorsError: it cannot be read or is not a sound file.
    """
    self.path = pathlib.Path(path)
    try:
      # Opening a pipe would wait for its writer for ever.
      if not stat.S_ISREG(self.path.stat().st_mode):
        raise self._error('is not a regular file.')
      with open(self.path, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        self._check_length(size)
        self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except OSError as error:
      raise self._error(f'cannot be opened: {error.strerror}.') from error
    self.tensors: Mapping[str, TensorInfo] = types.MappingProxyType(
      self._read_head(size)
    )

  def view(self, name: str) -> np.ndarray:
    """A tensor as it is stored, without a copy; cannot be written."""
    info = self.tensors[name]
    flat = np.frombuffer(
      self._map, info.dtype, math.prod(info.shape), info.offset
    )
    return flat.reshape(info.shape)

  def _error(self, what: str) -> SafetensorsError:
    return SafetensorsError(f'{self.path} {what}')

  def _check_length(self, size: int) -> None:
    if size < 8:
      raise self._error(
        f'has {size} bytes: it is no safetensors file, or was cut. Fetch it'
        ' again.'
      )

  def _read_head(self, size: int) -> dict[str, TensorInfo]:
    (length,) = struct.unpack_from('<Q', self._map)
    if length > min(size - 8, MAX_HEAD_BYTES):
      raise self._error(
        f'says that its head has {length} bytes, and has {size} in all: it is'
        ' no safetensors file, or was cut or changed. Fetch it again.'
      )
    try:
      head = json.loads(self._map[8 : 8 + length], object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
      raise self._error(
        f'has a damaged head ({str(error)[:100]}). Fetch it again.'
      ) from error
    if not isinstance(head, dict):
      raise self._error('has a head that is no JSON object. Fetch it again.')
    head.pop(_METADATA, None)
    found = {
      name: self._read_info(name, value, 8 + length, size)
      for name, value in head.items()
    }
    ordered = sorted(found.items(), key=lambda item: item[1].offset)
    self._check_gaps(ordered, 8 + length, size)
    return dict(ordered)

  def _read_info(
    self, name: str, value: Any, start: int, size: int
  ) -> TensorInfo:
    try:
      code, shape = value['dtype'], value['shape']
      begin, end = value['data_offsets']
      is_sound = len(shape) <= _MAX_AXES and all(
        type(n) is int and n >= 0 for n in (*shape, begin, end)
      )
    except (KeyError, TypeError, ValueError):
      is_sound = False
    if not is_sound:
      raise self._error(
        f'has a damaged head: tensor {name[:200]!r} is {str(value)[:100]}.'
        ' Fetch it again.'
      )
    if code not in DTYPES:
      raise self._error(
        f'holds tensor {name!r} as {str(code)[:50]!r}; supported are'
        f' {", ".join(DTYPES)}.'
      )
    info = TensorInfo(
      shape=tuple(shape), dtype=DTYPES[code], offset=start + begin
    )
    if info.nbytes != end - begin:
      raise self._error(
        f'has a damaged head: tensor {name!r} of shape {info.shape} and dtype'
        f' {code} has {info.nbytes} bytes, the head gives it {end - begin}.'
        ' Fetch it again.'
      )
    if start + end > size:
      raise self._error(
        f'was cut: tensor {name!r} ends at byte {start + end}, the file has'
        f' {size}. Fetch it again.'
      )
    return info

  def _check_gaps(
    self, ordered: list[tuple[str, TensorInfo]], start: int, size: int
  ) -> None:
    """Bytes of no tensor, or of two, are a head that was changed."""
    at = start
    for name, info in ordered:
      if info.offset != at:
        raise self._error(
          f'has a damaged head: tensor {name!r} begins at byte {info.offset},'
          f' the one before ends at {at}. Fetch it again.'
        )
      at += info.nbytes
    if at != size:
      raise self._error(
        f'has {size} bytes, and its tensors end at {at}: it was cut or'
        ' changed. Fetch it again.'
      )


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  made = dict(pairs)
  if len(made) != len(pairs):
    raise ValueError('a name stands there twice')
  return made


def head(
  tensors: Mapping[str, tuple[tuple[int, ...], np.dtype]],
) -> tuple[bytes, dict[str, TensorInfo]]:
  """The beginning of a file of such tensors, and where each will lie."""
  # The format wants the widest dtypes first; they are then aligned.
  order = sorted(tensors, key=lambda name: -tensors[name][1].itemsize)
  values: dict[str, Any] = {_METADATA: {'format': 'pt'}}
  infos, at = {}, 0
  for name in order:
    shape, dtype = tensors[name]
    infos[name] = TensorInfo(shape=tuple(shape), dtype=dtype, offset=at)
    end = at + infos[name].nbytes
    values[name] = {
      'dtype': CODES[dtype],
      'shape': list(shape),
      'data_offsets': [at, end],
    }
    at = end
  text = json.dumps(values, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % _ALIGNMENT)
  start = 8 + len(text)
  return struct.pack('<Q', len(text)) + text, {
    name: dataclasses.replace(info, offset=start + info.offset)
    for name, info in infos.items()
  }
