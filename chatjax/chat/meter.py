"""What a chat template may spend: time, text, and size of values."""

from __future__ import annotations

from collections import abc
import contextlib
import contextvars
import dataclasses
import time
from typing import Any

import jinja2
from jinja2 import utils

# The largest value that a template may build, in characters or items. More
# than any prompt that a context can hold.
MAX_VALUE = 4 << 20
# No product of integers in a template needs more.
MAX_INT_BITS = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
  """Limits of one rendering.

  Attributes:
    work: characters and items that all values built on the way may have
      together. It bounds memory, since nothing is built before it is paid.
    output: characters of the result.
    deadline_s: wall time.
  """

  work: int = 64 << 20
  output: int = 8 << 20
  deadline_s: float = 5.0


class Meter:
  """Counts down a budget; every spending checks the clock too."""

  def __init__(self, budget: Budget):
    self._work = budget.work
    self._output = budget.output
    self._deadline_s = budget.deadline_s
    self._end = time.monotonic() + budget.deadline_s

  def charge(self, amount: int) -> None:
    """Pays for a value before it is built."""
    self._work -= amount
    if self._work < 0 or amount > MAX_VALUE:
      raise jinja2.TemplateRuntimeError('the template builds too large values')
    if time.monotonic() > self._end:
      raise jinja2.TemplateRuntimeError(
        f'the template takes longer than {self._deadline_s:g} s'
      )

  def emit(self, amount: int) -> None:
    """Pays for characters of the result."""
    self._output -= amount
    if self._output < 0:
      raise jinja2.TemplateRuntimeError('the template writes too much')
    self.charge(0)


_CURRENT: contextvars.ContextVar[Meter] = contextvars.ContextVar('meter')


@contextlib.contextmanager
def running(budget: Budget) -> abc.Iterator[Meter]:
  """Makes a meter the one that `charge` charges, in this context."""
  token = _CURRENT.set(Meter(budget))
  try:
    yield _CURRENT.get()
  finally:
    _CURRENT.reset(token)


def charge(amount: int) -> None:
  _CURRENT.get().charge(amount)


def size_of(value: Any) -> int:
  """Characters and items of a value, shared parts counted each time.

  A list of a list of a list, each holding the one before twice, is small in
  memory and endless as text or in a comparison; so what counts is the tree.
  """
  total, stack = 0, [value]
  while stack:
    item = stack.pop()
    if isinstance(item, utils.Namespace):
      item = item._Namespace__attrs  # what its text shows
    if isinstance(item, str):
      total += len(item) + 1
    elif isinstance(item, dict):
      total += 2 * len(item) + 1
      if total <= MAX_VALUE:
        stack.extend(item)
        stack.extend(item.values())
    elif isinstance(item, (list, tuple, abc.MappingView)):
      total += len(item) + 1
      if total <= MAX_VALUE:
        stack.extend(item)
    elif isinstance(item, int):
      total += item.bit_length() // 3 + 1
    else:
      total += 32
    if total > MAX_VALUE:
      raise jinja2.TemplateRuntimeError('the template builds too large values')
  return total


def depth_of(value: Any) -> int:
  """How many levels of containers there are, of a value with a `size_of`."""
  depth, level = 1, [value]
  while level := [
    inner
    for item in level
    if isinstance(item, (dict, list, tuple, abc.MappingView))
    for inner in (item.values() if isinstance(item, dict) else item)
  ]:
    depth += 1
  return depth
