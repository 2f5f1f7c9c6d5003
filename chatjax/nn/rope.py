"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864), half-split."""

import jax
import jax.numpy as jnp


def angles(
  positions_T: jax.Array, *, head_dim: int, theta: float
) -> tuple[jax.Array, jax.Array]:
  """Returns cos and sin, each f32[T, H/2]."""
  half = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
  inverse_wavelength_h = 1.0 / jnp.float32(theta) ** half
  angle_Th = (
    positions_T.astype(jnp.float32)[:, None] * inverse_wavelength_h[None, :]
  )
  return jnp.cos(angle_Th), jnp.sin(angle_Th)


def apply(x_TNH: jax.Array, cos_Th: jax.Array, sin_Th: jax.Array) -> jax.Array:
  """Rotates the pairs (x[i], x[i + H/2]) of every head."""
  first, second = jnp.split(x_TNH, 2, axis=-1)
  cos, sin = cos_Th[:, None, :], sin_Th[:, None, :]
  return jnp.concatenate(
    [first * cos - second * sin, second * cos + first * sin], axis=-1
  )
