"""What every process but the first does: the calls that it is told."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import contextlib
import signal
import threading
from typing import Any

import jax

from chatjax.engine import group as group_lib
from chatjax.engine import replica as replica_lib
from chatjax.engine import wire as wire_lib


def follow(
  make_replica: Callable[[], replica_lib.Replica], group: group_lib.Follower
) -> None:
  """Returns when the leader lets this process go.

  Args:
    make_replica: compiles; side by side with the leader.
    group: who leads.
  """
  try:
    with _deaf():
      replica = make_replica()
      wire = wire_lib.Wire(replica.programs)
      repeat(replica, map(wire.unpack, group.messages()))
  finally:
    group.close()


def repeat(
  replica: replica_lib.Replica, messages: Iterable[wire_lib.Message]
) -> None:
  """Makes the same calls as the process that wrote the messages."""
  kept: dict[int, Any] = {}
  with jax.transfer_guard('disallow'):
    for number, message in enumerate(messages, start=1):
      for one in message.dropped:
        del kept[one]
      left = replica.run(
        message.name, message.host, *(kept[one] for one in message.kept)
      )
      if replica_lib.form(message.name).keeps:
        kept[number] = left


@contextlib.contextmanager
def _deaf():
  """Leaves signals to the leader, who gets them too and ends in good order."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  signals = signal.SIGTERM, signal.SIGINT
  before = [signal.signal(one, signal.SIG_IGN) for one in signals]
  try:
    yield
  finally:
    for one, handler in zip(signals, before, strict=True):
      signal.signal(one, handler)
