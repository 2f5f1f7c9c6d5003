"""Checkpoint conversion a few rows at a time, as `mapping` says.

A parameter [*rows, *inputs] is seen as a matrix [N, K] and made in blocks of
consecutive rows. Only what a block needs is read, so that a conversion takes
little memory beyond its result, however large a tensor is.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import itertools
import math
from typing import Protocol

import numpy as np

from chatjax.ckpt import errors
from chatjax.ckpt import mapping

# Elements of a block. A few float temporaries of it are alive at a time.
BLOCK = 2**20
# What converting may take beside its result: two threads, each with one block
# in float32 and about three temporaries of it.
ROW_BLOCK_BYTES = 4 * 4 * BLOCK

_Range = tuple[int, int]


class Tensors(Protocol):
  """The tensors of a checkpoint.

  Attributes:
    shapes: name -> shape.
  """

  shapes: Mapping[str, tuple[int, ...]]

  def rows(self, name: str, start: int, stop: int) -> np.ndarray:
    """Some rows of the outermost axis: a view of the file, or decoded."""

  def where(self, name: str) -> str:
    """File and tensor, for messages."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Piece:
  """One source of a parameter.

  Attributes:
    left: letters of each axis of the source.
    right: letters of each axis of the parameter.
    sizes: of the letters.
    span: what the piece takes of the axis along which pieces are joined.
  """

  name: str
  left: tuple[str, ...]
  right: tuple[str, ...]
  sizes: Mapping[str, int]
  span: _Range = (0, 0)

  @property
  def shape(self) -> tuple[int, ...]:
    """As a part of the parameter."""
    return tuple(math.prod(self.sizes[x] for x in axis) for axis in self.right)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """How one parameter is made, checked against the tensors that there are."""

  rule: mapping.Rule
  pieces: tuple[_Piece, ...]
  shape: tuple[int, ...]


def plan(
  rule: mapping.Rule, tensors: Tensors, known: Mapping[str, int]
) -> Plan:
  """Compares a rule with the shapes of its sources; reads nothing.

  Raises:
    mapping.MappingError: shapes that do not fit.
  """
  pieces, at = [], 0
  for name, equation in rule.sources:
    try:
      piece = _piece(name, equation, tensors.shapes[name], known)
    except mapping.MappingError as error:
      raise mapping.MappingError(f'{tensors.where(name)}: {error}.') from None
    span = (at, at + piece.shape[rule.axis])
    pieces.append(dataclasses.replace(piece, span=span))
    at = span[1]
  first = list(pieces[0].shape)
  first[rule.axis] = at
  for piece in pieces:
    shape = list(piece.shape)
    shape[rule.axis] = at
    if shape != first:
      raise mapping.MappingError(
        f'{tensors.where(piece.name)} of shape {tensors.shapes[piece.name]}'
        f' cannot stand beside the others that make {rule.target}.'
      )
  return Plan(rule=rule, pieces=tuple(pieces), shape=tuple(first))


def _piece(name, equation, shape, known) -> _Piece:
  sizes = mapping.letter_sizes(equation, shape, known)
  left, right = equation.split('->')
  # Letters that stay together are one: whole rows can then be cut out of them.
  for axis in right.split(','):
    if len(axis) > 1 and axis in left:
      one = chr(0xE000 + len(sizes))
      sizes[one] = math.prod(sizes[letter] for letter in axis)
      left, right = left.replace(axis, one), right.replace(axis, one)
  return _Piece(
    name=name, sizes=sizes,
    left=tuple(left.split(',')), right=tuple(right.split(',')),
  )  # fmt: skip


def blocks(
  made: Plan, tensors: Tensors, *, num_row_axes: int
) -> Iterator[tuple[int, np.ndarray]]:
  """Yields (first row, f32[n, K]) until all rows of the parameter are there.

  Args:
    made: what `plan` returns.
    tensors: where to read.
    num_row_axes: leading axes of the parameter that number its rows.

  Raises:
    errors.DataError: values that are not finite.
  """
  for box in boxes(made.shape, num_row_axes):
    yield first_row(box, made.shape, num_row_axes), block(made, tensors, box)


def first_row(
  box: Sequence[_Range], shape: Sequence[int], num_row_axes: int
) -> int:
  """Where a box begins among the rows."""
  row = 0
  for (low, _), size in zip(
    box[:num_row_axes], shape[:num_row_axes], strict=True
  ):
    row = row * size + low
  return row


def boxes(
  shape: tuple[int, ...], num_row_axes: int
) -> Iterator[tuple[_Range, ...]]:
  """Cuts a parameter into consecutive runs of rows of about BLOCK elements."""
  depth = 0
  while depth < num_row_axes - 1 and math.prod(shape[depth + 1 :]) > BLOCK:
    depth += 1
  step = max(1, BLOCK // math.prod(shape[depth + 1 :]))
  rest = tuple((0, size) for size in shape[depth + 1 :])
  for outer in itertools.product(*map(range, shape[:depth])):
    fixed = tuple((i, i + 1) for i in outer)
    for low in range(0, shape[depth], step):
      yield (*fixed, (low, min(low + step, shape[depth])), *rest)


def block(made: Plan, tensors: Tensors, box: Sequence[_Range]) -> np.ndarray:
  """One box of a parameter as f32[rows, K]."""
  axis = made.rule.axis
  out = np.empty([high - low for low, high in box], np.float32)
  for piece in made.pieces:
    low = max(box[axis][0], piece.span[0])
    high = min(box[axis][1], piece.span[1])
    if low >= high:
      continue
    inside = list(box)
    inside[axis] = (low - piece.span[0], high - piece.span[0])
    place = [slice(None)] * len(box)
    place[axis] = slice(low - box[axis][0], high - box[axis][0])
    part = out[tuple(place)]
    part[...] = _read(piece, tensors, inside)
    if not np.isfinite(part).all():
      raise errors.DataError(
        f'{tensors.where(piece.name)} holds values that are not finite (NaN or'
        f' infinity) among what becomes {made.rule.target}. The file is'
        ' damaged; fetch it again.'
      )
  return out


def _read(piece: _Piece, tensors: Tensors, box: Sequence[_Range]) -> np.ndarray:
  """A box of a piece, in the parameter's axes and the source's dtype."""
  sizes = piece.sizes
  ranges = {letter: (0, size) for letter, size in sizes.items()}
  cut = []  # of what was read
  for axis, (low, high) in zip(piece.right, box, strict=True):
    # Of an axis of several letters the first alone is limited.
    inner = math.prod(sizes[letter] for letter in axis[1:])
    first, last = low // inner, -(-high // inner)
    if axis:
      ranges[axis[0]] = (first, last)
    cut.append(slice(low - first * inner, high - first * inner))
  held = {letter: (0, size) for letter, size in sizes.items()}
  start, count = 0, 1
  # Leading letters with one value, then one with several, are whole rows.
  outermost = piece.left[0]
  for i, letter in enumerate(outermost):
    inner = math.prod(sizes[x] for x in outermost[i + 1 :])
    low, high = held[letter] = ranges[letter]
    start, count = start + low * inner, (high - low) * inner
    if count != inner:
      break
  letters = ''.join(piece.left)
  rows = tensors.rows(piece.name, start, start + count)
  split = rows.reshape([held[x][1] - held[x][0] for x in letters])
  split = split[
    tuple(
      slice(ranges[x][0] - held[x][0], ranges[x][1] - held[x][0])
      for x in letters
    )
  ]
  order = [letters.index(x) for x in ''.join(piece.right)]
  widths = [
    math.prod(ranges[x][1] - ranges[x][0] for x in axis) for axis in piece.right
  ]
  return split.transpose(order).reshape(widths)[tuple(cut)]


def export_plan(
  rule: mapping.Rule, shape: tuple[int, ...], known: Mapping[str, int]
) -> Plan:
  """A rule read backwards: what a parameter of a shape is taken apart into.

  Raises:
    mapping.MappingError: the shape does not fit the rule.
  """
  pieces, at = [], 0
  for name, equation in rule.sources:
    right = equation.split('->')[1].split(',')
    own = list(shape)
    if len(rule.sources) > 1:
      own[rule.axis] = math.prod(known[x] for x in right[rule.axis])
    left = mapping.source_shape(equation, own, known)
    piece = _piece(name, equation, left, known)
    span = (at, at + own[rule.axis])
    pieces.append(dataclasses.replace(piece, span=span))
    at = span[1]
  if at != shape[rule.axis]:
    raise mapping.MappingError(
      f'Parameter {rule.target} of shape {shape} is not what its rule makes.'
    )
  return Plan(rule=rule, pieces=tuple(pieces), shape=tuple(shape))


def source_shapes(made: Plan) -> dict[str, tuple[int, ...]]:
  """Shapes of the tensors that make a parameter."""
  return {
    piece.name: tuple(
      math.prod(piece.sizes[x] for x in axis) for axis in piece.left
    )
    for piece in made.pieces
  }


def export_boxes(made: Plan) -> Iterator[tuple[_Range, ...]]:
  """Boxes of a parameter that `write` can put to their places."""
  whole = len(made.shape)
  for piece in made.pieces:
    several = [i for i, axis in enumerate(piece.right) if len(axis) > 1]
    whole = min([whole, *several])
  if whole == 0:
    yield tuple((0, size) for size in made.shape)
  else:
    yield from boxes(made.shape, whole)


def write(
  made: Plan,
  arrays: Mapping[str, np.ndarray],
  box: Sequence[_Range],
  values: np.ndarray,
) -> None:
  """Puts one box of a parameter to its places in the tensors; see `block`.

  Args:
    made: what `export_plan` returns.
    arrays: the tensors by name, each in one piece of memory.
    box: one of `export_boxes`.
    values: what stands there.
  """
  axis = made.rule.axis
  for piece in made.pieces:
    low = max(box[axis][0], piece.span[0])
    high = min(box[axis][1], piece.span[1])
    if low >= high:
      continue
    place = [slice(None)] * len(box)
    place[axis] = slice(low - box[axis][0], high - box[axis][0])
    inside = list(box)
    inside[axis] = (low - piece.span[0], high - piece.span[0])
    letters, order = ''.join(piece.left), ''.join(piece.right)
    split = arrays[piece.name].reshape([piece.sizes[x] for x in letters])
    target = split.transpose([letters.index(x) for x in order])
    ranges = {x: slice(None) for x in order}
    for letter, limits in zip(piece.right, inside, strict=True):
      if len(letter) == 1:
        ranges[letter] = slice(*limits)
    view = target[tuple(ranges[x] for x in order)]
    view[...] = values[tuple(place)].reshape(view.shape)
