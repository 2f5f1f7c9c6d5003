"""The native float product: the bits it promises, and the numbers."""

import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from chatjax.native import kernels
from chatjax.nn import quant

pytestmark = pytest.mark.skipif(
  not kernels.is_available(), reason='the native kernels were not built'
)
DTYPES = (np.float32, ml_dtypes.bfloat16)
KINDS = {
  'normal': 1.0, 'zero': 0.0, 'denormal': 1e-40, 'tiny': 1e-30, 'large': 1e30
}  # fmt: skip

float_product = jax.jit(kernels.float_product, static_argnames=('isa',))


def make(rng, num_rows, num_inputs, num_outputs, dtype, kinds=('normal',)):
  x_TK = rng.normal(size=(num_rows, num_inputs)).astype(np.float32)
  for row in x_TK:
    row *= np.float32(KINDS[rng.choice(kinds)])
  w_NK = rng.normal(size=(num_outputs, num_inputs)).astype(dtype)
  return x_TK, w_NK


@functools.cache
def all_live(num_rows):
  return np.ones(num_rows, bool)


def multiply(x_TK, w_NK, live_T=None, isa=None):
  live_T = all_live(len(x_TK)) if live_T is None else live_T
  return np.asarray(float_product(x_TK, live_T, w_NK, isa=isa))


def assert_same_bits(got, want):
  np.testing.assert_array_equal(got.view(np.int32), want.view(np.int32))


def fused(a, b, c):
  """`a * b + c` of f32, rounded once: products are exact in float64, and a sum
  of two is rounded to odd there, so the second rounding does no harm.
  """
  product, c = a.astype(np.float64) * b, c.astype(np.float64)
  total = product + c
  part = total - product
  error = (product - (total - part)) + (c - part)
  bits = total.view(np.int64)
  away = np.where((error > 0) == (total > 0), 1, -1)
  odd = np.where((error != 0) & (bits % 2 == 0), bits + away, bits)
  return odd.view(np.float64).astype(np.float32)


def in_order(x_TK, w_NK):
  """The order of operations that the kernel documents."""
  padding = ((0, 0), (0, -x_TK.shape[1] % 16))
  x_TK = np.pad(x_TK, padding)[:, None]
  w_NK = np.pad(w_NK.astype(np.float32), padding)[None]
  sum_TNl = np.zeros((len(x_TK), w_NK.shape[1], 16), np.float32)
  for k in range(0, x_TK.shape[-1], 16):
    x, w = x_TK[..., k : k + 16], w_NK[..., k : k + 16]
    sum_TNl = fused(x, w, sum_TNl)
  for half in (8, 4, 2, 1):
    sum_TNl = sum_TNl[..., :half] + sum_TNl[..., half:]
  return sum_TNl[..., 0]


SHAPES = {
  'num_rows': st.one_of(st.integers(1, 20), st.just(130)),
  'num_inputs': st.integers(1, 200),
  'num_outputs': st.integers(1, 120),
  'dtype': st.sampled_from(DTYPES),
  'seed': st.integers(0, 2**32),
}


@hypothesis.given(
  kinds=st.lists(st.sampled_from(list(KINDS)), min_size=1), **SHAPES
)
@hypothesis.settings(max_examples=30, deadline=None)
def test_bits_depend_on_the_row_alone(
  num_rows, num_inputs, num_outputs, dtype, seed, kinds
):
  rng = np.random.default_rng(seed)
  x_TK, w_NK = make(rng, num_rows, num_inputs, num_outputs, dtype, kinds)
  alone = [multiply(row[None], w_NK, isa='plain') for row in x_TK]
  want_TN = np.concatenate(alone)
  live_T = rng.random(num_rows) < 0.5
  for isa in kernels.supported_isas():
    assert_same_bits(multiply(x_TK, w_NK, isa=isa), want_TN)
    got_TN = multiply(x_TK, w_NK, live_T, isa)
    assert_same_bits(got_TN, np.where(live_T[:, None], want_TN, 0))
  assert_same_bits(multiply(x_TK, w_NK), want_TN)
  # A flushed product may be missing on threads that flush.
  exact_TN = x_TK.astype(np.float64) @ w_NK.astype(np.float64).T
  size_TN = np.abs(x_TK.astype(np.float64)) @ np.abs(w_NK.astype(np.float64)).T
  bound_TN = num_inputs * (2.0**-23 * size_TN + 2.0**-125)
  assert (np.abs(want_TN - exact_TN) <= bound_TN).all()


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('num_inputs', [1, 15, 16, 17, 64, 139])
def test_the_order_of_operations_is_the_documented_one(num_inputs, dtype):
  x_TK, w_NK = make(np.random.default_rng(3), 9, num_inputs, 31, dtype)
  assert_same_bits(multiply(x_TK, w_NK), in_order(x_TK, w_NK))


@pytest.mark.parametrize('isa', kernels.ISAS)
def test_every_width_of_a_tile(isa):
  if isa not in kernels.supported_isas():
    pytest.skip(f'this processor has no {isa}')
  x_TK, w_NK = make(np.random.default_rng(0), 20, 130, 70, np.float32)
  want_TN = multiply(x_TK, w_NK, isa='plain')
  for width in range(1, 21):
    got_TN = multiply(x_TK[:width], w_NK, isa=isa)
    assert_same_bits(got_TN, want_TN[:width])


@pytest.mark.parametrize('num_inputs', [70, 5000])
def test_chunks_of_outputs_do_not_matter(num_inputs):
  num_outputs = 1000 if num_inputs > 4096 else 9000
  rng = np.random.default_rng(1)
  x_TK, w_NK = make(rng, 9, num_inputs, num_outputs, np.float32)
  whole_TN = multiply(x_TK, w_NK)
  for start in range(0, num_outputs, num_outputs // 10):
    part = slice(start, start + 23)
    assert_same_bits(multiply(x_TK, w_NK[part]), whole_TN[:, part])


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_stays_in_its_row(value):
  x_TK, w_NK = make(np.random.default_rng(2), 9, 130, 33, np.float32)
  want_TN = multiply(x_TK, w_NK).copy()
  x_TK[4, 129] = x_TK[6, 5] = value
  want_TN[4], want_TN[6] = value * w_NK[:, 129], 0
  for isa in kernels.supported_isas():
    got_TN = multiply(x_TK, w_NK, np.arange(9) != 6, isa)
    np.testing.assert_array_equal(got_TN, want_TN)


def test_no_live_rows_give_zeros():
  x_TK, w_NK = make(np.random.default_rng(2), 9, 64, 33, np.float32)
  got_TN = multiply(x_TK, w_NK, np.zeros(9, bool))
  assert_same_bits(got_TN, np.zeros((9, 33), np.float32))


def test_shapes_that_do_not_agree_are_refused():
  for x, live, w in (
    ((5, 64), (4,), (3, 64)),
    ((5, 64), (5,), (3, 65)),
  ):
    with pytest.raises(jax.errors.JaxRuntimeError, match='do not agree'):
      kernels.float_product(jnp.ones(x), jnp.ones(live, bool), jnp.ones(w))
  with pytest.raises(AssertionError, match='rank'):
    kernels.float_product(jnp.ones(5), jnp.ones(5, bool), jnp.ones((3, 5)))


def test_a_weight_of_another_type_is_refused():
  w_NK = jnp.ones((3, 64), jnp.float16)
  with pytest.raises(jax.errors.JaxRuntimeError, match='weight type'):
    kernels.float_product(jnp.ones((5, 64)), jnp.ones(5, bool), w_NK)


def test_a_path_that_is_not_there_is_refused():
  x_TK, w_NK = make(np.random.default_rng(2), 2, 64, 32, np.float32)
  missing = set(kernels.ISAS) - set(kernels.supported_isas())
  assert missing  # no processor has both AVX and NEON
  for isa in missing:
    with pytest.raises(jax.errors.JaxRuntimeError, match='no such path'):
      multiply(x_TK, w_NK, isa=isa)


@pytest.mark.parametrize('dtype', DTYPES)
def test_a_layer_told_of_live_rows_uses_it(dtype):
  x_TK, w_NK = make(np.random.default_rng(4), 5, 70, 33, dtype)
  live_T = jnp.arange(5) != 2
  got_TN = np.asarray(jax.jit(quant.product)(x_TK, w_NK, live_T))
  rounded_TK = x_TK.astype(dtype).astype(np.float32)
  assert_same_bits(got_TN, multiply(rounded_TK, w_NK, np.arange(5) != 2))
  dense_TN = np.asarray(quant.product(jnp.asarray(x_TK), jnp.asarray(w_NK)))
  np.testing.assert_allclose(
    got_TN[[0, 1, 3, 4]], dense_TN[[0, 1, 3, 4]], rtol=1e-4, atol=1e-4
  )
