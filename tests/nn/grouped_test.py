"""Weights in int8 in groups: rounding, packing, and what stands in for them."""

import functools
import logging

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chatjax.native import kernels
from chatjax.nn import grouped
from chatjax.nn import quant

GROUP, BLOCK = 64, 32

needs_kernels = pytest.mark.skipif(
  not kernels.is_available(), reason='the native kernels were not built'
)


def weights(*shape, seed=0) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def step_of(w_NK: np.ndarray) -> np.ndarray:
  """The step of every weight: a 127th of the largest one of its group."""
  step_NK = np.empty_like(w_NK)
  for start in range(0, w_NK.shape[1], GROUP):
    group = slice(start, start + GROUP)
    step_NK[:, group] = np.abs(w_NK[:, group]).max(1, keepdims=True) / 127
  return step_NK


def unpack(w: grouped.GroupedTensor, num_inputs: int) -> np.ndarray:
  """The weight by the definition of the layout."""
  n, k = np.ogrid[: w.matrix().shape[0], :num_inputs]
  values = w.packed[n // BLOCK, k // 4, n % BLOCK, k % 4].astype(np.float32)
  return (values - 128) * w.scale[n // BLOCK, k // GROUP, n % BLOCK]


dequantize = jax.jit(grouped.GroupedTensor.dequantize)


def on_device(w: grouped.GroupedTensor) -> grouped.GroupedTensor:
  return jax.tree.map(jnp.asarray, w)


@hypothesis.given(
  n=st.integers(1, 70), k=st.integers(1, 200), seed=st.integers(0, 99),
  spread=st.floats(-33, 30),
)  # fmt: skip
@hypothesis.settings(max_examples=60, deadline=None)
def test_error_is_at_most_half_a_step(n, k, seed, spread):
  w_NK = weights(n, k, seed=seed)
  w_NK *= np.float32(10**spread)
  w_NK[seed % n] = 0
  got_NK = unpack(grouped.GroupedTensor.quantize(w_NK, 1), k)
  assert (np.abs(got_NK - w_NK) <= 0.5001 * step_of(w_NK)).all()


def test_weights_too_small_for_a_scale_become_zeros():
  # 190 of the least denormal: a scale of 190 / 127 would be rounded to 1.
  w_NK = np.full((1, GROUP), 190 * 2.0**-149, np.float32)
  w = grouped.GroupedTensor.quantize(w_NK, 1)
  assert (w.packed == 128).all()
  assert (w.scale == 0).all()


def test_axes_of_outputs_and_inputs_are_merged():
  w = weights(3, 11, 2, 40)
  packed = grouped.GroupedTensor.quantize(w, 2)
  got = np.asarray(dequantize(on_device(packed)))
  assert got.shape == w.shape
  np.testing.assert_array_equal(got.reshape(33, 80), unpack(packed, 80))
  step = step_of(w.reshape(33, 80)).reshape(w.shape)
  assert (np.abs(got - w) <= 0.5001 * step).all()


def test_padding_is_zeros():
  w = grouped.GroupedTensor.quantize(weights(33, 65), 1)
  assert w.packed.shape == (2, 32, BLOCK, 4)
  assert w.scale.shape == (2, 2, BLOCK)
  assert (w.packed.shape, w.scale.shape) == grouped.packed_shapes((33, 65), 1)
  values = w.packed.astype(int) - 128
  assert (values[:, 17:] == 0).all()  # four inputs each, 64 and one of the rest
  assert (values[:, 16, :, 1:] == 0).all()
  assert (values[1, :, 1:] == 0).all()
  assert (w.scale[1, :, 1:] == 0).all()
  assert (values[0, :16].any((0, 2))).all()


def test_no_integer_is_128():
  # The AVX2 product of bytes is right only without it.
  w = grouped.GroupedTensor.quantize(weights(64, 256), 1)
  assert w.packed.min() == 1
  assert w.packed.max() == 255
  w = grouped.GroupedTensor.random(jax.random.key(0), (64, 256), 1)
  assert w.packed.min() == 1
  assert w.packed.max() == 255


def test_random_weights_have_the_variance_of_a_layer():
  w = grouped.GroupedTensor.random(jax.random.key(0), (8, 12, 256), 2)
  assert w.shape == (8, 12, 256)
  assert w.num_out_axes == 2
  spread = float(jnp.std(dequantize(w)))
  assert spread == pytest.approx(256**-0.5, rel=0.02)


def test_rows_of_a_table_are_rows_of_the_weight():
  packed = grouped.GroupedTensor.quantize(weights(70, 100), 1)
  table, ids = on_device(packed), jnp.asarray([69, 0, 31, 32, 32])
  rows = table.take_rows(ids)
  np.testing.assert_array_equal(rows, unpack(packed, 100)[np.asarray(ids)])
  np.testing.assert_array_equal(rows, quant.take_rows(table, ids))


def test_packing_by_parts_is_packing_the_whole():
  # So wide that the whole is packed two blocks at a time.
  w_NK = weights(133, 2**16)
  whole = grouped.GroupedTensor.quantize(w_NK, 1)
  for block in range(5):
    part = grouped.GroupedTensor.quantize(
      w_NK[block * BLOCK : (block + 1) * BLOCK], 1
    )
    np.testing.assert_array_equal(whole.packed[block], part.packed[0])
    np.testing.assert_array_equal(whole.scale[block], part.scale[0])


@needs_kernels
def test_product_multiplies_by_the_weight():
  w = on_device(grouped.GroupedTensor.quantize(weights(50, 150), 1))
  # A lone one in a group is rounded without error.
  got_KN = quant.product(jnp.eye(150), w)
  np.testing.assert_allclose(got_KN, dequantize(w).T, rtol=1e-6)


@needs_kernels
def test_product_of_dead_rows_is_zero():
  w = on_device(grouped.GroupedTensor.quantize(weights(50, 150), 1))
  x_TK = jnp.asarray(weights(4, 150, seed=1))
  whole_TN = w.product(x_TK, None)
  live_T = jnp.asarray([True, False, True, False])
  got_TN = w.product(x_TK, live_T)
  np.testing.assert_array_equal(got_TN, jnp.where(live_T[:, None], whole_TN, 0))


@pytest.fixture
def reloaded(monkeypatch):
  """Lets the library be looked for anew, and forgets it afterwards."""
  load = functools.cache(kernels._library.__wrapped__)
  monkeypatch.setattr(kernels, '_library', load)


def storages(caplog) -> tuple[list[str], list[str]]:
  with caplog.at_level(logging.WARNING, logger=kernels.__name__):
    found = [quant.storage('int8') for _ in range(3)]
  return found, [record.getMessage() for record in caplog.records]


def test_without_a_library_int8_is_per_channel(
  reloaded, monkeypatch, tmp_path, caplog
):
  monkeypatch.setattr(kernels, '__file__', str(tmp_path / 'kernels.py'))
  found, (warning,) = storages(caplog)
  assert found == ['int8_channel'] * 3
  assert 'were not built' in warning
  assert kernels.supported_isas() == ()


@needs_kernels
def test_a_stale_library_is_not_used(reloaded, monkeypatch, caplog):
  monkeypatch.setattr(kernels, 'VERSION', kernels.VERSION + 1)
  found, (warning,) = storages(caplog)
  assert found == ['int8_channel'] * 3
  assert 'of another version' in warning


@needs_kernels
def test_with_a_library_int8_is_grouped(reloaded, caplog):
  assert storages(caplog) == (['int8_grouped'] * 3, [])
  assert quant.storage('bfloat16') == 'bfloat16'
