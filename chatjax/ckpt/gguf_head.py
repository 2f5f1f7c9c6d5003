"""The head of a GGUF file: everything before the tensors' data.

A file is laid out as

  magic, version, tensor count, metadata count
  metadata:  key, type, value          (as many as counted)
  tensors:   name, dims, type, offset  (as many as counted)
  padding to `general.alignment`
  data:      the tensors' bytes, offsets counted from here

All numbers are little-endian. Every count, length, offset and product is
compared with what the file can hold before anything is allocated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math
import mmap
import os
import pathlib
import struct
from typing import Any

import gguf
import numpy as np

from chatjax.ckpt import errors

VERSIONS = (2, 3)
MAX_DIMS = 4
MAX_NAME_BYTES = 2**16 - 1
DEFAULT_ALIGNMENT = 32
_STRING, _ARRAY, _BOOL, _UINT32 = 8, 9, 7, 4
_SCALARS = {
    0: '<u1', 1: '<i1', 2: '<u2', 3: '<i2', 4: '<u4', 5: '<i4', 6: '<f4',
    7: '|b1', 10: '<u8', 11: '<i8', 12: '<f8',
}  # fmt: skip
# The smallest metadata entry is an empty key, a type and one byte; the
# smallest tensor entry an empty name, no dims, a type and an offset.
_MIN_ENTRY_BYTES = 8 + 4 + 1
_MIN_TENSOR_BYTES = 8 + 4 + 4 + 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorInfo:
  """Where a tensor lies and how it is stored.

  Attributes:
    shape: outermost axis first, as numpy has it (the file has it reversed).
    ggml_type: the storage format.
    offset: of the first byte, from the start of the file.
    nbytes: stored size.
  """

  name: str
  shape: tuple[int, ...]
  ggml_type: gguf.GGMLQuantizationType
  offset: int
  nbytes: int

  @property
  def size(self) -> int:
    """Number of elements."""
    return math.prod(self.shape)


class _Header:
  """A cursor over the bytes of a file's head that never leaves them."""

  def __init__(self, path: pathlib.Path, data: mmap.mmap):
    self._path = path
    self._data = data
    self._end = len(data)
    self.pos = 0

  @property
  def left(self) -> int:
    return self._end - self.pos

  def error(self, where: str, what: str) -> errors.GGUFError:
    return errors.GGUFError(f'{self._path}: {where}: {what}')

  def take(self, size: int, where: str) -> bytes:
    """The next `size` bytes."""
    if size > self.left:
      raise self.error(
        where,
        f'{size} bytes are announced at offset {self.pos} but only '
        f'{self.left} follow. The file is cut short or damaged; fetch it '
        'again.',
      )
    start, self.pos = self.pos, self.pos + size
    return self._data[start : self.pos]

  def u32(self, where: str) -> int:
    return int.from_bytes(self.take(4, where), 'little')

  def u64(self, where: str) -> int:
    return int.from_bytes(self.take(8, where), 'little')

  def count(self, where: str, what: str, item_bytes: int) -> int:
    """A count of items of at least `item_bytes` each, checked to fit."""
    count = self.u64(where)
    if count * item_bytes > self.left:
      raise self.error(
        where,
        f'{count} {what} cannot fit in the {self.left} bytes that follow. '
        'The file is damaged; fetch it again.',
      )
    return count

  def name(self, where: str) -> str:
    size = self.u64(where)
    if not 0 < size <= MAX_NAME_BYTES:
      raise self.error(
        where, f'a name of {size} bytes; 1 to {MAX_NAME_BYTES} are allowed.'
      )
    return self._decode(self.take(size, where), where)

  def value(self, where: str) -> Any:
    """A metadata value with the type in front of it."""
    kind = self.u32(where)
    if kind == _STRING:
      return self._decode(self.take(self.u64(where), where), where)
    if kind == _ARRAY:
      return self._array(where)
    if kind in _SCALARS:
      return self._scalars(where, kind, 1)[0].item()
    raise self.error(
      where,
      f'value type {kind} is unknown; {_STRING} (string), {_ARRAY} (array) '
      f'and the scalars {sorted(_SCALARS)} are allowed.',
    )

  def _array(self, where: str) -> list[str] | np.ndarray:
    kind = self.u32(where)
    if kind == _STRING:
      return self._strings(where, self.count(where, 'strings', 8))
    if kind in _SCALARS:
      item_bytes = np.dtype(_SCALARS[kind]).itemsize
      count = self.count(where, 'array elements', item_bytes)
      return self._scalars(where, kind, count)
    raise self.error(
      where,
      f'array element type {kind} is not supported; {_STRING} (string) and '
      f'the scalars {sorted(_SCALARS)} are (arrays in arrays are not).',
    )

  def _scalars(self, where: str, kind: int, count: int) -> np.ndarray:
    dtype = np.dtype(_SCALARS[kind])
    data = self.take(count * dtype.itemsize, where)
    if kind == _BOOL and data.translate(None, b'\0\1'):
      raise self.error(where, 'a boolean is neither 0 nor 1.')
    return np.frombuffer(data, dtype)

  def _strings(self, where: str, count: int) -> list[str]:
    # Written for speed: vocabularies hold a quarter of a million strings.
    strings, data, end, pos = [], self._data, self._end, self.pos
    unpack_size = struct.Struct('<Q').unpack_from
    for index in range(count):
      if pos + 8 > end:
        raise self.error(where, f'the file ends before string {index}.')
      (size,) = unpack_size(data, pos)
      start, pos = pos + 8, pos + 8 + size
      if pos > end:
        raise self.error(
          where,
          f'string {index} is announced with {size} bytes but only '
          f'{end - start} follow.',
        )
      try:
        strings.append(str(data[start:pos], 'utf-8'))
      except UnicodeDecodeError as error:
        raise self.error(
          where, f'string {index} is not UTF-8 ({error.reason}).'
        ) from error
    self.pos = pos
    return strings

  def _decode(self, data: bytes, where: str) -> str:
    try:
      return str(data, 'utf-8')
    except UnicodeDecodeError as error:
      raise self.error(where, f'text is not UTF-8 ({error.reason}).') from error


def read(
  path: pathlib.Path, descriptor: int
) -> tuple[dict[str, Any], dict[str, TensorInfo]]:
  """Everything before the data of an open file, checked."""
  if os.fstat(descriptor).st_size < 24:
    raise errors.GGUFError(f'{path} is too short to be a GGUF file.')
  with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
    header = _Header(path, data)
    _check_version(header)
    num_tensors = header.count('header', 'tensors', _MIN_TENSOR_BYTES)
    num_entries = header.count('header', 'metadata keys', _MIN_ENTRY_BYTES)
    metadata = {}
    for index in range(num_entries):
      key = header.name(f'metadata key {index}')
      if key in metadata:
        raise header.error(f'metadata key {key!r}', 'appears twice.')
      metadata[key] = header.value(f'metadata key {key!r}')
    alignment = _alignment(header, metadata)
    return metadata, _read_tensors(header, num_tensors, alignment)


def _check_version(header: _Header) -> None:
  magic = header.take(4, 'header')
  if magic != b'GGUF':
    raise header.error('header', f'starts with {magic!r}; b"GGUF" is expected.')
  version = header.u32('header')
  if version in VERSIONS:
    return
  if int.from_bytes(version.to_bytes(4, 'little'), 'big') in VERSIONS:
    raise header.error('header', 'a big-endian file; only little-endian ones.')
  raise header.error(
    'header', f'GGUF version {version}; {VERSIONS} are supported.'
  )


def _alignment(header: _Header, metadata: Mapping[str, Any]) -> int:
  alignment = metadata.get('general.alignment', DEFAULT_ALIGNMENT)
  is_power = (
    type(alignment) is int and alignment > 0 and alignment.bit_count() == 1
  )
  if not is_power:
    raise header.error(
      "metadata key 'general.alignment'",
      f'{str(alignment)[:40]!r} is not a power of two.',
    )
  return alignment


def _read_tensors(
  header: _Header, count: int, alignment: int
) -> dict[str, TensorInfo]:
  """The table of tensors; offsets made absolute, checked for overlaps."""
  relative = {}
  for index in range(count):
    info = _read_tensor(header, index, alignment)
    if info.name in relative:
      raise header.error(f'tensor {info.name!r}', 'appears twice.')
    relative[info.name] = info
  start = -(-header.pos // alignment) * alignment
  space = header.pos + header.left - start
  end, before = 0, None
  for info in sorted(relative.values(), key=lambda info: info.offset):
    where = f'tensor {info.name!r}'
    if info.offset + info.nbytes > space:
      raise header.error(
        where,
        f'{info.nbytes} bytes at offset {info.offset} of the data, which has '
        f'{max(space, 0)}. The file is cut short or damaged; fetch it again.',
      )
    if info.offset < end:
      raise header.error(where, f'overlaps tensor {before!r}.')
    end, before = info.offset + info.nbytes, info.name
  return {
    name: dataclasses.replace(info, offset=start + info.offset)
    for name, info in relative.items()
  }


def _read_tensor(header: _Header, index: int, alignment: int) -> TensorInfo:
  """One entry of the table; its offset still counts from the data."""
  name = header.name(f'tensor {index}')
  where = f'tensor {name!r}'
  num_dims = header.u32(where)
  if num_dims > MAX_DIMS:
    raise header.error(where, f'{num_dims} axes; {MAX_DIMS} at most.')
  shape = tuple(header.u64(where) for _ in range(num_dims))[::-1]
  if 0 in shape:
    raise header.error(where, f'shape {shape} has an empty axis.')
  kind, offset = header.u32(where), header.u64(where)
  if kind not in set(gguf.GGML_QUANT_SIZES):
    raise header.error(where, f'storage format {kind} is unknown.')
  ggml_type = gguf.GGMLQuantizationType(kind)
  block_size, block_bytes = gguf.GGML_QUANT_SIZES[ggml_type]
  if (shape[-1] if shape else 1) % block_size:
    raise header.error(
      where,
      f'rows of {shape[-1:]} elements are not whole blocks of {block_size} '
      f'({ggml_type.name}).',
    )
  if offset % alignment:
    raise header.error(
      where, f'offset {offset} is not a multiple of {alignment}.'
    )
  return TensorInfo(
    name=name,
    shape=shape,
    ggml_type=ggml_type,
    offset=offset,
    nbytes=math.prod(shape) // block_size * block_bytes,
  )
