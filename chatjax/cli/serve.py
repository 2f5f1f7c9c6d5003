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
from chatjax.ckpt import home as home_lib
from chatjax.cli import flagset
from chatjax.cli import loading
from chatjax.cli import options
from chatjax.cli import processes
from chatjax.protocol import limits as limits_lib
from chatjax.serve import server
from chatjax.serve import timeouts as timeouts_lib

USAGE = 'chatjax serve [flags]'
_KEY_VARIABLE = 'CHATJAX_API_KEY'
_SERVE_FLAGS = (
  'host', 'port', 'max_per_key', 'timeout_s', 'write_timeout_s',
  'drain_timeout_s',
)  # fmt: skip


def define(values: flags.FlagValues) -> None:
  options.define(values)
  options.define_store(values)
  options.define_processes(values)
  defaults = config_lib.ServeConfig()
  flags.DEFINE_string(
    'host', None, f'Address to listen on. Default: {defaults.host}.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'port', None, 'Port to listen on; 0 takes any that is free. Default:'
    f' {defaults.port}.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'max_per_key', None, 'Choices that one key may have running or waiting; 0'
    f' is no bound. Default: {defaults.max_per_key}.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_float(
    'timeout_s', None, 'Seconds for one answer; 0 is for ever. Default:'
    f' {defaults.timeout_s:g}.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_float(
    'write_timeout_s', None, 'Seconds until a stream that nobody reads is cut'
    f' off; 0 is never. Default: {defaults.write_timeout_s:g}.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_float(
    'drain_timeout_s', None, 'Seconds for running answers to end after'
    f' SIGTERM. Default: {defaults.drain_timeout_s:g}.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_boolean(
    'allow_public', False, 'Lets other machines in without a key (with one:'
    f' set {_KEY_VARIABLE}).', flag_values=values,
  )  # fmt: skip


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  flagset.refuse(arguments)
  config = options.config(values)
  serve = options.serve_config(
    config, **{name: values[name].value for name in _SERVE_FLAGS}
  )
  accept = values['accept_license'].value
  if not processes.start(values):
    # It ends when the leading process lets it go.
    loading.load(config, accept_license=accept)
  # Until the server takes it over.
  signal.signal(signal.SIGTERM, lambda *unused: sys.exit(0))
  api_keys = keys(os.environ.get(_KEY_VARIABLE, ''))
  if serve.max_per_key and not api_keys:
    raise flagset.UsageError(
      f'--max_per_key={serve.max_per_key} counts by key; set {_KEY_VARIABLE}'
      ' to one or more keys, with commas between them.'
    )
  allow_public = values['allow_public'].value
  # Taken before anything slow is done: early callers wait in its backlog.
  listener = server.listen(
    serve.host, serve.port, is_guarded=bool(api_keys) or allow_public
  )
  with listener:
    session = loading.load(config, accept_license=accept)
    try:
      print(_ready_line(session, listener), flush=True)
      limits = limits_lib.Limits(max_n=serve.max_n)
      server.run(
        session, listener, host=serve.host, api_keys=api_keys, limits=limits,
        timeouts=timeouts(serve), max_per_key=serve.max_per_key,
        batches=home_lib.home() / 'batches',
      )  # fmt: skip
    finally:
      session.engine.close()
      session.keeper.close()
  return 0


def keys(told: str) -> tuple[str, ...]:
  """The keys of a list with commas."""
  return tuple(key.strip() for key in told.split(',') if key.strip())


def timeouts(serve: config_lib.ServeConfig) -> timeouts_lib.Timeouts:
  """As the server wants them: None is for ever."""
  return timeouts_lib.Timeouts(
    answer_s=serve.timeout_s or None,
    write_s=serve.write_timeout_s or None,
    drain_s=serve.drain_timeout_s,
  )


def _ready_line(session: session_lib.Session, listener: socket.socket) -> str:
  host, port = listener.getsockname()[:2]
  host = f'[{host}]' if ':' in host else host
  return (
    f'chatjax serves {session.model_id} at http://{host}:{port}/v1'
    f' ({session.engine.fingerprint})'
  )
