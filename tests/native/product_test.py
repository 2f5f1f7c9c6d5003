"""The native int8 product: the bits it promises, against exact arithmetic."""

import concurrent.futures
import dataclasses
import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chatjax.native import kernels

pytestmark = pytest.mark.skipif(
  not kernels.is_available(), reason='the native kernels were not built'
)

GROUP, BLOCK = 64, 32
MAGNITUDES = {
  'normal': 1.0, 'zero': 0.0, 'denormal': 1e-40, 'tiny': 1e-30, 'large': 1e30
}  # fmt: skip
KINDS = (*MAGNITUDES, 'one huge', 'negative zeros', 'ties')


@dataclasses.dataclass(frozen=True)
class Case:
  x_TK: np.ndarray  # f32
  w_NK: np.ndarray  # i8
  scale_NG: np.ndarray  # f32

  @functools.cached_property
  def packed(self) -> tuple[jax.Array, jax.Array]:
    """The kernel's blocks; any value stands where there is no weight."""
    (num_outputs, num_inputs), num_groups = self.w_NK.shape, self.num_groups
    num_blocks = -(-num_outputs // BLOCK)
    packed = np.full((num_blocks, num_groups * 16, BLOCK, 4), 77, np.uint8)
    scale = np.full((num_blocks, num_groups, BLOCK), 7, np.float32)
    n, k = np.ogrid[:num_outputs, :num_inputs]
    packed[n // BLOCK, k // 4, n % BLOCK, k % 4] = self.w_NK.astype(int) + 128
    n, g = np.ogrid[:num_outputs, :num_groups]
    scale[n // BLOCK, g, n % BLOCK] = self.scale_NG
    return jnp.asarray(packed), jnp.asarray(scale)

  @property
  def num_groups(self) -> int:
    return self.scale_NG.shape[1]


def activations(rng, num_rows, num_inputs, kinds) -> np.ndarray:
  x_TK = rng.normal(size=(num_rows, num_inputs)).astype(np.float32)
  for row in x_TK:
    for start in range(0, num_inputs, GROUP):
      kind, x = rng.choice(kinds), row[start : start + GROUP]
      x *= np.float32(MAGNITUDES.get(kind, 1.0))
      if kind == 'one huge':
        x[rng.integers(len(x))] = 1e30
      elif kind == 'negative zeros':
        x[rng.random(len(x)) < 0.7] = -0.0
      elif kind == 'ties':  # halves of a step, but for a rounding
        step = rng.random(dtype=np.float32)
        x[:] = step * (rng.integers(-127, 127, len(x)) + np.float32(0.5))
        x[0] = step * 127
  return x_TK


@st.composite
def cases(draw) -> Case:
  num_rows = draw(st.one_of(st.integers(1, 40), st.just(130)))
  num_inputs, num_outputs = draw(st.integers(1, 300)), draw(st.integers(1, 100))
  kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, unique=True))
  is_extreme = draw(st.booleans())
  rng = np.random.default_rng(draw(st.integers(0, 2**32)))
  num_groups = -(-num_inputs // GROUP)
  w_NK = rng.integers(-127, 128, (num_outputs, num_inputs))
  if is_extreme:
    w_NK = np.where(w_NK < 0, -127, 127)
  exponent_NG = rng.uniform(-9, 0.5, (num_outputs, num_groups))
  return Case(
    activations(rng, num_rows, num_inputs, kinds),
    w_NK.astype(np.int8),
    np.float32(10**exponent_NG),
  )


int8_product = jax.jit(
  kernels.int8_product, static_argnames=('num_outputs', 'isa')
)


def multiply(case: Case, x_TK=None, live_T=None, isa=None) -> np.ndarray:
  x_TK = case.x_TK if x_TK is None else x_TK
  live_T = np.ones(len(x_TK), bool) if live_T is None else live_T
  num_outputs = len(case.w_NK)
  return np.asarray(
    int8_product(x_TK, live_T, *case.packed, num_outputs=num_outputs, isa=isa)
  )


def assert_same_bits(got, want):
  np.testing.assert_array_equal(got.view(np.int32), want.view(np.int32))


def exact(case: Case) -> tuple[np.ndarray, np.ndarray]:
  """The product of what was rounded, in float64, and how far off one may be."""
  num_groups = case.num_groups
  padding = ((0, 0), (0, num_groups * GROUP - case.x_TK.shape[1]))
  x_TGk = np.pad(case.x_TK, padding).reshape(-1, num_groups, GROUP)
  w_NGk = np.pad(case.w_NK, padding).reshape(-1, num_groups, GROUP)
  peak_TG = np.abs(x_TGk).max(axis=2)
  is_zero = peak_TG < np.float32(1e-30)
  inverse_TG = np.float32(127) / np.where(is_zero, np.float32(1), peak_TG)
  q_TGk = np.rint(x_TGk * inverse_TG[..., None]) * ~is_zero[..., None]
  dot_TNG = np.einsum('TGk,NGk->TNG', q_TGk, w_NGk.astype(np.float64))
  scale_TG = np.where(is_zero, 0, peak_TG / np.float32(127)).astype(np.float64)
  y_TNG = dot_TNG * scale_TG[:, None] * case.scale_NG
  # A rounding for each product of scales and for each sum; and XLA's threads
  # flush what is less than the least normal number, a scale or a sum, to zero.
  rounding = (num_groups + 1) * 2.0**-24 * np.abs(y_TNG).sum(2)
  flushing = 2.0**-126 * (1 + np.abs(dot_TNG)).sum(2)
  return y_TNG.sum(2), rounding + flushing


@hypothesis.given(case=cases(), seed=st.integers(0, 99))
@hypothesis.settings(max_examples=40, deadline=None)
def test_bits_depend_on_the_row_alone(case, seed):
  alone = [multiply(case, x_TK=row[None], isa='plain') for row in case.x_TK]
  want_TN = np.concatenate(alone)
  for isa in kernels.supported_isas():
    assert_same_bits(multiply(case, isa=isa), want_TN)
    live_T = np.random.default_rng(seed).random(len(want_TN)) < 0.5
    got_TN = multiply(case, live_T=live_T, isa=isa)
    assert_same_bits(got_TN, np.where(live_T[:, None], want_TN, 0))
  assert_same_bits(multiply(case), want_TN)


@hypothesis.given(case=cases())
@hypothesis.settings(max_examples=60, deadline=None)
def test_product_is_the_product_of_what_was_rounded(case):
  want_TN, tolerance_TN = exact(case)
  error_TN = np.abs(multiply(case) - want_TN)
  assert (error_TN <= tolerance_TN).all(), (error_TN / tolerance_TN).max()


def normal_case(num_rows, num_inputs, num_outputs) -> Case:
  rng = np.random.default_rng(0)
  num_groups = -(-num_inputs // GROUP)
  return Case(
    activations(rng, num_rows, num_inputs, ('normal',)),
    rng.integers(-127, 128, (num_outputs, num_inputs)).astype(np.int8),
    np.full((num_outputs, num_groups), 0.1 / num_inputs, np.float32),
  )


@pytest.mark.parametrize('isa', kernels.ISAS)
def test_every_width_of_a_tile(isa):
  if isa not in kernels.supported_isas():
    pytest.skip(f'this processor has no {isa}')
  case = normal_case(20, 130, 70)
  want_TN = multiply(case, isa='plain')
  for width in range(1, 21):
    got_TN = multiply(case, x_TK=case.x_TK[:width], isa=isa)
    assert_same_bits(got_TN, want_TN[:width])


def test_chunks_of_outputs_do_not_matter():
  # So many blocks are cut into chunks of several, one block is not cut at all.
  num_outputs = 600 * BLOCK
  case = normal_case(3, 70, num_outputs)
  whole_TN = multiply(case)
  for start in range(0, num_outputs, BLOCK):
    block = slice(start, start + BLOCK)
    part = Case(case.x_TK, case.w_NK[block], case.scale_NG[block])
    assert_same_bits(multiply(part), whole_TN[:, block])


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_stays_in_its_row(value):
  case = normal_case(9, 130, 33)
  x_TK = case.x_TK.copy()
  x_TK[0, 0] = x_TK[4, 129] = x_TK[6, 5] = value
  live_T = np.arange(9) != 6
  want_TN = multiply(case).copy()
  want_TN[[0, 4]], want_TN[6] = np.nan, 0
  for isa in kernels.supported_isas():
    got_TN = multiply(case, x_TK=x_TK, live_T=live_T, isa=isa)
    np.testing.assert_array_equal(got_TN, want_TN)


def test_no_live_rows_give_zeros():
  case = normal_case(9, 64, 33)
  got_TN = multiply(case, live_T=np.zeros(9, bool))
  assert_same_bits(got_TN, np.zeros((9, 33), np.float32))


@pytest.mark.parametrize(
  'shapes',
  [
    ((5, 64), (4,), (2, 16, 32, 4), (2, 1, 32)),
    ((5, 65), (5,), (2, 16, 32, 4), (2, 1, 32)),
    ((5, 64), (5,), (1, 16, 32, 4), (2, 1, 32)),
    ((5, 64), (5,), (2, 16, 32, 4), (2, 2, 32)),
  ],
)
def test_shapes_that_do_not_agree_are_refused(shapes):
  dtypes = (jnp.float32, jnp.bool_, jnp.uint8, jnp.float32)
  arrays = [jnp.ones(*which) for which in zip(shapes, dtypes, strict=True)]
  with pytest.raises(jax.errors.JaxRuntimeError, match='do not agree'):
    kernels.int8_product(*arrays, num_outputs=33).block_until_ready()


@pytest.mark.parametrize('shape', [(5,), (5, 64, 2)])
def test_an_input_of_another_rank_is_refused(shape):
  case = normal_case(5, 64, 33)
  with pytest.raises(AssertionError, match='rank'):
    multiply(case, x_TK=np.ones(shape, np.float32))


def test_a_path_that_is_not_there_is_refused():
  missing = set(kernels.ISAS) - set(kernels.supported_isas())
  assert missing  # no processor has both AVX and NEON
  for isa in missing:
    with pytest.raises(jax.errors.JaxRuntimeError, match='no such path'):
      multiply(normal_case(2, 64, 32), isa=isa)


def test_a_loop_on_the_device_gives_the_same_bits():
  case = normal_case(9, 96, 96)
  live_T = jnp.arange(9) != 3

  def step(x_TK):
    return kernels.int8_product(x_TK, live_T, *case.packed, num_outputs=96)

  @jax.jit
  def loop(x_TK):
    return jax.lax.while_loop(
      lambda carry: carry[0] < 7,
      lambda carry: (carry[0] + 1, step(carry[1])),
      (jnp.int32(0), x_TK),
    )[1]

  want_TN = jnp.asarray(case.x_TK)
  for _ in range(7):
    want_TN = step(want_TN)
  assert_same_bits(
    np.asarray(loop(jnp.asarray(case.x_TK))), np.asarray(want_TN)
  )
  assert np.abs(want_TN).max() > 0


def test_callers_in_threads_do_not_disturb_each_other():
  case = normal_case(16, 512, 4096)
  inputs = case.x_TK[:8], case.x_TK[7:]
  wants = [multiply(case, x_TK=x_TK) for x_TK in inputs]

  def call(x_TK):
    return [multiply(case, x_TK=x_TK) for _ in range(50)]

  with concurrent.futures.ThreadPoolExecutor(2) as threads:
    for want, gots in zip(wants, threads.map(call, inputs), strict=True):
      for got in gots:
        assert_same_bits(got, want)
