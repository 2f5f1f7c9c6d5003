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

import jax
import jax.numpy as jnp
import numpy as np

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.engine import loan as loan_lib
from chatjax.engine import state as state_lib
from chatjax.engine import step as step_lib
from chatjax.models import load
from chatjax.nn import cache as cache_lib
from chatjax.nn import paged
from chatjax.nn import quant
from chatjax.nn import sharding
from chatjax.nn import transformer

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Programs:
  """Compiled `step.Step` functions.

  Attributes:
    decode: by the number of rows that integer products compute.
    takes_rows: whether decode programs are told which rows to compute; the
      others take all, or see for themselves.
    attention: how it is computed.
  """

  prefill: Callable[..., Any]
  score: Callable[..., Any]
  score_chunk: Callable[..., Any]
  admit: Callable[..., Any]
  put: Callable[..., Any]
  copy_page: Callable[..., Any]
  read_page: Callable[..., Any]
  write_page: Callable[..., Any]
  decode: Mapping[int, Callable[..., Any]]
  takes_rows: bool
  attention: paged.Method

  @property
  def widths(self) -> tuple[int, ...]:
    return tuple(sorted(self.decode))

  def width(self, num_live: int) -> int:
    """The narrowest program that holds so many rows."""
    return next(width for width in self.widths if width >= num_live)

  def live(self, slots: list[int], width: int) -> quant.LiveRows | None:
    """What a decode program of some width is told of the live slots."""
    if not self.takes_rows:
      return None
    chosen = np.full(width, slots[0], np.int32)
    chosen[: len(slots)] = slots
    inverse = np.zeros(self.widths[-1], np.int32)
    inverse[slots] = np.arange(len(slots))
    return quant.LiveRows(chosen, inverse)


def width_ladder(
  config: config_lib.EngineConfig, storage: str
) -> tuple[int, ...]:
  """Row counts that integer products are compiled for.

  Only XLA's product needs them: the native one is told at run time which rows
  are live, and float models know one width. A product of 2 to 8 rows waits
  for the weights, so 4 would gain nothing.
  """
  rows = config.num_rows
  if not quant.is_narrowed(storage):
    return (rows,)
  return (*(width for width in (2, 8, 16, 32, 64, 128) if width < rows), rows)


def init_cache(
  model: model_config.ModelConfig,
  config: config_lib.EngineConfig,
  layout: sharding.Layout | None = None,
) -> cache_lib.Cache:
  """The page pools, as the attention of the devices wants them."""
  return cache_lib.init(
    pages_of_layer=[
      config.num_pages(model.window(kind)) for kind in model.layer_kinds
    ],
    page_size=config.page_size,
    num_kv_heads=model.num_kv_heads,
    head_dim=model.head_dim,
    dtype=config.stored_cache_dtype,
    is_joint=paged.best_method(model, layout, config) == 'ragged',
  )


def init_state(
  model: model_config.ModelConfig, config: config_lib.EngineConfig
) -> state_lib.RowState:
  """All rows, none in use."""
  return state_lib.stack(_inactive_row(model, config), config.num_rows)


def _inactive_row(model, config) -> state_lib.RowState:
  return state_lib.inactive_row(
    vocab_size=model.vocab_size,
    pages_per_row=config.pages_per_row,
    num_pools=len(model.kinds),
  )


def change(
  model: model_config.ModelConfig,
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
  rows = config.num_rows
  keep_B = np.zeros(rows, bool)
  keep_B[list(keep)] = True
  index_B = np.full(rows, config.pages_per_row, np.int32)
  pages = tuple(np.zeros(rows, np.int32) for _ in model.kinds)
  for slot, (index, column) in new_pages.items():
    index_B[slot] = index
    for page_B, page in zip(pages, column, strict=True):
      page_B[slot] = page
  return state_lib.Change(keep_B, index_B, pages)


def no_masks(model: model_config.ModelConfig, num_rows: int) -> state_lib.Masks:
  """Stacked masks, all off, on the host."""
  num_words = -(-model.vocab_size // 32)
  return state_lib.Masks(
    np.zeros(num_rows, bool), np.zeros((num_rows, num_words), np.uint32)
  )


def loan(
  rows: int, guesses: Mapping[int, tuple[int, int, int]]
) -> loan_lib.Loan:
  """Which rows of a decode block are lent.

  Args:
    rows: of the decode program.
    guesses: lent slot -> (slot it works for, positions ahead, guessed token).
  """
  source_B = np.arange(rows, dtype=np.int32)
  offset_B, token_B = np.zeros((2, rows), np.int32)
  for slot, guess in guesses.items():
    source_B[slot], offset_B[slot], token_B[slot] = guess
  return loan_lib.Loan(source_B, offset_B, token_B)


def compile_all(
  weights: load.Weights,
  config: config_lib.EngineConfig,
  progress: Progress = lambda done, total: None,
  layout: sharding.Layout | None = None,
) -> Programs:
  """Lowers and compiles everything; compiling overlaps with lowering."""
  planned = plan(weights, config, layout)
  compiled = {}
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    futures = {
      pool.submit(program.lower(*args).compile): name
      for name, (program, args) in planned.items()
    }
    for future in concurrent.futures.as_completed(futures):
      compiled[futures[future]] = future.result()
      progress(len(compiled), len(planned))
  widths = width_ladder(config, weights.dtype)
  decode = {width: compiled.pop(('decode', width)) for width in widths}
  takes_rows = quant.is_narrowed(weights.dtype)
  return Programs(
    decode=decode,
    takes_rows=takes_rows,
    attention=paged.best_method(weights.config, layout, config),
    **compiled,
  )


# Name -> (jitted function, abstract arguments); slow compiles come first.
Plan = dict[Any, tuple[Any, tuple[Any, ...]]]


def plan(
  weights: load.Weights,
  config: config_lib.EngineConfig,
  layout: sharding.Layout | None = None,
) -> Plan:
  """All programs before they are compiled.

  Args:
    weights: of which only the shapes are read.
    config: how they are run.
    layout: the mesh; None is the default device alone.
  """
  model = weights.config
  params, cache, state, row = _abstract_arrays(weights, config, layout)
  step = step_lib.Step(
    model=transformer.Transformer(model, weights.dtype, layout),
    max_steps=config.decode_steps,
    method=paged.best_method(model, layout, config),
  )
  tables = (_i32(config.pages_per_row),) * len(model.kinds)
  x_CD = jax.ShapeDtypeStruct((config.chunk, model.embed_dim), jnp.float32)
  logits_V = jax.ShapeDtypeStruct((model.vocab_size,), jnp.float32)
  mask = jax.tree.map(_abstract, no_masks(model, 1))
  mask = jax.tree.map(lambda x: x.update(shape=x.shape[1:]), mask)
  jit = functools.partial(_jit, layout)
  whole, pages = layout and layout.replicated, _shardings(cache)
  made = {}
  for width in width_ladder(config, weights.dtype):
    args = params, cache, state, *_decode_arguments(weights, config, width)
    decode = jit(step.decode, 1, 2, out=(pages, whole, whole))
    made['decode', width] = decode, args
  chunk = _i32(config.chunk), _i32(), _i32(), tables
  score, score_chunk = (
    jit(fn, out=whole) for fn in (step.score, step.score_chunk)
  )
  made |= {
    'prefill': (
      jit(step.prefill, 1, out=(whole, pages)),
      (params, cache, *chunk),
    ),
    'admit': (
      jit(step.admit, 0, out=whole),
      (state, logits_V, _i32(), row, mask),
    ),
    'score': (score, (params, x_CD, _i32())),
    'score_chunk': (score_chunk, (params, x_CD, _i32(config.chunk))),
    'put': (jit(step_lib.put, 0, out=whole), (state, _i32(), row)),
    **_page_plan(model, cache, layout),
  }
  if layout is None:
    return made
  return {
    name: (fn, jax.tree.map(functools.partial(_on_mesh, layout), args))
    for name, (fn, args) in made.items()
  }


def _abstract_arrays(weights, config, layout):
  """Parameters, cache, rows and one row, with their places on a mesh."""
  model = weights.config
  cache = jax.eval_shape(lambda: init_cache(model, config, layout))
  state = jax.eval_shape(lambda: init_state(model, config))
  row = jax.eval_shape(lambda: _inactive_row(model, config))
  params = weights.abstract
  if layout is not None:
    params = _with_shardings(params, param_shardings(weights, layout))
    cache = _with_shardings(cache, layout.cache(cache))
  return params, cache, state, row


def param_shardings(weights: load.Weights, layout: sharding.Layout) -> Any:
  """Where the parameters lie on a mesh."""
  model = transformer.Transformer(weights.config, weights.dtype)
  return layout.params(jax.eval_shape(model.init_boxed, jax.random.key(0)))


def _with_shardings(tree, shardings):
  return jax.tree.map(lambda x, s: x.update(sharding=s), tree, shardings)


def _shardings(tree):
  """Those of abstract arrays; None for one device."""
  return jax.tree.map(lambda x: x.sharding, tree)


def _on_mesh(layout, x):
  """What has no other place lies whole on every device."""
  return x if x.sharding else x.update(sharding=layout.replicated)


def _decode_arguments(weights, config, width):
  """What a decode program takes besides parameters, cache and state."""
  rows = config.num_rows
  live = None
  if quant.is_narrowed(weights.dtype):
    live = quant.LiveRows(_i32(width), _i32(rows))
  keep_B = jax.ShapeDtypeStruct((rows,), jnp.bool_)
  pages = (_i32(rows),) * len(weights.config.kinds)
  change = state_lib.Change(keep_B, _i32(rows), pages)
  loan = loan_lib.Loan(*(_i32(rows),) * 3)
  masks = jax.tree.map(_abstract, no_masks(weights.config, rows))
  return masks, live, change, loan, _i32()


def _page_plan(model, cache, layout) -> Plan:
  """Programs that move single pages."""
  of_pool = {'pool_of_layer': model.pool_of_layer}
  copy_page, read_page, write_page = (
    functools.partial(fn, **of_pool)
    for fn in (cache_lib.copy_page, cache_lib.read_page, cache_lib.write_page)
  )
  page = (_i32(),) * len(model.kinds)
  saved, pages = jax.eval_shape(read_page, cache, page), _shardings(cache)
  if layout is not None:
    saved = _with_shardings(saved, layout.cache(saved))
  jit = functools.partial(_jit, layout)
  return {
    'copy_page': (jit(copy_page, 0, out=pages), (cache, page, page)),
    'read_page': (jit(read_page, out=_shardings(saved)), (cache, page)),
    'write_page': (jit(write_page, 0, out=pages), (cache, saved, page)),
  }


def _jit(
  layout: sharding.Layout | None,
  fn: Callable[..., Any],
  *donated: int,
  out: Any,
) -> Any:
  """A jitted function; on a mesh, `out` says where its results lie."""
  places = {} if layout is None else {'out_shardings': out}
  return jax.jit(fn, donate_argnums=donated, **places)


def _i32(*shape: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, jnp.int32)


def _abstract(x: np.ndarray) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(x.shape, x.dtype)
