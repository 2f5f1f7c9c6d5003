"""A model's folder as the Hugging Face hub lays it out.

  config.json                    sizes and architecture
  model.safetensors              the tensors, or
  model.safetensors.index.json   which shard `model-0000i-of-n.safetensors`
                                 holds which of them
  tokenizer.json ...             what makes text of ids, and prompts of chats

Nothing here runs code that a folder brings: no pickle, no Python files.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any

import numpy as np

from chatjax.ckpt import errors
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import safetensors

FolderError = errors.FolderError

CONFIG = 'config.json'
SINGLE = 'model.safetensors'
INDEX = 'model.safetensors.index.json'
# What is said of a model beside its tensors.
TEXTS = (
  CONFIG, 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json',
  'special_tokens_map.json', 'chat_template.jinja', 'chat_template.json',
)  # fmt: skip
TOKENIZER = 'tokenizer.json'
# SentencePiece's own, which serves where there is no TOKENIZER.
SENTENCE_PIECE = 'tokenizer.model'
_PICKLED = ('.bin', '.pt', '.pth', '.pkl', '.ckpt')
_MAX_TEXT_BYTES = 200 * 10**6
_FLOATS = frozenset(
  safetensors.DTYPES[code]
  for code in ('F64', 'F32', 'F16', 'BF16', 'F8_E4M3', 'F8_E5M2')
)
# Tensors of 8 bits have their factors beside them, one per block.
_FACTORS = '_scale_inv'
# Rows and columns of such a block, where config.json does not say them.
BLOCK = (128, 128)


class Tensors:
  """The tensors of one or several safetensors files, as one checkpoint.

  Attributes:
    shapes: name -> shape; factors of 8-bit tensors are not among them.
    files: the files' names.
  """

  def __init__(self, folder: pathlib.Path, *, block: tuple[int, int] = BLOCK):
    """Opens all files and checks what their heads say.

    Args:
      folder: where they are.
      block: rows and columns of an 8-bit tensor that have one factor.

    Raises:
      FolderError, safetensors.SafetensorsError: what is wrong with them.
    """
    self._folder, self._block = folder, block
    file_of = _file_of(folder)
    self.files = tuple(sorted(set(file_of.values())))
    self._opened = {
      name: safetensors.File(folder / name) for name in self.files
    }
    _check_index(folder, file_of, self._opened)
    self._file_of = {
      name: file for file, opened in self._opened.items()
      for name in opened.tensors
    }  # fmt: skip
    self.shapes: Mapping[str, tuple[int, ...]] = {
      name: self.info(name).shape
      for name in self._file_of
      if name.removesuffix(_FACTORS) not in self._file_of
      or not name.endswith(_FACTORS)
    }

  def info(self, name: str) -> safetensors.TensorInfo:
    """How a tensor is stored."""
    return self._opened[self._file_of[name]].tensors[name]

  def where(self, name: str) -> str:
    """File and tensor, for messages."""
    return f'{self._folder / self._file_of[name]}: tensor {name!r}'

  def view(self, name: str) -> np.ndarray:
    """A tensor as it is stored: a view of its file."""
    return self._opened[self._file_of[name]].view(name)

  def rows(self, name: str, start: int, stop: int) -> np.ndarray:
    """Some rows of the outermost axis, a view of the file where it can be.

    Raises:
      FolderError: the tensor does not hold numbers that can be weights.
    """
    if self.info(name).dtype not in _FLOATS:
      raise FolderError(
        f'{self.where(name)} is stored as {self.info(name).dtype}, which is no'
        ' weight that chatjax can read; use a checkpoint in bfloat16, float16'
        ' or float32.'
      )
    rows = self.view(name)[start:stop]
    if name + _FACTORS not in self._file_of:
      return rows
    return self._scaled(name, rows, start)

  def check_factors(self) -> None:
    """Compares the shapes of 8-bit tensors and of their factors.

    Raises:
      FolderError: factors that are not one per block.
    """
    for name, shape in self.shapes.items():
      if name + _FACTORS not in self._file_of:
        continue
      factors, wanted = self.info(name + _FACTORS).shape, None
      if len(shape) == 2:
        # The last block of an axis may be cut.
        wanted = tuple(
          -(-n // size) for n, size in zip(shape, self._block, strict=True)
        )
      if factors != wanted:
        raise FolderError(
          f'{self.where(name + _FACTORS)} has shape {factors}, which is not one'
          f' factor per block of {self._block} of {shape}; set'
          ' weight_block_size in the quantization_config of config.json to'
          ' what the checkpoint was made with.'
        )

  def _scaled(self, name: str, rows: np.ndarray, start: int) -> np.ndarray:
    high, wide = self._block
    of_row = np.arange(start, start + len(rows)) // high
    of_column = np.arange(rows.shape[1]) // wide
    factors = self.view(name + _FACTORS)
    scale = factors.astype(np.float32)[of_row][:, of_column]
    return rows.astype(np.float32) * scale


def _file_of(folder: pathlib.Path) -> dict[str, str]:
  """Tensor -> file as an index says it; '' -> file where there is one file."""
  if (folder / INDEX).is_file():
    index = read_json(folder / INDEX)
    found = index.get('weight_map') if isinstance(index, dict) else None
    if not isinstance(found, dict) or not found:
      raise FolderError(f'{folder / INDEX} has no weight_map.')
    for name in found.values():
      _check_file(folder, name)
    return found
  if (folder / SINGLE).is_file():
    return {'': SINGLE}
  names = sorted(path.name for path in folder.iterdir())
  if single := [name for name in names if name.endswith('.safetensors')]:
    raise FolderError(
      f'{folder} has {single[0]}, and neither {SINGLE} nor {INDEX}: fetch the'
      ' rest of the folder.'
    )
  if pickled := [name for name in names if name.endswith(_PICKLED)]:
    raise FolderError(
      f'{folder} has its weights only in {pickled[0]}: such files can run code'
      ' when they are read, and chatjax does not. Use a checkpoint in'
      ' safetensors.'
    )
  raise FolderError(f'{folder} has no weights: there is no {SINGLE}.')


def _check_file(folder: pathlib.Path, name: Any) -> None:
  try:
    home_lib.check_name(name)
  except (TypeError, ValueError):
    raise FolderError(
      f'{folder / INDEX} names the file {str(name)[:100]!r}, which is not one'
      ' of its own folder.'
    ) from None
  if not (folder / name).is_file():
    raise FolderError(
      f'{folder / name} is missing, and {INDEX} names it: fetch it again.'
    )


def _check_index(
  folder: pathlib.Path,
  file_of: Mapping[str, str],
  opened: Mapping[str, safetensors.File],
) -> None:
  """Each tensor must be in the file that the index names, and in no other."""
  if '' in file_of:
    return
  wrong = [
    f'{name} is not in {file}'
    for name, file in file_of.items()
    if name not in opened[file].tensors
  ]
  wrong += [
    f'{name} is in {file}, unnamed'
    for file, shard in opened.items()
    for name in shard.tensors
    if file_of.get(name) != file
  ]
  if wrong:
    raise FolderError(
      f'{folder / INDEX} and the files do not agree: {"; ".join(wrong)}.'
    )


def read_json(path: str | os.PathLike[str]) -> Any:
  """A JSON file that nobody has vouched for.

  Raises:
    FolderError: it is not there, too large, or no JSON.
  """
  text = read_text(path)
  try:
    return json.loads(text)
  except (ValueError, RecursionError) as error:
    raise FolderError(
      f'{path} is no sound JSON ({str(error)[:100]}). Fetch it again.'
    ) from error


def read_bytes(path: str | os.PathLike[str]) -> bytes:
  """A file beside the tensors that nobody has vouched for.

  Raises:
    FolderError: it is not there, or too large.
  """
  path = pathlib.Path(path)
  try:
    if path.stat().st_size > _MAX_TEXT_BYTES:
      raise FolderError(
        f'{path} has {path.stat().st_size} bytes, which is too large for what'
        ' it should be.'
      )
    return path.read_bytes()
  except FileNotFoundError:
    raise FolderError(f'{path.parent} has no {path.name}.') from None
  except OSError as error:
    raise FolderError(f'{path} cannot be read: {error}.') from error


def read_text(path: str | os.PathLike[str]) -> str:
  """A text file that nobody has vouched for.

  Raises:
    FolderError: it is not there, too large, or no text.
  """
  try:
    # Some editors begin a file with a mark, which JSON does not allow.
    return read_bytes(path).decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise FolderError(f'{path} cannot be read: {error}.') from error


def texts(folder: pathlib.Path) -> tuple[str, ...]:
  """Names of the files beside the tensors that say something of the model."""
  names = [name for name in TEXTS if (folder / name).is_file()]
  if TOKENIZER not in names:
    others = (SENTENCE_PIECE, 'added_tokens.json')
    names += [name for name in others if (folder / name).is_file()]
  return tuple(names)
