"""Who may call, and by which name: decided on the ASGI path, before routes."""

from __future__ import annotations

from collections.abc import Sequence
import hmac
import re

from starlette import types as asgi

from chatjax import types
from chatjax.protocol import errors
from chatjax.serve import answers
from chatjax.serve import page

# The page asks its user for the key, and sends it with what it asks.
OPEN_PATHS = frozenset({'/health', '/ready'}) | page.PATHS
_KEY = 'chatjax.key'
_HOST = re.compile(r'(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]*)?')


def key_of(scope: asgi.Scope) -> int:
  """The number of the key that a request came with; 0 where none is asked."""
  return scope.get(_KEY, 0)


class HostGuard:
  """Lets only known names in the Host header through.

  The framework's own answers a stranger in plain text.
  """

  def __init__(self, app: asgi.ASGIApp, *, allowed_hosts: Sequence[str]):
    self._app = app
    self._allowed = [name.lower() for name in allowed_hosts]

  async def __call__(
    self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send
  ) -> None:
    if scope['type'] == 'lifespan':
      await self._app(scope, receive, send)
      return
    given = dict(scope['headers']).get(b'host', b'').decode('latin-1')
    match = _HOST.fullmatch(given.lower())
    if match and match[1] in self._allowed:
      await self._app(scope, receive, send)
      return
    denied = answers.error(
      types.RequestError(
        f'The Host header is {errors.shorten(given)}; this server is '
        f'{" or ".join(self._allowed)}. Use one of these names in the URL.',
        code='invalid_host',
      )
    )
    await denied(scope, receive, send)


class KeyGuard:
  """Lets only `OPEN_PATHS` through without `Authorization: Bearer KEY`.

  Which of the keys it was is told to whoever is inside, by its number.
  """

  def __init__(self, app: asgi.ASGIApp, *, api_keys: Sequence[str]):
    self._app = app
    self._expected = [key.encode() for key in api_keys]

  async def __call__(
    self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send
  ) -> None:
    if scope['type'] == 'lifespan' or scope['path'] in OPEN_PATHS:
      await self._app(scope, receive, send)
      return
    # Raw bytes: a decoded header would be compared in another encoding.
    header = dict(scope['headers']).get(b'authorization', b'')
    scheme, _, given = header.partition(b' ')
    # All are compared, so that time does not tell which one is near.
    fits = [hmac.compare_digest(given, key) for key in self._expected]
    if any(fits) and scheme.lower() == b'bearer':
      await self._app(scope | {_KEY: fits.index(True)}, receive, send)
      return
    denied = answers.error(
      types.RequestError(
        'The API key is missing or wrong; send it as '
        '"Authorization: Bearer KEY".',
        code='invalid_api_key',
        status=401,
      ),
      headers={'WWW-Authenticate': 'Bearer'},
    )
    await denied(scope, receive, send)
