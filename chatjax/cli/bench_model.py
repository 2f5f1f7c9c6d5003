"""A model in the parts that `chatjax bench` times one by one."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import pathlib
import time

import jax

from chatjax import api
from chatjax import config as config_lib
from chatjax import model_config
from chatjax.ckpt import home as home_lib
from chatjax.cli import progress as progress_lib
from chatjax.engine import engine as engine_lib
from chatjax.engine import runtime
from chatjax.models import load as load_lib
from chatjax.models import locate
from chatjax.text import tokenizer as tokenizer_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
  """A running engine, and what it took to start it.

  Attributes:
    load_s: from the weight file at home to parameters in memory.
    was_converted: whether the converted weights were there already.
    start_s: compilation, self-check and the rest until requests are served.
    was_compiled: whether all programs came from the compilation cache.
    weight_bytes: what a decode step reads of the parameters.
  """

  engine: engine_lib.Engine
  tokenizer: tokenizer_lib.Tokenizer
  sizes: model_config.ModelConfig
  cache_itemsize: int
  load_s: float
  was_converted: bool
  start_s: float
  was_compiled: bool
  weight_bytes: int

  def kv_bytes(self, context: float) -> float:
    """Keys and values that one row with so many positions reads per step."""
    seen = sum(
      min(context, self.sizes.window(kind) or context)
      for kind in self.sizes.layer_kinds
    )
    width = self.sizes.num_kv_heads * self.sizes.head_dim
    return seen * 2 * width * self.cache_itemsize


def load(
  config: config_lib.Config,
  *,
  accept_license: bool,
  report: Callable[[str, int, int], None],
) -> Model:
  """Does what `chatjax.load` does, with a clock."""
  home = home_lib.home()
  runtime.configure(home)
  weights, load_s, was_converted = _load_weights(
    config, home, accept_license=accept_license, report=report
  )
  begin_s = time.perf_counter()
  with progress_lib.CompileWatch() as watch:
    engine = engine_lib.Engine(
      weights,
      config.engine,
      progress=lambda done, total: report(api.COMPILING, done, total),
    )
  return Model(
    engine=engine,
    tokenizer=weights.texts.make_tokenizer(),
    sizes=weights.config,
    cache_itemsize=jax.numpy.dtype(config.engine.stored_cache_dtype).itemsize,
    load_s=load_s,
    was_converted=was_converted,
    start_s=time.perf_counter() - begin_s,
    was_compiled=watch.is_warm,
    weight_bytes=_step_bytes(weights),
  )


def _load_weights(
  config: config_lib.Config,
  home: pathlib.Path,
  *,
  accept_license: bool,
  report: Callable[[str, int, int], None],
) -> tuple[load_lib.Weights, float, bool]:
  """The weights, how long they took, whether they had been converted."""
  found = locate.locate(
    config.model,
    accept_license=accept_license,
    progress=report,
  )
  converted: list[int] = []

  def on_convert(done: int, total: int) -> None:
    converted.append(done)
    report(api.CONVERTING, done, total)

  begin_s = time.perf_counter()
  weights = load_lib.load(
    found.path,
    found.digest,
    dtype=config.engine.dtype,
    checkpoints=home / 'checkpoints',
    progress=on_convert,
  )
  return weights, time.perf_counter() - begin_s, not converted


def _step_bytes(weights: load_lib.Weights) -> int:
  """All parameters; a table of embeddings only if it is the unembedding too."""
  params = dict(weights.abstract)
  if not weights.config.tie_embeddings:
    del params['embed']
  return sum(
    leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params)
  )
