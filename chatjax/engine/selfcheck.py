"""Start-up proof that the width of a decode program changes no bit.

The same row is decoded alone through every width; through the widest also in
every slot at once, and among other rows. Widths whose log-probabilities (the
drawn token's and the best twenty) differ in any bit are not used.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import numpy as np

from chatjax import config as config_lib
from chatjax import model_config
from chatjax import types
from chatjax.engine import programs as programs_lib
from chatjax.nn import cache as cache_lib
from chatjax.sampling import logprobs

_SLOT = 1
_NUM_STEPS = 2  # the second reads what the first one wrote


class SelfCheckError(types.ChatjaxError):
  """This machine does not keep a row's bits."""


class _Trial:
  """Runs decode programs on made-up rows and returns rows' bits."""

  def __init__(self, programs, model, config, params, cache, send):
    self.cache = cache
    self.slots = range(config.num_rows)
    self._programs, self._params, self._send = programs, params, send
    self._model, self._config = model, config
    self._num_pages = [
      config.num_pages(model.window(kind)) for kind in model.kinds
    ]
    self._num_steps = min(_NUM_STEPS, config.decode_steps)
    self._empty = jax.tree.map(
      np.asarray, programs_lib.init_state(model, config)
    )

  def run(self, width: int, tokens: Mapping[int, int]) -> dict[int, bytes]:
    """Decodes one row per slot of `tokens`, all with the same key."""
    state = jax.tree.map(np.array, self._empty)
    for slot, token in tokens.items():
      state.token[slot] = token
      state.active[slot] = True
      state.limit[slot] = np.iinfo(np.int32).max
      state.num_top[slot] = logprobs.MAX_TOP
      state.is_measured[slot] = True
      for pool, table_BP in enumerate(state.tables):
        # A page holds all steps; the last mates may have to share page 0.
        table_BP[slot, 0] = (slot + 1) * (slot + 1 < self._num_pages[pool])
    live = self._programs.live(list(tokens), width)
    state, *rest = self._send((
        state,
        programs_lib.no_masks(self._model, len(self.slots)),
        live,
        programs_lib.change(self._model, self._config, keep=self.slots),
        programs_lib.loan(len(self.slots), {}),
        np.int32(self._num_steps),
    ))  # fmt: skip
    self.cache, _, emitted = self._programs.decode[width](
      self._params, self.cache, state, *rest
    )
    emitted = jax.tree.map(np.asarray, emitted)
    return {
      slot: b''.join(x[:, slot].tobytes() for x in jax.tree.leaves(emitted))
      for slot in tokens
    }


def equal_widths(
  programs: programs_lib.Programs,
  model: model_config.ModelConfig,
  config: config_lib.EngineConfig,
  *,
  params: Any,
  cache: cache_lib.Cache,
  send: Callable[[Any], Any],
) -> tuple[tuple[int, ...], cache_lib.Cache]:
  """Runs every decode program and compares bits.

  Args:
    programs: all of them.
    model: sizes.
    config: how it is run.
    params: the weights.
    cache: scratch; donated and returned.
    send: hands a tree of numpy arrays to the devices.

  Returns:
    The widths that may be used, and the cache.

  Raises:
    SelfCheckError: the widest program does not give a row the same bits in
      every slot and in any company.
  """
  trial = _Trial(programs, model, config, params, cache, send)
  token = model.vocab_size // 3
  widest = programs.widths[-1]
  alone = trial.run(widest, {_SLOT: token})[_SLOT]
  twins = trial.run(widest, dict.fromkeys(trial.slots, token))
  mates = {slot: (token + slot) % model.vocab_size for slot in trial.slots}
  crowd = trial.run(widest, mates | {_SLOT: token})[_SLOT]
  if set(twins.values()) | {crowd} != {alone}:
    raise SelfCheckError(
      'A row decoded in a crowd differs from the same row alone on this'
      ' machine: the seed contract cannot be kept.'
    )
  equal = [
    width
    for width in programs.widths[:-1]
    if trial.run(width, {_SLOT: token})[_SLOT] == alone
  ]
  return (*equal, widest), trial.cache


def restrict(
  programs: programs_lib.Programs, widths: tuple[int, ...]
) -> programs_lib.Programs:
  """Leaves only the given widths."""
  decode = {width: programs.decode[width] for width in widths}
  return dataclasses.replace(programs, decode=decode)
