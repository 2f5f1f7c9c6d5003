"""Waiting for room in the engine's queue, for callers that can wait."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Protocol
from typing import TypeVar

from chatjax import types

_T = TypeVar('_T')

RETRY_S = 0.05
OVERLOADED = 'server_overloaded'
# Others may fill the queue between a refusal and the look at it, but hardly so
# often in a row.
_MAX_ALONE = 5


class Engine(Protocol):
  """The part of an engine that is needed here."""

  @property
  def num_open(self) -> int: ...


class Refusals:
  """Tells whether what a full queue refused may be asked again."""

  def __init__(self, engine: Engine):
    self._engine = engine
    self._num_alone = 0

  def take(self, error: types.RequestError) -> None:
    """Raises a refusal that waiting does not mend: it is too big by itself."""
    if error.code != OVERLOADED:
      raise error
    is_alone = self._engine.num_open == 0
    self._num_alone = self._num_alone + 1 if is_alone else 0
    if self._num_alone >= _MAX_ALONE:
      raise error


def ask(engine: Engine, call: Callable[[], _T]) -> _T:
  """Calls what submits to an engine, again while others have filled its queue.

  Raises:
    types.RequestError: it was refused for another reason, or with nobody else
      in the queue.
  """
  refusals = Refusals(engine)
  while True:
    try:
      return call()
    except types.RequestError as error:
      refusals.take(error)
    time.sleep(RETRY_S)
