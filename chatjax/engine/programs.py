"""All executables of an engine, compiled before the first request."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import concurrent.futures
import dataclasses
from typing import Any

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
  copy_page: Callable[..., Any]
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
  """Powers of two up to the row count; float models know one width."""
  rows = num_rows(config)
  if config.dtype != 'int8':
    return (rows,)
  ladder = [2**i for i in range(1, 9) if 2**i < rows]
  return (*ladder, rows)


def cache_dtype(config: config_lib.EngineConfig) -> str:
  return 'bfloat16' if config.dtype == 'bfloat16' else 'float32'


def init_cache(
  model: config_lib.ModelConfig, config: config_lib.EngineConfig
) -> cache_lib.Cache:
  """The page pool."""
  return cache_lib.init(
    num_layers=model.num_layers,
    num_pages=config.num_pages,
    page_size=config.page_size,
    num_kv_heads=model.num_kv_heads,
    head_dim=model.head_dim,
    dtype=cache_dtype(config),
  )


def init_state(
  model: config_lib.ModelConfig, config: config_lib.EngineConfig
) -> state_lib.RowState:
  """All rows, none in use."""
  row = state_lib.inactive_row(
    vocab_size=model.vocab_size, pages_per_row=config.pages_per_row
  )
  return state_lib.stack(row, num_rows(config))


def live_rows(slots: list[int], width: int, rows: int) -> quant.LiveRows:
  """Names the live slots to an integer product of the given width."""
  chosen = np.full(width, slots[0], np.int32)
  chosen[: len(slots)] = slots
  inverse = np.zeros(rows, np.int32)
  inverse[slots] = np.arange(len(slots))
  return quant.LiveRows(chosen, inverse)


def compile_all(
  model: config_lib.ModelConfig,
  config: config_lib.EngineConfig,
  params: Any,
  progress: Progress = lambda done, total: None,
) -> Programs:
  """Lowers and compiles everything, two programs at a time."""
  lowered = _lower_all(model, config, params)
  done = 0
  compiled = {}
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    futures = {pool.submit(one.compile): name for name, one in lowered.items()}
    for future in concurrent.futures.as_completed(futures):
      compiled[futures[future]] = future.result()
      done += 1
      progress(done, len(lowered))
  decode = {
    width: compiled.pop(('decode', width)) for width in width_ladder(config)
  }
  return Programs(decode=decode, **compiled)


def _lower_all(model, config, params) -> dict[Any, Any]:
  batching = 'map' if jax.default_backend() == 'cpu' else 'vmap'
  step = step_lib.Step(
    model=transformer.Transformer(model, config.dtype),
    max_steps=config.decode_steps,
    batching=batching,
  )
  abstract = lambda tree: jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree
  )
  params = abstract(params)
  cache = jax.eval_shape(lambda: init_cache(model, config))
  state = jax.eval_shape(lambda: init_state(model, config))
  row = jax.eval_shape(
    lambda: state_lib.inactive_row(
      vocab_size=model.vocab_size, pages_per_row=config.pages_per_row
    )
  )
  i32 = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.int32)
  x_CD = jax.ShapeDtypeStruct((config.chunk, model.embed_dim), jnp.float32)
  logits_V = jax.ShapeDtypeStruct((model.vocab_size,), jnp.float32)
  rows = num_rows(config)
  keep_B = jax.ShapeDtypeStruct((rows,), jnp.bool_)
  jit = lambda fn, *donate: jax.jit(fn, donate_argnums=donate)
  lowered = {
    'prefill': jit(step.prefill, 1).lower(
      params, cache, i32(config.chunk), i32(), i32(config.pages_per_row)
    ),
    'score': jit(step.score).lower(params, x_CD, i32()),
    'admit': jit(step.admit, 0).lower(state, logits_V, i32(), row),
    'copy_page': jit(step_lib.copy_page, 0).lower(cache, i32(), i32()),
  }
  for width in width_ladder(config):
    live = quant.LiveRows(i32(width), i32(rows))
    if config.dtype != 'int8':
      live = None
    lowered['decode', width] = jit(step.decode, 1, 2).lower(
      params, cache, state, live, keep_B, i32()
    )
  return lowered
