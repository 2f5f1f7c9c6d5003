"""One process's part of an engine: programs, and what they work on.

Every process of an engine has one, and all of them make the same calls in the
same order: the first one's `caller.Caller` says which.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
from typing import Any

import jax
import numpy as np

from chatjax import config as config_lib
from chatjax.ckpt import orbax
from chatjax.engine import programs as programs_lib
from chatjax.engine import selfcheck
from chatjax.models import load
from chatjax.nn import sharding

_log = logging.getLogger(__name__)

# The name of a program; for decode with its width, and whether it is masked.
Name = str | tuple[str, int]

# Own arrays are named; KEPT are results of earlier calls, whole or as shards
# on the host. READ is for the first process's host, and kept by nobody.
KEPT, SHARDS, READ = 'kept', 'shards', 'read'


@dataclasses.dataclass(frozen=True)
class Form:
  """How a program is called: `takes`, then what the host sends."""

  takes: tuple[str, ...]
  gives: tuple[str, ...]

  @property
  def keeps(self) -> bool:
    """Whether its result is kept for later calls."""
    return KEPT in self.gives or SHARDS in self.gives


_FORMS = {
  'prefill': Form(('params', 'cache'), (KEPT, 'cache')),
  'score': Form(('params', KEPT), (KEPT,)),
  'score_chunk': Form(('params', KEPT), (READ,)),
  'admit': Form(('state', KEPT), ('state', READ)),
  'put': Form(('state',), ('state',)),
  'copy_page': Form(('cache',), ('cache',)),
  'read_page': Form(('cache',), (SHARDS,)),
  'write_page': Form(('cache', SHARDS), ('cache',)),
  'decode': Form(
    ('params', 'cache', 'state', 'no_masks'), ('cache', 'state', READ)
  ),
  'decode_masked': Form(('params', 'cache', 'state'), ('cache', 'state', READ)),
}


def form(name: Name) -> Form:
  return _FORMS[name if isinstance(name, str) else name[0]]


def names(programs: programs_lib.Programs) -> tuple[Name, ...]:
  """All calls, in an order that every process has."""
  return tuple(
    one
    for name in _FORMS
    for one in (
      [(name, width) for width in programs.widths]
      if name.startswith('decode')
      else [name]
    )
  )


class Replica:
  """Runs calls.

  Attributes:
    programs: what was compiled, at the widths that the self-check left.
    arrays: what calls take and give back under a name.
  """

  def __init__(
    self,
    weights: load.Weights,
    config: config_lib.EngineConfig,
    progress: programs_lib.Progress = lambda done, total: None,
  ):
    """Compiles all programs and proves the decode widths equal."""
    model = weights.config
    self._layout = layout = sharding.layout(config.mesh, model)
    # Reading the weights and compiling for their shapes go side by side.
    with concurrent.futures.ThreadPoolExecutor(1) as reader:
      params = reader.submit(_restore, weights, layout)
      compiled = programs_lib.compile_all(weights, config, progress, layout)
      params = params.result()
    widths, cache = selfcheck.equal_widths(
      compiled,
      model,
      config,
      params=params,
      cache=_new_cache(model, config, layout),
      send=self._send,
    )
    _log.info('decode widths proven bit-equal: %s', widths)
    self.programs = selfcheck.restrict(compiled, widths)
    self.arrays = {
      'params': params,
      'cache': cache,
      'state': self._send(programs_lib.init_state(model, config)),
      'no_masks': self._send(programs_lib.no_masks(model, config.num_rows)),
    }

  def run(self, name: Name, host: tuple[Any, ...], *kept: Any) -> Any:
    """Makes a call.

    Args:
      name: of the call.
      host: what the host sends, a tree of numpy arrays.
      *kept: earlier results that it takes.

    Returns:
      What is kept or read; None if there is no such result.
    """
    how, rest, left = form(name), list(kept), None
    args = []
    for what in how.takes:
      value = self.arrays[what] if what in self.arrays else rest.pop(0)
      args.append(_push(value) if what == SHARDS else value)
    results = self.program(name)(*args, *self._send(host))
    if len(how.gives) == 1:
      results = (results,)
    for what, result in zip(how.gives, results, strict=True):
      if what in self.arrays:
        self.arrays[what] = result
      else:
        left = _pull(result) if what == SHARDS else result
    return left

  def program(self, name: Name) -> Any:
    """The compiled program of a call."""
    if isinstance(name, str):
      return getattr(self.programs, name)
    return self.programs.decode[name[1]]

  def _send(self, tree: Any) -> Any:
    """The one place where the host hands arrays to the devices.

    On a mesh they lie whole on each of them.
    """
    if self._layout is None:
      return jax.device_put(tree)
    return sharding.put(
      tree, jax.tree.map(lambda x: self._layout.replicated, tree)
    )


@dataclasses.dataclass(frozen=True)
class _Shards:
  """An array's parts on this process's devices, while they are on the host."""

  shape: tuple[int, ...]
  sharding: jax.sharding.Sharding
  parts: tuple[tuple[jax.Device, np.ndarray], ...]


def _pull(tree: Any) -> Any:
  return jax.tree.map(
    lambda x: _Shards(
      x.shape,
      x.sharding,
      tuple((s.device, np.asarray(s.data)) for s in x.addressable_shards),
    ),
    tree,
  )


def _push(tree: Any) -> Any:
  return jax.tree.map(
    lambda x: jax.make_array_from_single_device_arrays(
      x.shape, x.sharding, [jax.device_put(part, d) for d, part in x.parts]
    ),
    tree,
  )


def _new_cache(model, config, layout) -> Any:
  if layout is None:
    return programs_lib.init_cache(model, config)
  init = lambda: programs_lib.init_cache(model, config, layout)
  # Made where it lies: no device could hold all of it.
  return jax.jit(init, out_shardings=layout.cache(jax.eval_shape(init)))()


def _restore(weights: load.Weights, layout: sharding.Layout | None) -> Any:
  """Reads parameters to where they belong."""
  if layout is None:
    return weights.restore()
  shardings = programs_lib.param_shardings(weights, layout)
  return sharding.put(weights.restore(orbax.placement(shardings)), shardings)
