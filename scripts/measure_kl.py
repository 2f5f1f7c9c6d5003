"""How far int8 and bfloat16 are from float32 on real text.

  python scripts/measure_kl.py --model=qwen2.5-coder-0.5b-instruct

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

from chatjax.ckpt import home as home_lib
from chatjax.engine import runtime
from chatjax.models import load as load_lib
from chatjax.models import registry
from chatjax.nn import transformer

_MODEL = flags.DEFINE_string('model', registry.DEFAULT, 'Registry id.')
_DTYPE = flags.DEFINE_string('dtype', 'int8', 'What to compare with float32.')

_GOLDENS = pathlib.Path(__file__).parent.parent / 'tests/models/goldens'


def log_probs(model_id: str, dtype: str, ids_RT: np.ndarray) -> Iterator:
  """Yields log-probabilities f32[T, V] of each text, one at a time."""
  home = home_lib.home()
  runtime.configure(home)
  weights = load_lib.load(
    registry.fetch_weights(model_id, accept_license=True),
    registry.get(model_id).source.sha256,
    dtype=dtype,
    checkpoints=home / 'checkpoints',
  )
  model = transformer.Transformer(weights.config, dtype)
  run = jax.jit(lambda p, ids: jax.nn.log_softmax(model.dense(p, ids)))
  params = weights.restore()
  for ids_T in ids_RT:
    yield run(params, jnp.asarray(ids_T))


def compare(model_id: str, dtype: str) -> dict[str, float]:
  """Figures over all positions of the committed texts."""
  ids_RT = np.load(_GOLDENS / f'{model_id}.kl_text.npz')['ids']
  kl, agree, nll = [], [], []
  pairs = zip(
    ids_RT,
    log_probs(model_id, 'float32', ids_RT),
    log_probs(model_id, dtype, ids_RT),
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
    f'perplexity_{dtype}': float(perplexity[1]),
  }


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  for name, value in compare(_MODEL.value, _DTYPE.value).items():
    print(f'{name:22} {value:.5g}')


if __name__ == '__main__':
  app.run(main)
