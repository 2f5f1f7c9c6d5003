"""The int8 product against exact arithmetic."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from chatjax.nn import channel
from chatjax.nn import quant


@hypothesis.given(
  rows=st.integers(1, 9), k=st.integers(1, 70), n=st.integers(1, 40),
  seed=st.integers(0, 99), spread=st.floats(-3, 3),
)  # fmt: skip
@hypothesis.settings(max_examples=8, deadline=None)
def test_product_is_the_product_of_what_was_rounded(rows, k, n, seed, spread):
  rng = np.random.default_rng(seed)
  x = (rng.normal(size=(rows, k)) * 10**spread).astype(np.float32)
  w = channel.Int8Tensor.quantize(rng.normal(size=(n, k)).astype(np.float32), 1)
  scale = np.maximum(np.abs(x).max(1, keepdims=True) / np.float32(127), 1e-8)
  q = np.rint(x / scale)
  want = q @ w.values.astype(np.float64).T * scale * w.scale
  got = jax.jit(quant.product)(jnp.asarray(x), w)
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-30)


def test_quantization_error_is_half_a_step():
  w = np.random.default_rng(0).normal(size=(5, 3, 64)).astype(np.float32)
  q = channel.Int8Tensor.quantize(w, 2)
  error = np.abs(q.values * q.scale[..., None] - w)
  assert (error <= q.scale[..., None] * 0.5001).all()
  assert np.abs(q.values).max() == 127


def test_zeros_stay_zeros():
  q = channel.Int8Tensor.quantize(np.zeros((4, 8), np.float32), 1)
  y = quant.product(jnp.zeros((2, 8)), q)
  np.testing.assert_array_equal(y, np.zeros((2, 4)))


def test_large_tables_are_rounded_in_parts():
  w = np.random.default_rng(0).normal(size=(70, 65536)).astype(np.float32)
  q = channel.Int8Tensor.quantize(w, 1)
  scale = np.abs(w).max(1, keepdims=True) / np.float32(127)
  np.testing.assert_array_equal(q.values, np.rint(w / scale))


def test_rows_of_a_quantized_table():
  w = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
  q = channel.Int8Tensor.quantize(w, 1)
  rows = quant.take_rows(
    channel.Int8Tensor(jnp.asarray(q.values), jnp.asarray(q.scale)),
    jnp.asarray([2, 2, 8]),
  )
  np.testing.assert_allclose(rows, w[[2, 2, 8]], atol=float(q.scale.max()))
