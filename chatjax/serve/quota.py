"""How much of the server one API key may have at a time."""

from __future__ import annotations

import collections
import threading

from chatjax import types


class Quota:
  """Counts the choices that every key has running or waiting. Thread-safe.

  Args:
    max_choices: of one key; 0 is no bound.
  """

  def __init__(self, max_choices: int = 0):
    self._max_choices = max_choices
    self._taken: collections.Counter[int] = collections.Counter()
    self._lock = threading.Lock()

  def share(self, key: int) -> Share:
    """One request's part of what a key may have; nothing is taken yet."""
    return Share(self, key)

  def take(self, key: int, num_choices: int) -> None:
    """Raises `RequestError` if that is more than the key may have."""
    most = self._max_choices
    if not most:
      return
    if num_choices > most:
      raise types.RequestError(
        f'The request asks for {num_choices} choices; this server gives one'
        f' key at most {most} at a time.',
        param='n',
        code='invalid_value',
      )
    with self._lock:
      taken = self._taken[key]
      if taken + num_choices > most:
        raise types.RequestError(
          f'This API key has {taken} choices running or waiting and asks for'
          f' {num_choices} more; {most} at a time are allowed. Ask again when'
          ' one of them is done.',
          code='rate_limit_exceeded',
          status=429,
        )
      self._taken[key] = taken + num_choices

  def give_back(self, key: int, num_choices: int) -> None:
    if not self._max_choices:
      return
    with self._lock:
      self._taken[key] -= num_choices
      if not self._taken[key]:
        del self._taken[key]


class Share:
  """What one request holds of a quota."""

  def __init__(self, quota: Quota, key: int):
    self._quota, self._key = quota, key
    self._held = 0

  def take(self, num_choices: int) -> None:
    """At most once; raises `RequestError` if there is not so much."""
    self._quota.take(self._key, num_choices)
    self._held = num_choices

  def give_back(self) -> None:
    """Gives back what is held; again does nothing."""
    held, self._held = self._held, 0
    self._quota.give_back(self._key, held)
