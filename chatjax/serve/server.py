"""Runs the application: one socket, one process, until a signal."""

from __future__ import annotations

import copy
import ipaddress
import socket
from typing import Any

import uvicorn

from chatjax import types
from chatjax.chat import session as session_lib
from chatjax.protocol import limits as limits_lib
from chatjax.serve import app as app_lib

LOOPBACK_NAMES = ('localhost', '127.0.0.1', '[::1]')
BACKLOG = 2048
DRAIN_S = 30
MAX_PORT = 65535


class ServeError(types.ChatjaxError):
  """The server cannot start; the message says why in one sentence."""


def run(
  session: session_lib.Session,
  listener: socket.socket,
  *,
  api_key: str | None = None,
  limits: limits_lib.Limits | None = None,
) -> None:
  """Serves until SIGTERM or Ctrl-C; running answers are finished first.

  Args:
    session: the loaded model.
    listener: from `listen`; closed at the end.
    api_key: asked of every request, if given.
    limits: bounds on requests.
  """
  with listener:
    host = listener.getsockname()[0]
    app = app_lib.create_app(
      session,
      limits=limits,
      api_key=api_key or None,
      allowed_hosts=allowed_hosts(host),
    )
    config = uvicorn.Config(
      app,
      http='h11',
      server_header=False,
      log_config=_log_config(),
      timeout_graceful_shutdown=DRAIN_S,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _log_config() -> dict[str, Any]:
  """The server's own, and one line per request of ours."""
  config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
  config['loggers']['chatjax.serve'] = {
    'handlers': ['default'],
    'level': 'INFO',
    'propagate': False,
  }
  return config


def listen(host: str, port: int, *, is_guarded: bool) -> socket.socket:
  """Opens the listening socket, before anything slow is done.

  Raises:
    ServeError: the address is taken, or open to others without a key.
  """
  if not (is_guarded or is_loopback(host)):
    raise ServeError(
      f'--host={host} lets other machines in without a key; set '
      'CHATJAX_API_KEY, or give --allow_public if that is what you want.'
    )
  if not 0 <= port <= MAX_PORT:
    raise ServeError(f'--port={port} is no port; choose 0 to {MAX_PORT}.')
  try:
    family, _, _, _, address = socket.getaddrinfo(
      host, port, type=socket.SOCK_STREAM
    )[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
  except OSError as error:
    raise ServeError(_cannot_listen(host, port, error)) from None
  try:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(BACKLOG)
  except OSError as error:
    listener.close()
    raise ServeError(_cannot_listen(host, port, error)) from None
  return listener


def allowed_hosts(address: str) -> tuple[str, ...] | None:
  """Names for the Host header of a server at `address`; None is any."""
  if not is_loopback(address):
    return None
  own = f'[{address}]' if ':' in address else address
  return tuple(dict.fromkeys((*LOOPBACK_NAMES, own)))


def is_loopback(host: str) -> bool:
  """Whether only this machine can reach `host`."""
  if host == 'localhost':
    return True
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return False


def _cannot_listen(host: str, port: int, error: OSError) -> str:
  return (
    f'Cannot listen on {host}:{port} ({error.strerror}); stop what uses it or '
    'choose another --port or --host.'
  )
