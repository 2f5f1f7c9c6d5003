"""What attention over pages costs in a decode step, natively and in JAX.

  python scripts/bench_attention.py --model=qwen2.5-coder-0.5b-instruct

For every context and number of rows: milliseconds of all layers of one step
with random keys and values, medians of runs in turn, beside the time in which
the machine can read the keys and values.
"""

from __future__ import annotations

from collections.abc import Callable
import statistics
import time
from typing import Any

from absl import app
from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.ckpt import home as home_lib
from chatjax.cli import bench_machine
from chatjax.engine import runtime
from chatjax.models import load as load_lib
from chatjax.models import registry
from chatjax.native import kernels
from chatjax.nn import attention
from chatjax.nn import cache as cache_lib
from chatjax.nn import rope

_MODEL = flags.DEFINE_string('model', registry.DEFAULT, 'Registry id.')
_CACHE_DTYPE = flags.DEFINE_enum(
  'cache_dtype', 'float32', ['float32', 'bfloat16', 'int8'],
  'Of keys and values.',
)  # fmt: skip
_CONTEXTS = flags.DEFINE_multi_integer(
  'context', [64, 256, 1024, 4096, 8192], 'Positions of every row.'
)
_ROWS = flags.DEFINE_multi_integer('rows', [1, 4, 8, 16], 'Rows of a step.')
_RUNS = flags.DEFINE_integer('runs', 7, 'Of each, in turn.')
_PAGE = config_lib.EngineConfig().page_size
# A layer's pages stay out of the processor's caches as a model's do.
_LAYERS = 4


def main(argv: list[str]) -> None:
  del argv
  home = home_lib.home()
  runtime.configure(home)
  entry = registry.get(_MODEL.value)
  model = load_lib.load(
    registry.fetch_weights(_MODEL.value), entry.source.sha256,
    dtype='int8', checkpoints=home / 'checkpoints',
  ).config  # fmt: skip
  bandwidth = bench_machine.read_bandwidth()
  methods = ('native', 'map') if kernels.is_available() else ('map',)
  print(f'{_MODEL.value}, {_CACHE_DTYPE.value}, {bandwidth / 1e9:.1f} GB/s')
  print('context rows ' + ' '.join(f'{m:>8}' for m in methods) + '    limit')
  for context in _CONTEXTS.value:
    for rows in _ROWS.value:
      steps = {m: _step(model, context, rows, m) for m in methods}
      times = _in_turn(steps, _RUNS.value)
      shown = ' '.join(f'{times[m] * model.num_layers:8.2f}' for m in methods)
      limit = _bytes(model, context) * rows / bandwidth * 1e3
      print(f'{context:7} {rows:4} {shown} {limit:8.2f}', flush=True)


def _bytes(model: model_config.ModelConfig, context: int) -> int:
  """Keys and values of one row in all layers."""
  size = jnp.dtype(_CACHE_DTYPE.value).itemsize
  per_layer = 2 * context * model.num_kv_heads * model.head_dim * size
  return model.num_layers * per_layer


def _step(
  model: model_config.ModelConfig, context: int, rows: int, method: str
) -> Callable[[], float]:
  """A function that times one layer's attention, in milliseconds."""
  pages = context // _PAGE
  K, G, H = model.num_kv_heads, model.q_per_kv, model.head_dim
  rng = np.random.default_rng(0)
  normal = lambda *shape: jnp.asarray(rng.normal(size=shape).astype(np.float32))
  layers = [
    cache_lib.init(
      pages_of_layer=[rows * pages + 1], page_size=_PAGE, num_kv_heads=K,
      head_dim=H, dtype=_CACHE_DTYPE.value,
    )[0]
    for _ in range(_LAYERS)
  ]  # fmt: skip
  tables_BP = 1 + jnp.arange(rows * pages, dtype=jnp.int32).reshape(rows, pages)
  positions_B = jnp.full(rows, context - 1, jnp.int32)
  heads = attention.Heads(
    normal(rows, K, G, H), normal(rows, K, H), normal(rows, K, H),
    rope.angles(positions_B, head_dim=H, theta=model.rope_theta),
    model.q_scale,
  )  # fmt: skip
  live_B = jnp.ones(rows, bool)

  def attend(layers: list[Any], q_TKGH: jax.Array):
    done = []
    for layer in layers:
      way = attention.Rows(tables_BP, positions_B, live_B, method)
      one = attention.Heads(q_TKGH, *[
        getattr(heads, name) for name in ('k_TKH', 'v_TKH', 'angles', 'scale')
      ])  # fmt: skip
      out_TKGH, layer = way(one, layer, None)
      q_TKGH = q_TKGH + out_TKGH  # one layer after another
      done.append(layer)
    return done, q_TKGH

  run = jax.jit(attend, donate_argnums=0)
  state = {'layers': run(layers, heads.q_TKGH)[0]}

  def timed() -> float:
    start = time.perf_counter()
    state['layers'], out = jax.block_until_ready(
      run(state['layers'], heads.q_TKGH)
    )
    del out
    return (time.perf_counter() - start) * 1e3 / _LAYERS

  return timed


def _in_turn(
  steps: dict[str, Callable[[], float]], runs: int
) -> dict[str, float]:
  """Medians; the first run of each is not counted."""
  times = {name: [] for name in steps}
  for i in range(runs + 1):
    for name, step in steps.items():
      if i:
        times[name].append(step())
      else:
        step()
  return {name: statistics.median(t) for name, t in times.items()}


if __name__ == '__main__':
  app.run(main)
