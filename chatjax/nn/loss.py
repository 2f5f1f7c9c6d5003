"""The next-token loss of the dense forward, which has a gradient."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import optax

from chatjax.nn import transformer


def next_token(
  model: transformer.Transformer,
  params: transformer.Params,
  tokens_BT: jax.Array,
  mask_BT: jax.Array,
) -> jax.Array:
  """The mean of -log p(token | those before it), in nats, f32.

  Args:
    model: of float weights.
    params: its parameters; the loss is differentiable by them.
    tokens_BT: i32[B, T], sequences; what is masked may be padding.
    mask_BT: f32[B, T], how much the prediction of each token counts. Nothing
      predicts the first one, so its entry is not read.
  """
  chex.assert_rank(tokens_BT, 2)
  chex.assert_equal_shape([tokens_BT, mask_BT])
  logits_BTV = jax.vmap(lambda tokens_T: model.dense(params, tokens_T))(
    tokens_BT[:, :-1]
  )
  loss_BT = optax.losses.softmax_cross_entropy_with_integer_labels(
    logits_BTV, tokens_BT[:, 1:]
  )
  weight_BT = mask_BT[:, 1:].astype(jnp.float32)
  # No token at all is a loss of 0, not of NaN.
  total = jnp.maximum(jnp.sum(weight_BT), jnp.finfo(jnp.float32).tiny)
  return jnp.sum(loss_BT * weight_BT) / total
