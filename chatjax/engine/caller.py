"""Makes an engine's calls, in this process and in those that follow it."""

from __future__ import annotations

import collections
from typing import Any

from chatjax.engine import group as group_lib
from chatjax.engine import replica as replica_lib
from chatjax.engine import wire as wire_lib


class Kept:
  """A result that stays on the devices until nobody refers to it."""

  def __init__(
    self, value: Any, number: int, dropped: collections.deque[int] | None
  ):
    self.value = value
    self.number = number
    self._dropped = dropped

  def __del__(self):
    if self._dropped is not None:
      self._dropped.append(self.number)


class Caller:
  """Calls by name; every process of the group makes the same ones."""

  def __init__(
    self, replica: replica_lib.Replica, leader: group_lib.Leader | None = None
  ):
    self._replica = replica
    self._leader = leader
    self._wire = wire_lib.Wire(replica.programs)
    self._count = 0
    self._dropped = collections.deque[
      int
    ]()  # results that followers still have

  def read(
    self, name: replica_lib.Name, host: tuple[Any, ...], *kept: Kept
  ) -> Any:
    """Makes a call whose result, if any, is for the host.

    Args:
      name: a name of `replica.names`.
      host: trees of numpy arrays.
      *kept: earlier results.
    """
    if self._leader is not None:
      dropped = [self._dropped.popleft() for _ in range(len(self._dropped))]
      message = wire_lib.Message(
        name, host, tuple(one.number for one in kept), tuple(dropped)
      )
      self._leader.publish(self._wire.pack(message))
    self._count += 1
    return self._replica.run(name, host, *(one.value for one in kept))

  def keep(
    self, name: replica_lib.Name, host: tuple[Any, ...], *kept: Kept
  ) -> Kept:
    """Makes a call whose result stays on the devices."""
    value = self.read(name, host, *kept)
    dropped = None if self._leader is None else self._dropped
    return Kept(value, self._count, dropped)
