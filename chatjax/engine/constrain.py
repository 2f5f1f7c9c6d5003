"""Constraints as the engine's thread may use them: without a risk to it."""

from __future__ import annotations

from collections.abc import Sequence
import logging

import numpy as np

from chatjax import types

_log = logging.getLogger(__name__)


class Guarded:
  """A `types.Constraint` that never raises: once broken, it allows all.

  Attributes:
    error: why it broke. The row's owner must end the row.
  """

  def __init__(self, request: types.TokenRequest):
    self.error: types.ChatjaxError | None = None
    self._inner: types.Constraint | None = None
    try:
      self._inner = request.constraint()
    except Exception as error:  # noqa: BLE001 - a request's, not the engine's
      self._fail(error)

  def masks(self, guesses: Sequence[int], out_GW: np.ndarray) -> int:
    if self.error is None:
      try:
        return self._inner.masks(guesses, out_GW)
      except Exception as error:  # noqa: BLE001
        self._fail(error)
    out_GW[0] = ~np.uint32(0)
    return 0

  def forced(self, limit: int) -> Sequence[int]:
    if self.error is None:
      try:
        return self._inner.forced(limit)
      except Exception as error:  # noqa: BLE001
        self._fail(error)
    return ()

  def advance(self, tokens: Sequence[int]) -> None:
    if self.error is None:
      try:
        self._inner.advance(tokens)
      except Exception as error:  # noqa: BLE001
        self._fail(error)

  def _fail(self, error: Exception) -> None:
    _log.exception('a constraint failed')
    self.error = types.ChatjaxError(
      f'The grammar of the request failed: {error}'
    )
