"""Who may call: the API key, decided on the ASGI path, denying by default."""

from __future__ import annotations

import hmac

from starlette import types as asgi

from chatjax import types
from chatjax.serve import answers

OPEN_PATHS = frozenset({'/health'})


class KeyGuard:
  """Lets only `/health` through without `Authorization: Bearer KEY`."""

  def __init__(self, app: asgi.ASGIApp, *, api_key: str):
    self._app = app
    self._expected = f'Bearer {api_key}'.encode()

  async def __call__(
    self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send
  ) -> None:
    if scope['type'] == 'lifespan' or scope['path'] in OPEN_PATHS:
      await self._app(scope, receive, send)
      return
    # Raw bytes: a decoded header would be compared in another encoding.
    given = dict(scope['headers']).get(b'authorization', b'')
    if hmac.compare_digest(given, self._expected):
      await self._app(scope, receive, send)
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
