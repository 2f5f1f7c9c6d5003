"""How a call is written for other processes: numbers and raw arrays.

All processes compile the same programs, so shapes and types need no telling: a
message is the number of the call, those of earlier results, and the bytes of
what the host sends, one array after the other.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from typing import Any

import jax
import numpy as np

from chatjax.engine import programs as programs_lib
from chatjax.engine import replica as replica_lib

_HEAD = struct.Struct('<HHI')  # call, results it takes, results to drop
_NUMBER = np.dtype('<u8')


@dataclasses.dataclass(frozen=True)
class Message:
  """One call.

  Attributes:
    name: of the call.
    host: trees of numpy arrays that the host sends.
    kept: numbers of the calls whose results it takes.
    dropped: numbers of the calls whose results are not needed any more.
  """

  name: replica_lib.Name
  host: tuple[Any, ...]
  kept: tuple[int, ...] = ()
  dropped: tuple[int, ...] = ()


class Wire:
  """Writes and reads calls of the given programs."""

  def __init__(self, programs: programs_lib.Programs):
    self._names = replica_lib.names(programs)
    self._code = {name: i for i, name in enumerate(self._names)}
    self._templates = [_template(programs, name) for name in self._names]

  def pack(self, message: Message) -> bytes:
    """Raises ValueError if the arrays are not those of the call."""
    code = self._code[message.name]
    leaves, tree = jax.tree.flatten(message.host)
    specs, expected = jax.tree.flatten(self._templates[code])
    found = [(np.shape(x), np.result_type(x)) for x in leaves]
    if tree != expected or found != [(x.shape, x.dtype) for x in specs]:
      raise ValueError(f'{message.name} takes {specs}, not {found}')
    head = _HEAD.pack(code, len(message.kept), len(message.dropped))
    numbers = np.array([*message.kept, *message.dropped], _NUMBER)
    return b''.join((head, numbers.tobytes(), *(x.tobytes() for x in leaves)))

  def unpack(self, data: bytes) -> Message:
    """What `pack` wrote."""
    code, num_kept, num_dropped = _HEAD.unpack_from(data)
    at = _HEAD.size
    count = num_kept + num_dropped
    numbers = np.frombuffer(data, _NUMBER, count, at).tolist()
    at += count * _NUMBER.itemsize
    specs, tree = jax.tree.flatten(self._templates[code])
    leaves = []
    for spec in specs:
      size = math.prod(spec.shape)
      leaf = np.frombuffer(data, spec.dtype, size, at).reshape(spec.shape)
      leaves.append(leaf)
      at += leaf.nbytes
    return Message(
      self._names[code],
      jax.tree.unflatten(tree, leaves),
      tuple(numbers[:num_kept]),
      tuple(numbers[num_kept:]),
    )


def _template(programs: programs_lib.Programs, name: replica_lib.Name) -> Any:
  """Shapes and types of what the host sends for a call."""
  if isinstance(name, str):
    program = getattr(programs, name)
  else:
    program = programs.decode[name[1]]
  args, _ = program.args_info
  host = args[len(replica_lib.form(name).takes) :]
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), host)
