"""Checkpoint conversion as a table of shape equations, both ways.

A rule says which source tensors make one parameter. Each source is brought
to its place by an equation such as `'KGhR,D->K,G,Rh,D'`: the source's axes
are split into the letters left of the arrow, reordered, and merged into the
axes on the right (a comma separates axes, letters inside one axis multiply).
Several sources are concatenated along `axis`. Every source tensor and every
parameter must be named exactly once.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from chatjax import types

LAYER = '{layer}'


class MappingError(types.ChatjaxError, ValueError):
  """A checkpoint whose tensors are not those of the model."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
  """One parameter and what it is made of.

  Attributes:
    target: path of the parameter; `{layer}` stands for every layer.
    sources: (tensor name, equation) pairs.
    axis: where several sources are concatenated.
  """

  target: str
  sources: tuple[tuple[str, str], ...]
  axis: int = 0

  def at(self, layer: int) -> Rule:
    """The rule of one layer."""
    number = str(layer)
    return Rule(
      target=self.target.replace(LAYER, number),
      sources=tuple(
        (name.replace(LAYER, number), equation)
        for name, equation in self.sources
      ),
      axis=self.axis,
    )


def expand(rules: Sequence[Rule], num_layers: int) -> tuple[Rule, ...]:
  """Writes the per-layer rules out, and refuses double mentions."""
  expanded = []
  for rule in rules:
    per_layer = LAYER in rule.target
    expanded += [rule.at(i) for i in range(num_layers)] if per_layer else [rule]
  names = [name for rule in expanded for name, _ in rule.sources]
  targets = [rule.target for rule in expanded]
  for kind, seen in (('source', names), ('target', targets)):
    counts = collections.Counter(seen)
    double = sorted(name for name, count in counts.items() if count > 1)
    if double:
      raise MappingError(f'Conversion table names {kind} twice: {double}.')
  return tuple(expanded)


def _sizes(
  side: str, shape: Sequence[int], known: Mapping[str, int]
) -> dict[str, int]:
  """Sizes of the letters of one side of an equation, given its shape."""
  sizes = dict(known)
  axes = side.split(',')
  if len(axes) != len(shape):
    raise MappingError(f'shape {tuple(shape)} does not have axes {side!r}')
  for axis, size in zip(axes, shape, strict=True):
    unknown = [letter for letter in axis if letter not in sizes]
    rest = math.prod(sizes[letter] for letter in axis if letter in sizes)
    if len(unknown) > 1:
      raise MappingError(f'sizes of {unknown} in {side!r} are not determined')
    if unknown and size % rest == 0:
      sizes[unknown[0]] = size // rest
    if math.prod(sizes[letter] for letter in axis if letter in sizes) != size:
      raise MappingError(f'axis {axis!r} of {side!r} cannot have size {size}')
  return sizes


def apply_equation(
  x: np.ndarray, equation: str, known: Mapping[str, int]
) -> np.ndarray:
  """Splits, reorders and merges axes.

  Args:
    x: the source tensor.
    equation: such as `'NhR,D->N,Rh,D'`.
    known: sizes of letters that the source's shape alone does not fix.

  Raises:
    MappingError: the shape does not fit the equation.
  """
  left, right = equation.split('->')
  sizes = _sizes(left, x.shape, known)
  letters = left.replace(',', '')
  order = [letters.index(letter) for letter in right.replace(',', '')]
  merged = [
    math.prod(sizes[letter] for letter in axis) for axis in right.split(',')
  ]
  split = x.reshape([sizes[letter] for letter in letters])
  return split.transpose(order).reshape(merged)


def letter_sizes(
  equation: str, shape: Sequence[int], known: Mapping[str, int]
) -> dict[str, int]:
  """Sizes of all letters of an equation, given the source's shape.

  Raises:
    MappingError: the shape does not fit the equation.
  """
  return _sizes(equation.split('->')[0], shape, known)


def source_shape(
  equation: str, shape: Sequence[int], known: Mapping[str, int]
) -> tuple[int, ...]:
  """The source's shape, given that of what an equation makes.

  Raises:
    MappingError: the shape does not fit the equation.
  """
  left, right = equation.split('->')
  sizes = _sizes(right, shape, known)
  return tuple(
    math.prod(sizes[letter] for letter in axis) for axis in left.split(',')
  )


def reverse(equation: str) -> str:
  """The equation that undoes another."""
  left, right = equation.split('->')
  return f'{right}->{left}'


def check_names(
  rules: Sequence[Rule], sources: Sequence[str], targets: Sequence[str]
) -> None:
  """Refuses a checkpoint with missing or left-over tensors or parameters."""
  problems = []
  named = {name for rule in rules for name, _ in rule.sources}
  made = {rule.target for rule in rules}
  for what, names in (
    ('tensors missing from the checkpoint', named - set(sources)),
    ('tensors that no rule names', set(sources) - named),
    ('parameters that no rule makes', set(targets) - made),
    ('parameters that the model does not have', made - set(targets)),
  ):
    if names:
      problems.append(f'{what}: {", ".join(sorted(names))}')
  if problems:
    raise MappingError('; '.join(problems) + '.')


def assemble(
  rules: Sequence[Rule],
  read: Callable[[str], np.ndarray],
  known: Mapping[str, int],
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields (target, array), one parameter at a time.

  Args:
    rules: expanded rules.
    read: returns a source tensor in float32.
    known: letter sizes for the equations.
  """
  for rule in rules:
    parts = []
    for name, equation in rule.sources:
      try:
        parts.append(apply_equation(read(name), equation, known))
      except MappingError as e:
        raise MappingError(f'Tensor {name!r}: {e}.') from None
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts, rule.axis)
    yield rule.target, whole


def export(
  rules: Sequence[Rule],
  params: Mapping[str, np.ndarray],
  shapes: Mapping[str, Sequence[int]],
  known: Mapping[str, int],
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields (source name, array): `assemble` backwards.

  Args:
    rules: expanded rules.
    params: target path -> array.
    shapes: shape of every source tensor.
    known: letter sizes for the equations.
  """
  for rule in rules:
    start = 0
    for name, equation in rule.sources:
      left, right = equation.split('->')
      sizes = _sizes(left, shapes[name], known)
      axis = right.split(',')[rule.axis]
      width = math.prod(sizes[letter] for letter in axis)
      part = params[rule.target].take(
        range(start, start + width), axis=rule.axis
      )
      start += width
      yield name, apply_equation(part, reverse(equation), sizes)
