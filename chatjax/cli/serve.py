"""`chatjax serve`: the HTTP server, until SIGTERM or Ctrl-C."""

from __future__ import annotations

from collections.abc import Sequence
import os
import signal
import socket
import sys

from absl import flags

from chatjax import config as config_lib
from chatjax.chat import session as session_lib
from chatjax.cli import flagset
from chatjax.cli import loading
from chatjax.cli import options
from chatjax.protocol import limits as limits_lib
from chatjax.serve import server

USAGE = 'chatjax serve [flags]'
_KEY_VARIABLE = 'CHATJAX_API_KEY'


def define(values: flags.FlagValues) -> None:
  options.define(values)
  defaults = config_lib.ServeConfig()
  flags.DEFINE_string(
    'host', None, f'Address to listen on. Default: {defaults.host}.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'port', None, 'Port to listen on; 0 takes any that is free. Default:'
    f' {defaults.port}.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_boolean(
    'allow_public', False, 'Lets other machines in without a key (with one:'
    f' set {_KEY_VARIABLE}).', flag_values=values,
  )  # fmt: skip


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  flagset.refuse(arguments)
  config = options.config(values)
  serve = options.serve_config(
    config, host=values['host'].value, port=values['port'].value
  )
  # uvicorn, too, raises the signal again once it has finished its requests.
  signal.signal(signal.SIGTERM, lambda *unused: sys.exit(0))
  api_key = os.environ.get(_KEY_VARIABLE) or None
  allow_public = values['allow_public'].value
  # Taken before anything slow is done: early callers wait in its backlog.
  listener = server.listen(
    serve.host, serve.port, is_guarded=bool(api_key) or allow_public
  )
  with listener:
    session = loading.load(
      config, accept_license=values['accept_license'].value
    )
    try:
      print(_ready_line(session, listener), flush=True)
      limits = limits_lib.Limits(max_n=serve.max_n)
      server.run(session, listener, api_key=api_key, limits=limits)
    finally:
      session.engine.close()
  return 0


def _ready_line(session: session_lib.Session, listener: socket.socket) -> str:
  host, port = listener.getsockname()[:2]
  host = f'[{host}]' if ':' in host else host
  return (
    f'chatjax serves {session.model_id} at http://{host}:{port}/v1'
    f' ({session.engine.fingerprint})'
  )
