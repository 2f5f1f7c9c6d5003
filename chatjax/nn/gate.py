"""What stands in the middle of a gated MLP."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# Those that the native kernel has.
NATIVE = ('silu', 'gelu_tanh')

# Of gpt-oss (arXiv:2508.10925).
_ALPHA, _LIMIT = 1.702, 7.0

_ACTIVATIONS = {
  'silu': jax.nn.silu,
  'gelu_tanh': lambda x: jax.nn.gelu(x, approximate=True),
}


def apply(x_T2F: jax.Array, activation: str) -> jax.Array:
  """`act(gate) * up` of the two halves: f32[T, F]."""
  gate_TF, up_TF = x_T2F[:, 0], x_T2F[:, 1]
  if activation == 'clamped_swiglu':
    gate_TF = jnp.minimum(gate_TF, _LIMIT)
    up_TF = jnp.clip(up_TF, -_LIMIT, _LIMIT)
    return gate_TF * jax.nn.sigmoid(_ALPHA * gate_TF) * (up_TF + 1)
  return _ACTIVATIONS[activation](gate_TF) * up_TF


def plain(x_T2F: jax.Array, live: object, activation: str) -> jax.Array:
  """The same for all rows, whichever live."""
  del live
  return apply(x_T2F, activation)
