"""How far smaller weights and caches are from float32 on real text.

  python scripts/measure_kl.py --model=smollm2-135m-instruct --write
  python scripts/measure_kl.py --dtype=int8 --dtype=int4_weight
  python scripts/measure_kl.py --dtype=float32 --cache_dtype=int8

Mean and 99th percentile of KL(float32 || dtype) over the positions of
`tests/models/goldens/MODEL.kl_text.npz`, top-1 agreement, and perplexities.
By default of every quantization; --write puts their table into docs/models.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import math
import pathlib
import time

from absl import app
from absl import flags
from absl import logging
import jax
import jax.numpy as jnp
import numpy as np
import optax

from chatjax import config as config_lib
from chatjax.ckpt import home as home_lib
from chatjax.engine import runtime
from chatjax.models import filling
from chatjax.models import load as load_lib
from chatjax.models import registry
from chatjax.nn import attention
from chatjax.nn import cache as cache_lib
from chatjax.nn import paged
from chatjax.nn import quant
from chatjax.nn import transformer

_MODEL = flags.DEFINE_string('model', registry.DEFAULT, 'Registry id.')
_DTYPE = flags.DEFINE_multi_enum(
  'dtype', list(quant.SCHEMES), [*quant.SCHEMES, *config_lib.DTYPES],
  'Of the weights; may be repeated.',
)  # fmt: skip
_CACHE_DTYPE = flags.DEFINE_enum(
  'cache_dtype', 'float32', ['float32', 'bfloat16', 'int8'],
  'Of keys and values.',
)  # fmt: skip
_WRITE = flags.DEFINE_boolean(
  'write', False, 'Puts the table of the model into docs/models.md.'
)
_PAGE = 64

_ROOT = pathlib.Path(__file__).parent.parent
_GOLDENS = _ROOT / 'tests/models/goldens'
_DOCUMENT = _ROOT / 'docs/models.md'
_BEGIN = '<!-- made by scripts/measure_kl.py --model={} --write -->\n'
_END = '<!-- end -->\n'
_HEAD = (
  '| weights | bits each | mean KL | p99 KL | same best token | perplexity |\n'
  '|---|---|---|---|---|---|\n'
)


def load(model_id: str, dtype: str) -> load_lib.Weights:
  """A model's weights, converted if they were not yet."""
  home = home_lib.home()
  runtime.configure(home)
  return load_lib.load(
    registry.fetch_weights(model_id, accept_license=True),
    registry.get(model_id).source.sha256,
    dtype=dtype,
    checkpoints=home / 'checkpoints',
  )


def bits_per_weight(weights: load_lib.Weights) -> float:
  """Of all parameters, scales and norms included."""
  shapes = filling.leaves(weights.abstract).values()
  stored = sum(
    8 * x.size * x.dtype.itemsize for x in jax.tree.leaves(weights.abstract)
  )
  return stored / sum(math.prod(x.shape) for x in shapes)


def log_probs(
  weights: load_lib.Weights, cache_dtype: str, ids_RT: np.ndarray
) -> Iterator:
  """Yields log-probabilities f32[T, V] of each text, one at a time."""
  model = transformer.Transformer(weights.config, weights.dtype)
  num_pages = ids_RT.shape[1] // _PAGE
  cache = cache_lib.init(
    pages_of_layer=[num_pages + 1] * weights.config.num_layers,
    page_size=_PAGE,
    num_kv_heads=weights.config.num_kv_heads,
    head_dim=weights.config.head_dim,
    dtype=cache_dtype,
  )

  @jax.jit
  def run(params, cache, ids_T):
    """As a prefill of one chunk."""
    positions_T = jnp.arange(ids_T.shape[0])
    live_T = jnp.ones_like(positions_T, dtype=bool)
    attend = attention.Chunk(
      jnp.arange(1, num_pages + 1), positions_T, live_T,
      paged.best_method(weights.config),
    )  # fmt: skip
    x_TD, _ = model.hidden(
        params, ids_T, positions_T,
        dict.fromkeys(weights.config.kinds, attend), cache, live_T,
    )  # fmt: skip
    return jax.nn.log_softmax(model.logits(params, x_TD, live_T))

  params = weights.restore()
  for ids_T in ids_RT:
    yield run(params, cache, jnp.asarray(ids_T))


def compare(
  wanted: Sequence[np.ndarray], found: Iterator, ids_RT: np.ndarray
) -> dict[str, float]:
  """Figures over all positions of the texts.

  Args:
    wanted: log-probabilities f32[T, V] of each text, by float32.
    found: the same, by what is judged.
    ids_RT: the texts.
  """
  kl, agree, nll = [], [], []
  for ids_T, p_TV, q_TV in zip(ids_RT, wanted, found, strict=True):
    kl.append(np.asarray(
        optax.losses.kl_divergence_with_log_targets(q_TV, p_TV)
    ))  # fmt: skip
    agree.append(np.asarray(p_TV.argmax(-1) == q_TV.argmax(-1)))
    following = jnp.asarray(ids_T[1:, None])
    nll.append([
      -np.asarray(jnp.take_along_axis(x_TV[:-1], following, axis=1)).mean()
      for x_TV in (p_TV, q_TV)
    ])  # fmt: skip
  kl_all = np.concatenate(kl)
  perplexity = np.exp(np.mean(nll, axis=0))
  return {
    'positions': kl_all.size,
    'mean_kl': float(kl_all.mean()),
    'p99_kl': float(np.percentile(kl_all, 99)),
    'top1_agreement': float(np.concatenate(agree).mean()),
    'perplexity_float32': float(perplexity[0]),
    'perplexity': float(perplexity[1]),
  }


def row(dtype: str, bits: float, figures: dict[str, float]) -> str:
  """A line of the table."""
  return (
    f'| `{dtype}` | {bits:.1f} | {figures["mean_kl"]:.4f}'
    f' | {figures["p99_kl"]:.3f} | {100 * figures["top1_agreement"]:.1f} %'
    f' | {figures["perplexity_float32"]:.3f} -> {figures["perplexity"]:.3f} |'
  )


def write(model_id: str, table: str) -> None:
  """Replaces the table of a model."""
  begin = _BEGIN.format(model_id)
  head, mark, rest = _DOCUMENT.read_text().partition(begin)
  if not mark:
    raise app.UsageError(f'{_DOCUMENT} has no line {begin.strip()!r}.')
  rest = rest[rest.index(_END) :]
  _DOCUMENT.write_text(f'{head}{begin}{table}{rest}')


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError('Takes flags only.')
  logging.set_verbosity(logging.WARNING)
  model_id = _MODEL.value
  ids_RT = np.load(_GOLDENS / f'{model_id}.kl_text.npz')['ids']
  wanted = [
    np.asarray(x_TV)
    for x_TV in log_probs(load(model_id, 'float32'), 'float32', ids_RT)
  ]
  table = _HEAD
  for dtype in _DTYPE.value:
    start = time.monotonic()
    weights = load(model_id, dtype)
    found = log_probs(weights, _CACHE_DTYPE.value, ids_RT)
    figures = compare(wanted, found, ids_RT)
    line = row(dtype, bits_per_weight(weights), figures)
    print(line, f'{time.monotonic() - start:.0f} s', figures, flush=True)
    table += f'{line}\n'
  if _WRITE.value:
    write(model_id, table)


if __name__ == '__main__':
  app.run(main)
