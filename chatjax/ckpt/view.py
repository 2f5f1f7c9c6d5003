"""A checkpoint's tensors under other names, cut into parts, or once."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
import dataclasses

import numpy as np

from chatjax.ckpt import mapping
from chatjax.ckpt import stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
  """Rows of a tensor, along its outermost axis.

  Attributes:
    tensor: its name in the checkpoint.
    start: the first row.
    num_rows: None is all of them.
  """

  tensor: str
  start: int = 0
  num_rows: int | None = None


# What a tensor is called or made into; none if it is not used.
Names = Callable[[str], Mapping[str, Part]]
# Which part of a tensor has what goes by a name.
Place = Callable[[str], Part]


class View:
  """Tensors as a function of their names says.

  Attributes:
    shapes: name -> shape.
    unused: names in the checkpoint of what is left out.
  """

  def __init__(self, tensors: stream.Tensors, names: Names):
    """Looks at all tensors.

    Args:
      tensors: of a checkpoint.
      names: a tensor's name -> the parts that it is read as.

    Raises:
      mapping.MappingError: parts that are not all of a tensor, or double names.
    """
    self._tensors = tensors
    self._parts: dict[str, Part] = {}
    self.shapes: dict[str, tuple[int, ...]] = {}
    unused = []
    for tensor, shape in tensors.shapes.items():
      parts = names(tensor)
      if not parts:
        unused.append(tensor)
        continue
      self._check(tensor, parts)
      for name, part in parts.items():
        num_rows = shape[0] if part.num_rows is None else part.num_rows
        self.shapes[name] = (num_rows, *shape[1:])
      self._parts |= parts
    self.unused = tuple(unused)

  def _check(self, tensor: str, parts: Mapping[str, Part]) -> None:
    if double := sorted(parts.keys() & self._parts.keys()):
      others = ', '.join(self._parts[name].tensor for name in double)
      raise mapping.MappingError(
        f'{self._tensors.where(tensor)} and {others} are read as the same:'
        f' {", ".join(double)}.'
      )
    wanted = sum(part.num_rows or 0 for part in parts.values())
    if wanted and self._tensors.shapes[tensor][0] != wanted:
      raise mapping.MappingError(
        f'{self._tensors.where(tensor)} has shape'
        f' {self._tensors.shapes[tensor]}, the model wants {wanted} rows.'
      )

  def where(self, name: str) -> str:
    """File and tensor, for messages."""
    return self._tensors.where(self._parts[name].tensor)

  def origin(self, name: str) -> str:
    """The tensor of the checkpoint that it is, or is a part of."""
    return self._parts[name].tensor

  def rows(self, name: str, start: int, stop: int) -> np.ndarray:
    """Some rows of the outermost axis."""
    part = self._parts[name]
    first = part.start
    return self._tensors.rows(part.tensor, first + start, first + stop)


class Single:
  """A checkpoint without what it says twice, or what follows from its sizes.

  Attributes:
    shapes: name -> shape.
  """

  def __init__(
    self,
    tensors: stream.Tensors,
    *,
    ignored: Collection[str] = (),
    table: str,
    twin: str | None = None,
  ):
    """Compares shapes; numbers are compared as they are read.

    Args:
      tensors: of a checkpoint.
      ignored: names of tensors that are left out.
      table: the embedding.
      twin: what repeats it, if anything may.

    Raises:
      mapping.MappingError: the twin has another shape.
    """
    self._tensors = tensors
    self._table, self._twin = table, None
    self.shapes: dict[str, tuple[int, ...]] = {
      name: shape
      for name, shape in tensors.shapes.items()
      if name not in ignored
    }
    if table not in self.shapes or twin not in self.shapes:
      return
    shape = self.shapes.pop(twin)
    if shape != self.shapes[table]:
      raise self._two_tables(
        twin, f'has shape {shape} and not {self.shapes[table]}, that'
      )  # fmt: skip
    self._twin = twin

  def where(self, name: str) -> str:
    """File and tensor, for messages."""
    return self._tensors.where(name)

  def rows(self, name: str, start: int, stop: int) -> np.ndarray:
    """Some rows of the outermost axis.

    Raises:
      mapping.MappingError: those of the twin are others.
    """
    rows = self._tensors.rows(name, start, stop)
    if name == self._table and self._twin is not None:
      twin = self._tensors.rows(self._twin, start, stop)
      if not _is_equal(rows, twin):
        first = next(
          i for i, pair in enumerate(zip(rows, twin, strict=True))
          if not _is_equal(*pair)
        )  # fmt: skip
        raise self._two_tables(
          self._twin, f'differs in row {start + first} from that'
        )
    return rows

  def _two_tables(self, twin: str, how: str) -> mapping.MappingError:
    return mapping.MappingError(
      f'{self.where(twin)} {how} of {self.where(self._table)}, which'
      ' contradicts tie_word_embeddings of config.json: set that to false if'
      ' the model has two tables, else fetch the files again.'
    )


def _is_equal(x: np.ndarray, y: np.ndarray) -> bool:
  """Whether the numbers are the same, in whatever dtypes."""
  if x.dtype == y.dtype:
    bits = np.dtype(f'u{x.dtype.itemsize}')
    if np.array_equal(x.view(bits), y.view(bits)):
      return True
  x, y = x.astype(np.float32), y.astype(np.float32)
  return np.array_equal(x, y, equal_nan=True)


def whole(name: str) -> Part:
  """The whole of a tensor, under its own name."""
  return Part(tensor=name)


def renamed(tensor: str) -> Mapping[str, Part]:
  """A tensor that is read as what it is."""
  return {tensor: whole(tensor)}


class Fused:
  """Tensors that files store as one, below one another."""

  def __init__(self, tables: Mapping[str, Mapping[str, int]]):
    """Tells by the ends of names.

    Args:
      tables: end of the one's name -> ends of the parts' names -> their rows.
    """
    self._tables = tables

  def names(self, tensor: str) -> Mapping[str, Part]:
    """What a tensor of the files is read as."""
    for end, sizes in self._tables.items():
      if tensor.endswith(end):
        place = tensor.removesuffix(end)
        return {
          place + name: part for name, part in _below(tensor, sizes).items()
        }
    return renamed(tensor)

  def place(self, name: str) -> Part:
    """Where the files have what is read as `name`."""
    for end, sizes in self._tables.items():
      for part_end in sizes:
        if name.endswith(part_end):
          return _below(name.removesuffix(part_end) + end, sizes)[part_end]
    return whole(name)


def _below(tensor: str, sizes: Mapping[str, int]) -> dict[str, Part]:
  """Parts of a tensor that follow one another."""
  parts, start = {}, 0
  for name, size in sizes.items():
    parts[name] = Part(tensor=tensor, start=start, num_rows=size)
    start += size
  return parts
