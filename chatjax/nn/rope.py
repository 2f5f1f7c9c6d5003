"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864), half-split."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from chatjax import model_config


def angles(
  positions_T: jax.Array,
  *,
  head_dim: int,
  theta: float,
  scaling: model_config.RopeScaling | None = None,
  rotary_dim: int | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Returns cos and sin, each f32[T, H/2].

  Args:
    positions_T: i32[T].
    head_dim: H.
    theta: base of the frequencies.
    scaling: how they are stretched, if they are.
    rotary_dim: dimensions that turn, in `partial_order`; None is all.
  """
  turning = rotary_dim or head_dim
  if scaling is not None:
    frequency_h, factor = _scaled(turning, theta, scaling)
    angle_Th = positions_T.astype(jnp.float32)[:, None] * frequency_h[None, :]
    cos_Th, sin_Th = jnp.cos(angle_Th) * factor, jnp.sin(angle_Th) * factor
  else:
    half = jnp.arange(0, turning, 2, dtype=jnp.float32) / turning
    inverse_wavelength_h = 1.0 / jnp.float32(theta) ** half
    angle_Th = (
      positions_T.astype(jnp.float32)[:, None] * inverse_wavelength_h[None, :]
    )
    cos_Th, sin_Th = jnp.cos(angle_Th), jnp.sin(angle_Th)
  if turning == head_dim:
    return cos_Th, sin_Th
  rest = ((0, 0), (0, (head_dim - turning) // 2))
  return jnp.pad(cos_Th, rest, constant_values=1), jnp.pad(sin_Th, rest)


def no_angles(num: int, head_dim: int) -> tuple[jax.Array, jax.Array]:
  """Cos and sin, each f32[T, H/2], that leave heads as they are."""
  return jnp.ones((num, head_dim // 2)), jnp.zeros((num, head_dim // 2))


def partial_order(head_dim: int, rotary_dim: int) -> np.ndarray:
  """Where dimensions of which the first ones turn must come from: i32[H].

  Then both halves of a head begin with those that turn: queries and keys meet
  as before, and what rotates whole heads serves.
  """
  all_H = np.arange(head_dim, dtype=np.int32)
  turn, rest = all_H[:rotary_dim], all_H[rotary_dim:]
  halves = zip(np.split(turn, 2), np.split(rest, 2), strict=True)
  return np.concatenate([part for half in halves for part in half])


def _scaled(
  turning: int, theta: float, scaling: model_config.RopeScaling
) -> tuple[np.ndarray, float]:
  """Frequencies f32[H/2], and what cosines and sines are multiplied with."""
  if isinstance(scaling, model_config.Yarn):
    factor = scaling.attention_factor or 0.1 * math.log(scaling.factor) + 1
    return _stretched(turning, theta, scaling), factor
  frequency_h = theta ** (-np.arange(0, turning, 2) / turning)
  factor = 1.0
  match scaling:
    case model_config.LinearRope():
      frequency_h /= scaling.factor
    case model_config.Llama3Rope():
      turns_h = scaling.original_context * frequency_h / (2 * math.pi)
      low, high = scaling.low_frequency, scaling.high_frequency
      kept_h = np.clip((turns_h - low) / (high - low), 0, 1)
      frequency_h *= kept_h + (1 - kept_h) / scaling.factor
    case model_config.LongRope():
      frequency_h /= np.asarray(scaling.factors)
      factor = scaling.attention_factor
  return frequency_h.astype(np.float32), factor


def _stretched(
  head_dim: int, theta: float, yarn: model_config.Yarn
) -> np.ndarray:
  """Frequencies f32[H/2]: fast ones kept, slow ones divided by the factor."""

  def dimension(turns: float) -> float:
    """The one that turns so often in the original context."""
    wavelength = yarn.original_context / (turns * 2 * math.pi)
    return head_dim * math.log(wavelength) / (2 * math.log(theta))

  low, high = dimension(yarn.beta_fast), dimension(yarn.beta_slow)
  if yarn.truncate:
    low, high = math.floor(low), math.ceil(high)
  low, high = max(low, 0), min(high, head_dim - 1)
  index_h = np.arange(head_dim // 2)
  slow_h = np.clip((index_h - low) / ((high - low) or 0.001), 0, 1)
  frequency_h = theta ** (-2 * index_h / head_dim)
  stretched_h = frequency_h * (1 - slow_h + slow_h / yarn.factor)
  return stretched_h.astype(np.float32)


def apply(x_TNH: jax.Array, cos_Th: jax.Array, sin_Th: jax.Array) -> jax.Array:
  """Rotates the pairs (x[i], x[i + H/2]) of every head."""
  first, second = jnp.split(x_TNH, 2, axis=-1)
  cos, sin = cos_Th[:, None, :], sin_Th[:, None, :]
  return jnp.concatenate(
    [first * cos - second * sin, second * cos + first * sin], axis=-1
  )
