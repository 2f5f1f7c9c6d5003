"""All executables of an engine, compiled before the first request."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import concurrent.futures
import dataclasses
import functools
from types import MappingProxyType
from typing import Any
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from chatjax import config as config_lib
from chatjax.engine import state as state_lib
from chatjax.engine import step as step_lib
from chatjax.nn import cache as cache_lib
from chatjax.nn import quant
from chatjax.nn import transformer

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Programs:
  """Compiled `step.Step` functions.

  Attributes:
    decode: by the number of rows that integer products compute.
  """

  prefill: Callable[..., Any]
  score: Callable[..., Any]
  admit: Callable[..., Any]
  put: Callable[..., Any]
  copy_page: Callable[..., Any]
  read_page: Callable[..., Any]
  write_page: Callable[..., Any]
  decode: Mapping[int, Callable[..., Any]]

  @property
  def widths(self) -> tuple[int, ...]:
    return tuple(sorted(self.decode))

  def width(self, num_live: int) -> int:
    """The narrowest program that holds so many rows."""
    return next(width for width in self.widths if width >= num_live)


def num_rows(config: config_lib.EngineConfig) -> int:
  """Rows of the decode program; one alone would take XLA's slow path."""
  return max(2, config.max_rows)


def width_ladder(config: config_lib.EngineConfig) -> tuple[int, ...]:
  """Row counts that integer products are compiled for.

  A product of 2 to 8 rows waits for the weights, so 4 would gain nothing.
  Float models know one width.
  """
  rows = num_rows(config)
  if config.dtype != 'int8':
    return (rows,)
  return (*(width for width in (2, 8, 16, 32, 64, 128) if width < rows), rows)


def batching() -> Literal['map', 'vmap']:
  """How the rows of a decode program run: one after another on a CPU."""
  return 'map' if jax.default_backend() == 'cpu' else 'vmap'


def cache_dtype(config: config_lib.EngineConfig) -> str:
  return 'bfloat16' if config.dtype == 'bfloat16' else 'float32'


def init_cache(
  model: config_lib.ModelConfig, config: config_lib.EngineConfig
) -> cache_lib.Cache:
  """The page pools."""
  return cache_lib.init(
    pages_of_layer=[
      config.num_pages(model.window(kind)) for kind in model.layer_kinds
    ],
    page_size=config.page_size,
    num_kv_heads=model.num_kv_heads,
    head_dim=model.head_dim,
    dtype=cache_dtype(config),
  )


def init_state(
  model: config_lib.ModelConfig, config: config_lib.EngineConfig
) -> state_lib.RowState:
  """All rows, none in use."""
  return state_lib.stack(_inactive_row(model, config), num_rows(config))


def _inactive_row(model, config) -> state_lib.RowState:
  return state_lib.inactive_row(
    vocab_size=model.vocab_size,
    pages_per_row=config.pages_per_row,
    num_pools=len(model.kinds),
  )


def live_rows(slots: list[int], width: int, rows: int) -> quant.LiveRows:
  """Names the live slots to an integer product of the given width."""
  chosen = np.full(width, slots[0], np.int32)
  chosen[: len(slots)] = slots
  inverse = np.zeros(rows, np.int32)
  inverse[slots] = np.arange(len(slots))
  return quant.LiveRows(chosen, inverse)


def change(
  model: config_lib.ModelConfig,
  config: config_lib.EngineConfig,
  *,
  keep: Iterable[int],
  new_pages: Mapping[int, tuple[int, tuple[int, ...]]] = MappingProxyType({}),
) -> state_lib.Change:
  """What a decode block is told.

  Args:
    model: the decoder's sizes.
    config: how it is run.
    keep: slots that go on.
    new_pages: slot -> (index, page by pool) that its tables gain.
  """
  rows = num_rows(config)
  keep_B = np.zeros(rows, bool)
  keep_B[list(keep)] = True
  index_B = np.full(rows, config.pages_per_row, np.int32)
  pages = tuple(np.zeros(rows, np.int32) for _ in model.kinds)
  for slot, (index, column) in new_pages.items():
    index_B[slot] = index
    for page_B, page in zip(pages, column, strict=True):
      page_B[slot] = page
  return state_lib.Change(keep_B, index_B, pages)


def compile_all(
  model: config_lib.ModelConfig,
  config: config_lib.EngineConfig,
  params: Any,
  progress: Progress = lambda done, total: None,
) -> Programs:
  """Lowers and compiles everything; compiling overlaps with lowering."""
  plan = _plan(model, config, params)
  compiled = {}
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    futures = {
      pool.submit(program.lower(*args).compile): name
      for name, (program, args) in plan.items()
    }
    for future in concurrent.futures.as_completed(futures):
      compiled[futures[future]] = future.result()
      progress(len(compiled), len(plan))
  decode = {
    width: compiled.pop(('decode', width)) for width in width_ladder(config)
  }
  return Programs(decode=decode, **compiled)


def _plan(model, config, params) -> dict[Any, tuple[Any, tuple[Any, ...]]]:
  """Name -> (jitted function, abstract arguments); slow compiles first."""
  step = step_lib.Step(
    model=transformer.Transformer(model, config.dtype),
    max_steps=config.decode_steps,
    batching=batching(),
  )
  cache = jax.eval_shape(lambda: init_cache(model, config))
  state = jax.eval_shape(lambda: init_state(model, config))
  row = jax.eval_shape(lambda: _inactive_row(model, config))
  i32 = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.int32)
  x_CD = jax.ShapeDtypeStruct((config.chunk, model.embed_dim), jnp.float32)
  logits_V = jax.ShapeDtypeStruct((model.vocab_size,), jnp.float32)
  rows = num_rows(config)
  by_pool = lambda x: (x,) * len(model.kinds)
  change = state_lib.Change(
    jax.ShapeDtypeStruct((rows,), jnp.bool_), i32(rows), by_pool(i32(rows))
  )
  jit = lambda fn, *donate: jax.jit(fn, donate_argnums=donate)
  pages = lambda fn, *donate: jit(
    functools.partial(fn, pool_of_layer=model.pool_of_layer), *donate
  )
  plan = {}
  for width in width_ladder(config):
    live = quant.LiveRows(i32(width), i32(rows))
    if config.dtype != 'int8':
      live = None
    args = params, cache, state, live, change, i32()
    plan['decode', width] = jit(step.decode, 1, 2), args
  tokens_C, tables = i32(config.chunk), by_pool(i32(config.pages_per_row))
  page = by_pool(i32())
  page_of_all = jax.eval_shape(
    functools.partial(cache_lib.read_page, pool_of_layer=model.pool_of_layer),
    cache, page,
  )  # fmt: skip
  return plan | {
    'prefill': (
      jit(step.prefill, 1),
      (params, cache, tokens_C, i32(), tables),
    ),
    'admit': (jit(step.admit, 0), (state, logits_V, i32(), row)),
    'score': (jit(step.score), (params, x_CD, i32())),
    'put': (jit(step_lib.put, 0), (state, i32(), row)),
    'copy_page': (pages(cache_lib.copy_page, 0), (cache, page, page)),
    'read_page': (pages(cache_lib.read_page), (cache, page)),
    'write_page': (
      pages(cache_lib.write_page, 0),
      (cache, page, page_of_all),
    ),
  }
