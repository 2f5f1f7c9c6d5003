"""Products with weights in floats, and with those that become floats for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from chatjax.native import kernels
from chatjax.nn import scheme

# Numbers of a weight that are floats at a time: on a CPU they stay in a core's
# cache, elsewhere they are worth a dispatch.
_CPU_BLOCK, _BLOCK = 2**18, 2**22


def product(
  x_TK: jax.Array, w_NK: jax.Array, live: scheme.Live | None
) -> jax.Array:
  """`x @ w.T`, summed in float32."""
  # A program of the engine says which rows live; a dense forward, which has to
  # have a gradient, does not.
  if isinstance(live, jax.Array) and kernels.is_available():
    x_TK = x_TK.astype(jnp.float32)
    if w_NK.dtype == jnp.bfloat16:
      # A cast there and back is one that XLA may leave out.
      x_TK = lax.reduce_precision(x_TK, exponent_bits=8, mantissa_bits=7)
    return kernels.float_product(x_TK, live, w_NK)
  return lax.dot_general(
      x_TK.astype(w_NK.dtype), w_NK, (((1,), (w_NK.ndim - 1,)), ((), ())),
      preferred_element_type=jnp.float32,
  )  # fmt: skip


def converted_product(
  x_TK: jax.Array,
  w_NK: Any,
  convert: Callable[[Any, Any], jax.Array],
  live: scheme.Live | None,
  *,
  fuses: bool,
) -> jax.Array:
  """`x @ w.T` with a weight that becomes floats for it.

  They are float32 on a CPU and bfloat16 elsewhere, summed in float32.

  Args:
    x_TK: float[T, K].
    w_NK: arrays that all lead with the N outputs.
    convert: makes some outputs [n, K] of a dtype of it.
    live: see `quant.product`.
    fuses: whether XLA for accelerators makes the floats as it multiplies. It
      does not where groups of inputs have something in common.
  """
  is_cpu = jax.default_backend() == 'cpu'
  dtype = jnp.float32 if is_cpu else jnp.bfloat16
  x_TK = x_TK.astype(dtype)
  if isinstance(live, jax.Array) and (is_cpu or not fuses):
    block = _CPU_BLOCK if is_cpu else _BLOCK
    return _by_blocks(
      x_TK, w_NK, lambda x, w: product(x, convert(w, dtype), live), block
    )
  # On a mesh nothing may stand between the weight and its product, as a barrier
  # or a branch would: the partitioner would gather it.
  return product(x_TK, convert(w_NK, dtype), None)


def _by_blocks(x_TK, w_NK, multiply, block):
  """Some outputs at a time, so that few of them are floats."""
  N, K = jax.tree.leaves(w_NK)[0].shape[0], x_TK.shape[1]
  # Two at least: a loop of one is none, and XLA may then convert all weights of
  # a program before it multiplies by the first.
  size = min(-(-N // 2), max(1, block // K))

  def add(i, y_TN):
    start = jnp.minimum(i * size, N - size)  # the last ones may come twice
    part = jax.tree.map(
      lambda x: lax.dynamic_slice_in_dim(x, start, size), w_NK
    )
    y_Tn = multiply(x_TK, part)
    return lax.dynamic_update_slice_in_dim(y_TN, y_Tn, start, axis=1)

  y_TN = jnp.zeros((x_TK.shape[0], N), jnp.float32)
  return lax.fori_loop(0, -(-N // size), add, y_TN)
