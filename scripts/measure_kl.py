"""How far smaller weights and caches are from float32 on real text.

  python scripts/measure_kl.py --model=qwen2.5-coder-0.5b-instruct
  python scripts/measure_kl.py --dtype=float32 --cache_dtype=int8

Mean and 99th percentile of KL(float32 || dtype) over the positions of
`tests/models/goldens/MODEL.kl_text.npz`, top-1 agreement, and perplexities.
"""

from __future__ import annotations

from collections.abc import Iterator
import pathlib

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
from chatjax.models import load as load_lib
from chatjax.models import registry
from chatjax.nn import attention
from chatjax.nn import cache as cache_lib
from chatjax.nn import paged
from chatjax.nn import transformer

_MODEL = flags.DEFINE_string('model', registry.DEFAULT, 'Registry id.')
_DTYPE = flags.DEFINE_enum(
  'dtype', 'int8', ['int8_channel', *config_lib.DTYPES], 'Of the weights.'
)
_CACHE_DTYPE = flags.DEFINE_enum(
  'cache_dtype', 'float32', ['float32', 'bfloat16', 'int8'],
  'Of keys and values.',
)  # fmt: skip
_PAGE = 64

_GOLDENS = pathlib.Path(__file__).parent.parent / 'tests/models/goldens'


def log_probs(
  model_id: str, dtype: str, cache_dtype: str, ids_RT: np.ndarray
) -> Iterator:
  """Yields log-probabilities f32[T, V] of each text, one at a time."""
  home = home_lib.home()
  runtime.configure(home)
  weights = load_lib.load(
    registry.fetch_weights(model_id, accept_license=True),
    registry.get(model_id).source.sha256,
    dtype=dtype,
    checkpoints=home / 'checkpoints',
  )
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


def compare(model_id: str, dtype: str, cache_dtype: str) -> dict[str, float]:
  """Figures over all positions of the committed texts."""
  ids_RT = np.load(_GOLDENS / f'{model_id}.kl_text.npz')['ids']
  kl, agree, nll = [], [], []
  pairs = zip(
    ids_RT,
    log_probs(model_id, 'float32', 'float32', ids_RT),
    log_probs(model_id, dtype, cache_dtype, ids_RT),
    strict=True,
  )
  for ids_T, p_TV, q_TV in pairs:
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


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  figures = compare(_MODEL.value, _DTYPE.value, _CACHE_DTYPE.value)
  for name, value in figures.items():
    print(f'{name:22} {value:.5g}')


if __name__ == '__main__':
  app.run(main)
