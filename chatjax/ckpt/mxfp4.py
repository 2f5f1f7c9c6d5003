"""MXFP4: blocks of 32 numbers of four bits that share a power of two.

As the OCP Microscaling specification has it (version 1.0): a number is e2m1
(sign, two bits of exponent, one of mantissa), the factor is 2 ** (s - 127)
with s in eight bits. Two numbers stand in a byte, the first in its low half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chatjax.ckpt import mapping

# What the two tensors of a weight are called after it.
_BLOCKS, _SCALES = '_blocks', '_scales'

_BLOCK = 32
_BIAS, _NAN = 127, 255
_POSITIVE = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_VALUES = np.asarray((*_POSITIVE, *(-x for x in _POSITIVE)), np.float32)
# Both numbers of each byte.
_PAIRS = np.stack(
  [_VALUES[np.arange(256) & 15], _VALUES[np.arange(256) >> 4]], axis=1
)


def dequantize(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
  """The numbers in float32.

  Args:
    blocks: u8[..., B, 16].
    scales: u8[..., B].

  Returns:
    f32[..., B * 32]. A scale of 255 stands for NaN.
  """
  numbers = _PAIRS[blocks].reshape(*blocks.shape[:-1], _BLOCK)
  with np.errstate(over='ignore'):
    factors = np.ldexp(np.float32(1), scales.astype(np.int32) - _BIAS)
    factors[scales == _NAN] = np.nan
    numbers *= factors[..., None]
  return numbers.reshape(*scales.shape[:-1], -1)


class Dequantized:
  """A checkpoint in which weights stand for their blocks and scales.

  A weight has its inputs before its outputs, [X, K, N], as checkpoints have it
  that are not quantized; its blocks are of [X, N, K].

  Attributes:
    shapes: name -> shape.
  """

  def __init__(self, tensors: Any):
    """Finds the pairs.

    Args:
      tensors: of a folder: what `stream.Tensors` has, and `view`.

    Raises:
      mapping.MappingError: blocks and scales that do not fit.
    """
    self._tensors = tensors
    self._weights = {
      name.removesuffix(_BLOCKS): shape
      for name, shape in tensors.shapes.items()
      if name.endswith(_BLOCKS)
      and name.removesuffix(_BLOCKS) + _SCALES in tensors.shapes
    }
    self._last: tuple[Any, np.ndarray] | None = None
    shapes = dict(tensors.shapes)
    for name, shape in self._weights.items():
      del shapes[name + _BLOCKS]
      scales = shapes.pop(name + _SCALES)
      if len(shape) != 4 or shape != (*scales, _BLOCK // 2):
        raise mapping.MappingError(
          f'{tensors.where(name + _BLOCKS)} has shape {shape}, its scales have'
          f' {scales}: that is not MXFP4.'
        )
      shapes[name] = (shape[0], shape[2] * _BLOCK, shape[1])
    self.shapes: Mapping[str, tuple[int, ...]] = shapes

  def where(self, name: str) -> str:
    """File and tensor, for messages."""
    suffix = _BLOCKS if name in self._weights else ''
    return self._tensors.where(name + suffix)

  def rows(self, name: str, start: int, stop: int) -> np.ndarray:
    """Some rows of the outermost axis.

    A block of a parameter needs a part of them: they are kept for the next.
    """
    if name not in self._weights:
      return self._tensors.rows(name, start, stop)
    key = (name, start, stop)
    last = self._last  # two threads read
    if last is None or last[0] != key:
      blocks, scales = (
        self._tensors.view(name + suffix)[start:stop]
        for suffix in (_BLOCKS, _SCALES)
      )
      made = dequantize(blocks, scales).transpose(0, 2, 1)
      self._last = last = key, made
    return last[1]
