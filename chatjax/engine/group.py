"""The processes that run one engine together, and who is still there.

Process 0 leads: it tells the others each call, over a connection of its own
with each of them. A process that is killed closes its connection; one that was
stopped, or whose machine is lost, falls silent. Either ends all others, because
the devices of a mesh wait for one another for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import json
import logging
import os
import queue
import secrets
import socket
import struct
import sys
import threading
import time
from typing import NoReturn
import zlib

import jax
from jax.experimental import multihost_utils
import numpy as np

from chatjax import types

_log = logging.getLogger(__name__)

BEAT_S = 1.0
SILENCE_S = 5.0  # without a beat: gone
GRACE_S = 3.0  # for callers of the leader to learn that it fails
_FAREWELL_S = 10.0
_JOIN_S = 60.0
_INVITATION_BYTES = 1024
_TOKEN_BYTES = 32
_LENGTH = struct.Struct('<I')
_BEAT, _BYE = b'', b'bye'
_LARGE = 4096  # bytes that are worth compressing


class GroupError(types.ChatjaxError):
  """Processes that cannot run together, or do not any more."""


class Link:
  """A connection that carries messages in order, and beats."""

  def __init__(self, connection: socket.socket, name: str):
    """Args: an open connection, and who is at its other end."""
    self.name = name
    self._socket = connection
    self._socket.settimeout(None)
    self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    self._outbox = queue.SimpleQueue[bytes | None]()
    self.heard = time.monotonic()
    self._sender = threading.Thread(target=self._send, daemon=True)
    self._sender.start()

  def put(self, message: bytes) -> None:
    """Sends later, in order; never waits."""
    self._outbox.put(message)

  def messages(self) -> Iterator[bytes]:
    """What arrives, beats left out; ends when the connection does."""
    with self._socket:
      while (head := self._receive(_LENGTH.size)) is not None:
        body = self._receive(_LENGTH.unpack(head)[0])
        if body is None:
          return
        self.heard = time.monotonic()
        if body != _BEAT:
          yield body

  def close(self) -> None:
    """Sends what was put, and no more."""
    self._outbox.put(None)
    self._sender.join(_FAREWELL_S)
    with contextlib.suppress(OSError):  # the other end was faster
      self._socket.shutdown(socket.SHUT_WR)

  def _send(self) -> None:
    due = 0.0
    with contextlib.suppress(OSError):  # the reader learns of it too, and tells
      while True:
        if time.monotonic() >= due:
          self._socket.sendall(_LENGTH.pack(0))
          due = time.monotonic() + BEAT_S
        try:
          message = self._outbox.get(timeout=max(0, due - time.monotonic()))
        except queue.Empty:
          continue
        if message is None:
          return
        self._socket.sendall(_LENGTH.pack(len(message)) + message)

  def _receive(self, size: int) -> bytes | None:
    """So many bytes; None if the connection ends before."""
    parts = []
    try:
      while size:
        part = self._socket.recv(min(size, 2**20))
        if not part:
          return None
        parts.append(part)
        size -= len(part)
    except OSError:
      return None
    return b''.join(parts)


class Leader:
  """Process 0's side."""

  is_leader = True

  def __init__(self, links: list[Link]):
    """Args: a link to each of the others."""
    self._links = links
    self._is_closing = False
    self._is_failing = threading.Lock()
    self._on_loss: Callable[[GroupError], None] = lambda error: None
    self._readers = [
      threading.Thread(target=self._listen, args=(link,), daemon=True)
      for link in links
    ]
    for reader in self._readers:
      reader.start()

  def watch(self, on_loss: Callable[[GroupError], None]) -> None:
    """From now on silence counts too.

    Args:
      on_loss: called on a thread of its own when a process is lost; a little
        later this process ends.
    """
    self._on_loss = on_loss
    now = time.monotonic()
    for link in self._links:
      link.heard = now
    threading.Thread(target=self._watch, daemon=True).start()

  def publish(self, message: bytes) -> None:
    """Tells all others; they read it in order."""
    if len(message) > _LARGE:
      message = b'z' + zlib.compress(message, 1)
    else:
      message = b'-' + message
    for link in self._links:
      link.put(message)

  def fail(self, reason: str, *, patience_s: float = 0) -> NoReturn:
    """Ends this process with a sentence, and the others by that.

    Args:
      reason: why.
      patience_s: a process that turns out to be lost within this time is the
        reason instead.
    """
    time.sleep(patience_s)
    with self._is_failing:  # held until the end: one reason is enough
      error = GroupError(
        f'{reason} The devices of a mesh cannot go on without one another; this'
        ' process ends. Start all of them again.'
      )
      self._on_loss(error)
      time.sleep(GRACE_S)
      _end(error)

  def close(self) -> None:
    """Lets the others go."""
    self._is_closing = True
    for link in self._links:
      link.put(_BYE)
      link.close()
    deadline = time.monotonic() + _FAREWELL_S
    for reader in self._readers:
      reader.join(max(0, deadline - time.monotonic()))

  def _listen(self, link: Link) -> None:
    for _ in link.messages():
      pass
    if not self._is_closing:
      self.fail(f'{link.name} closed its connection; it was killed or failed.')

  def _watch(self) -> None:
    while not self._is_closing:
      time.sleep(BEAT_S / 2)
      for link in self._links:
        if time.monotonic() - link.heard > SILENCE_S:
          self.fail(f'{link.name} was silent for {SILENCE_S:g} s.')


class Follower:
  """The side of every other process."""

  is_leader = False

  def __init__(self, link: Link):
    """Args: the link to process 0."""
    self._link = link
    self._inbox = queue.SimpleQueue[bytes]()
    self._is_over = False
    threading.Thread(target=self._listen, daemon=True).start()

  def messages(self) -> Iterator[bytes]:
    """What the leader publishes, until it lets this process go."""
    self._link.heard = time.monotonic()
    threading.Thread(target=self._watch, daemon=True).start()
    while (message := self._inbox.get()) != _BYE:
      body = message[1:]
      yield zlib.decompress(body) if message[:1] == b'z' else body

  def close(self) -> None:
    """Goes."""
    self._link.close()

  def _listen(self) -> None:
    for message in self._link.messages():
      self._is_over = message == _BYE
      self._inbox.put(message)
      if self._is_over:
        return
    self._lose('The leading process closed its connection; it was killed.')

  def _watch(self) -> None:
    while not self._is_over:
      time.sleep(BEAT_S / 2)
      if time.monotonic() - self._link.heard > SILENCE_S:
        self._lose(f'The leading process was silent for {SILENCE_S:g} s.')

  def _lose(self, reason: str) -> NoReturn:
    _end(GroupError(f'{reason} Process {jax.process_index()} ends.'))


def join() -> Leader | Follower | None:
  """Connects the processes that `jax.distributed.initialize` brought together.

  Returns:
    None if this process is alone.

  Raises:
    GroupError: they cannot reach each other.
  """
  if jax.process_count() == 1:
    return None
  if jax.process_index():
    return _accept(_invite(None))
  with socket.create_server(('', 0)) as server:
    token = secrets.token_bytes(_TOKEN_BYTES)
    _invite({
        'hosts': _own_names(), 'port': server.getsockname()[1],
        'token': token.hex(),
    })  # fmt: skip
    return Leader(_wait_for_all(server, token))


def _invite(invitation: dict | None) -> dict:
  """Hands process 0's invitation to all; through the devices."""
  told_C = np.zeros(_INVITATION_BYTES, np.uint8)
  if invitation is not None:
    text = json.dumps(invitation).encode()
    told_C[: len(text)] = np.frombuffer(text, np.uint8)
  told_C = np.asarray(multihost_utils.broadcast_one_to_all(told_C))
  return json.loads(told_C.tobytes().rstrip(b'\0'))


def _own_names() -> list[str]:
  """Where others may find this machine, the likeliest first."""
  told = os.environ.get('CHATJAX_LEADER')
  return [told] if told else [socket.gethostname(), socket.getfqdn()]


def _accept(invitation: dict) -> Follower:
  """Connects to the leader."""
  index = jax.process_index()
  tried = []
  for host in dict.fromkeys(invitation['hosts']):
    address = host, invitation['port']
    try:
      connection = socket.create_connection(address, timeout=_JOIN_S / 4)
    except OSError as e:
      tried.append(f'{host}:{invitation["port"]} ({e.strerror or e})')
      continue
    token = bytes.fromhex(invitation['token'])
    connection.sendall(token + _LENGTH.pack(index))
    return Follower(Link(connection, 'The leading process'))
  raise GroupError(
    f'Process {index} cannot reach the leading process at {", ".join(tried)};'
    ' set CHATJAX_LEADER there to a name or address that others can reach.'
  )


def _wait_for_all(server: socket.socket, token: bytes) -> list[Link]:
  """A link to each other process; strangers are turned away."""
  links: dict[int, Link] = {}
  deadline = time.monotonic() + _JOIN_S
  while len(links) < jax.process_count() - 1:
    server.settimeout(max(0.01, deadline - time.monotonic()))
    try:
      connection, _ = server.accept()
    except TimeoutError:
      missing = set(range(1, jax.process_count())) - set(links)
      raise GroupError(
        f'Processes {sorted(missing)} did not connect within {_JOIN_S:g} s; set'
        ' CHATJAX_LEADER to a name or address of this machine that they can'
        ' reach.'
      ) from None
    index = _introduced(connection, token)
    if index is None:
      connection.close()
    else:
      links[index] = Link(connection, f'Process {index}')
  return list(links.values())


def _introduced(connection: socket.socket, token: bytes) -> int | None:
  """Which process it is; None for one that was not invited."""
  connection.settimeout(BEAT_S)
  try:
    with connection.makefile('rb') as reader:
      told = reader.read(_TOKEN_BYTES + _LENGTH.size)
  except OSError:
    return None
  given, index = told[:_TOKEN_BYTES], told[_TOKEN_BYTES:]
  if len(index) < _LENGTH.size or not secrets.compare_digest(given, token):
    return None
  return _LENGTH.unpack(index)[0]


def _end(error: GroupError) -> NoReturn:
  """Ends this process at once: its threads may wait for devices for ever."""
  print(f'chatjax: {error}', file=sys.stderr, flush=True)
  os._exit(1)
