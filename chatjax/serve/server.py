"""Runs the application: one socket, one process, until a signal."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import copy
import ipaddress
import logging
import pathlib
import socket
import time
import types as types_lib
from typing import Any

import uvicorn

from chatjax import types
from chatjax.batch import jobs as jobs_lib
from chatjax.batch import shelf as shelf_lib
from chatjax.chat import session as session_lib
from chatjax.protocol import limits as limits_lib
from chatjax.serve import app as app_lib
from chatjax.serve import gate as gate_lib
from chatjax.serve import timeouts as timeouts_lib

_log = logging.getLogger(__name__)

LOOPBACK_NAMES = ('localhost', '127.0.0.1', '[::1]')
BACKLOG = 2048
FAREWELL_S = 2  # for last words to those whose time is up
MAX_PORT = 65535


class ServeError(types.ChatjaxError):
  """The server cannot start; the message says why in one sentence."""


class Server(uvicorn.Server):
  """Finishes what runs after a signal, and still answers while it does.

  uvicorn's own stops to listen at once: whoever asks /ready then learns
  nothing, and a new request fails without a word.
  """

  def __init__(
    self, config: uvicorn.Config, gate: gate_lib.Gate, drain_s: float
  ):
    super().__init__(config)
    self._gate = gate
    self._drain_s = drain_s
    self._deadline: float | None = None  # of the running requests
    self._last: float | None = None  # of everything
    self._is_hurried = False

  def handle_exit(self, sig: int, frame: types_lib.FrameType | None) -> None:
    """In a signal handler: marks, and leaves the work to `on_tick`."""
    if self._gate.is_open:
      self._gate.close()
    else:
      self._is_hurried = True
      self.force_exit = self._last is not None  # nobody is waited for

  async def on_tick(self, counter: int) -> bool:
    """Ten times a second; says whether it is time to go."""
    if await super().on_tick(counter):
      return True
    if self._gate.is_open:
      return False
    now = time.monotonic()
    if self._deadline is None:
      self._deadline = now + self._drain_s
      _log.info('stopping; %d requests to finish', self._gate.num_inside)
    if self._last is None and (self._is_hurried or now > self._deadline):
      _log.warning('ending %d requests early', self._gate.num_inside)
      self._gate.clear()
      self._last = now + FAREWELL_S
    if self._gate.num_inside and (self._last is None or now < self._last):
      return False
    # What is left are answers on their way out.
    self._last = self._last or now + FAREWELL_S
    self.config.timeout_graceful_shutdown = FAREWELL_S
    return True


def run(
  session: session_lib.Session,
  listener: socket.socket,
  *,
  host: str | None = None,
  api_keys: Sequence[str] = (),
  max_per_key: int = 0,
  limits: limits_lib.Limits | None = None,
  timeouts: timeouts_lib.Timeouts | None = None,
  batches: pathlib.Path | None = None,
) -> None:
  """Serves until SIGTERM or Ctrl-C, and returns.

  Running requests are finished first, for `timeouts.drain_s` at most; a second
  signal ends them at once. Meanwhile /ready and new requests get 503.

  Args:
    session: the loaded model.
    listener: from `listen`; closed at the end.
    host: the name that `listen` was given.
    api_keys: one of them is asked of every request, if there are any.
    max_per_key: choices that one key may have at a time; 0 is no bound.
    limits: bounds on requests.
    timeouts: how long they may take.
    batches: the folder of batches and their files; None has none.
  """
  timeouts = timeouts or timeouts_lib.Timeouts()
  gate = gate_lib.Gate()
  limits = limits or limits_lib.Limits()
  with listener, contextlib.ExitStack() as stack:
    kept = open_batches(session, batches, limits) if batches else {}
    if kept:
      stack.callback(kept['jobs'].close)
    app = app_lib.create_app(
      session,
      limits=limits,
      timeouts=timeouts,
      gate=gate,
      api_keys=api_keys,
      max_per_key=max_per_key,
      allowed_hosts=allowed_hosts(listener.getsockname()[0], host),
      **kept,
    )
    config = uvicorn.Config(
      app, http='h11', server_header=False, log_config=_log_config()
    )
    Server(config, gate, timeouts.drain_s).run(sockets=[listener])


def open_batches(
  session: session_lib.Session,
  folder: pathlib.Path,
  limits: limits_lib.Limits,
) -> dict[str, Any]:
  """The files and batches of a folder; those that are not done go on."""
  shelf = shelf_lib.Shelf(folder / 'files')
  jobs = jobs_lib.Jobs(
    folder / 'jobs',
    session=session,
    shelf=shelf,
    limits=limits,
    max_lines=limits.max_batch_lines,
  )
  return {'shelf': shelf, 'jobs': jobs}


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
  if not 0 <= port <= MAX_PORT:
    raise ServeError(f'--port={port} is no port; choose 0 to {MAX_PORT}.')
  try:
    family, _, _, _, address = socket.getaddrinfo(
      host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    if not (is_guarded or is_loopback(address[0])):
      raise ServeError(
        f'--host={host} lets other machines in without a key; set '
        'CHATJAX_API_KEY, or give --allow_public if that is what you want.'
      )
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


def allowed_hosts(
  address: str, name: str | None = None
) -> tuple[str, ...] | None:
  """Names for the Host header of a server at `address`; None is any.

  Args:
    address: where it listens.
    name: what its user called that.
  """
  if not is_loopback(address):
    return None
  own = (f'[{one}]' if ':' in one else one for one in (address, name) if one)
  return tuple(dict.fromkeys((*LOOPBACK_NAMES, *own)))


def is_loopback(host: str) -> bool:
  """Whether only this machine can reach `host`; names are not looked up."""
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
