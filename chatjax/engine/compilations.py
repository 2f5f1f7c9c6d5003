"""How many programs this process has compiled, or taken from its cache."""

from __future__ import annotations

import functools

import jax.monitoring

_EVENT = '/jax/core/compile/backend_compile_duration'


class Counter:
  """Counts the compilations of the whole process, on any thread."""

  def __init__(self):
    self.count = 0
    jax.monitoring.register_event_duration_secs_listener(self._hear)

  def _hear(self, event: str, unused_duration_s: float, **unused) -> None:
    self.count += event == _EVENT


@functools.cache
def counter() -> Counter:
  """The one of this process: listeners cannot be taken back."""
  return Counter()
