"""The chat page: a few static files that talk to the interface beside them."""

from __future__ import annotations

from importlib import resources

import fastapi
from starlette import responses

HOME = '/'
FOLDER = '/page/'
_INDEX = 'index.html'
# Only what is named here is served.
FILES = {
  _INDEX: 'text/html; charset=utf-8',
  'style.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
  **{
    f'{name}.js': 'text/javascript; charset=utf-8'
    for name in (
      *('main', 'api', 'answer', 'chat', 'dom', 'inline', 'markdown'),
      *('panel', 'store', 'tokens'),
    )
  },
}
PATHS = frozenset({HOME, *(FOLDER + name for name in FILES if name != _INDEX)})
HEADERS = {
  # What the model says can neither run nor fetch anything, nor can a page of
  # somebody else show this one in a frame.
  'Content-Security-Policy': (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
  ),
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  # A newer server must not meet half of an older page.
  'Cache-Control': 'no-store',
}


def add_routes(app: fastapi.FastAPI) -> None:
  """Serves `PATHS`; reads the files once."""
  for name in FILES:
    path = HOME if name == _INDEX else FOLDER + name
    app.api_route(path, methods=['GET', 'HEAD'])(_route(name))


def read(name: str) -> bytes:
  """One of `FILES`, from the checkout or the installed package."""
  return (resources.files('chatjax.serve') / 'page' / name).read_bytes()


def _route(name: str):
  data = read(name)

  async def serve() -> responses.Response:
    # A media type would get its charset a second time.
    return responses.Response(
      data, headers={'Content-Type': FILES[name], **HEADERS}
    )

  return serve
