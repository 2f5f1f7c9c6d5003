"""Who is being answered, and whether anybody else is let in."""

from __future__ import annotations

from typing import Protocol
import weakref

from starlette import types as asgi

from chatjax import types
from chatjax.serve import answers


class Running(Protocol):
  """A request that can be ended; see `generation.Generation`."""

  def fail(self, error: types.ChatjaxError) -> None: ...


class Gate:
  """Closed once, at the end; used on the event loop but for `close`.

  Attributes:
    is_open: whether requests are accepted.
    num_inside: requests whose answers are not out yet.
  """

  def __init__(self):
    self.is_open = True
    self.num_inside = 0
    self._is_cleared = False
    # Weak: whoever is dropped on the way stops by that.
    self._running: weakref.WeakSet[Running] = weakref.WeakSet()

  def close(self) -> None:
    """Lets nobody else in. Safe in a signal handler."""
    self.is_open = False

  def clear(self) -> None:
    """Ends everything that runs; its readers are told."""
    self.is_open, self._is_cleared = False, True
    for running in list(self._running):
      running.fail(_shutting_down())

  def enter(self, running: Running) -> None:
    self._running.add(running)
    if self._is_cleared:  # it was being read in the meantime
      running.fail(_shutting_down())

  def leave(self, running: Running) -> None:
    self._running.discard(running)


class GateGuard:
  """Counts those who ask for work, and refuses them once the gate is closed.

  What only looks (GET, HEAD) is answered until the end.
  """

  def __init__(self, app: asgi.ASGIApp, *, gate: Gate):
    self._app = app
    self._gate = gate

  async def __call__(
    self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send
  ) -> None:
    if scope['type'] != 'http' or scope['method'] in ('GET', 'HEAD'):
      await self._app(scope, receive, send)
      return
    if not self._gate.is_open:
      await answers.error(draining())(scope, receive, send)
      return
    self._gate.num_inside += 1
    try:
      await self._app(scope, receive, send)
    finally:
      self._gate.num_inside -= 1


def draining() -> types.RequestError:
  """What new requests are told."""
  return types.RequestError(
    'The server is stopping and finishes only what it has begun; ask again.',
    code='server_draining',
    status=503,
  )


def _shutting_down() -> types.RequestError:
  return types.RequestError(
    'The server was stopped before the answer was complete; ask again.',
    code='server_shutting_down',
    status=503,
  )
