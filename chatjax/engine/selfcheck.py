"""Start-up proof that the width of a decode program changes no bit.

The same row is decoded alone through every width, and once among other rows
through the widest. Widths whose log-probabilities differ in any bit from the
widest are not used.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from chatjax import config as config_lib
from chatjax import types
from chatjax.engine import programs as programs_lib
from chatjax.engine import state as state_lib
from chatjax.nn import cache as cache_lib

_SLOT = 1
_NUM_STEPS = 2  # the second reads what the first one wrote


class SelfCheckError(types.ChatjaxError):
  """This machine does not keep a row's bits."""


def _one_row(
  state: state_lib.RowState, slot: int, token: int, pages: list[int]
) -> state_lib.RowState:
  """Host copy of `state` with one active row that reports alternatives."""
  state = jax.tree.map(np.array, state)
  state.token[slot] = token
  state.active[slot] = True
  state.limit[slot] = np.iinfo(np.int32).max
  state.num_top[slot] = 1
  state.key[slot] = (0, slot)
  state.table_P[slot, : len(pages)] = pages
  return state


def _bits(emitted: state_lib.Emitted) -> bytes:
  row = jax.tree.map(lambda x: np.asarray(x)[:, _SLOT].tobytes(), emitted)
  return b''.join(jax.tree.leaves(row))


def equal_widths(
  programs: programs_lib.Programs,
  model: config_lib.ModelConfig,
  config: config_lib.EngineConfig,
  params: Any,
  cache: cache_lib.Cache,
) -> tuple[tuple[int, ...], cache_lib.Cache]:
  """Runs every decode program and compares bits.

  Args:
    programs: all of them.
    model: sizes.
    config: how it is run.
    params: the weights.
    cache: scratch; donated and returned.

  Returns:
    The widths that may be used, and the cache.

  Raises:
    SelfCheckError: not even the widest program keeps a row's bits in a crowd.
  """
  rows = programs_lib.num_rows(config)
  empty = programs_lib.init_state(model, config)
  token = model.vocab_size // 3
  pages = -(-_NUM_STEPS // config.page_size)
  table = lambda slot: [1 + slot * pages + i for i in range(pages)]
  alone = _one_row(empty, _SLOT, token, table(_SLOT))
  crowd = alone
  for slot in range(min(rows, (config.num_pages - 1) // pages)):
    mate_token = token if slot == _SLOT else (token + slot) % model.vocab_size
    crowd = _one_row(crowd, slot, mate_token, table(slot))

  def run(width, state):
    nonlocal cache
    slots = [int(slot) for slot in np.flatnonzero(state.active)]
    live = programs_lib.live_rows(slots, width, rows)
    cache, _, emitted = programs.decode[width](
        params, cache, jax.tree.map(jax.numpy.asarray, state),
        live if config.dtype == 'int8' else None,
        np.ones(rows, bool), np.int32(min(_NUM_STEPS, config.decode_steps)),
    )  # fmt: skip
    return _bits(emitted)

  widest = programs.widths[-1]
  reference = run(widest, alone)
  if run(widest, crowd) != reference:
    raise SelfCheckError(
      'A row decoded in a crowd differs from the same row alone on this'
      ' machine: the seed contract cannot be kept.'
    )
  equal = [w for w in programs.widths[:-1] if run(w, alone) == reference]
  return (*equal, widest), cache


def restrict(
  programs: programs_lib.Programs, widths: tuple[int, ...]
) -> programs_lib.Programs:
  """Leaves only the given widths."""
  decode = {width: programs.decode[width] for width in widths}
  return dataclasses.replace(programs, decode=decode)
