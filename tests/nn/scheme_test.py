"""What every quantization has to keep, and what each of them promises."""

import dataclasses
import typing

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chatjax import config as config_lib
from chatjax.engine import footprint
from chatjax.models import filling
from chatjax.models import load
from chatjax.native import kernels
from chatjax.nn import floats
from chatjax.nn import int4
from chatjax.nn import quant
from chatjax.nn import scheme
from chatjax.nn import transformer
from chatjax.testing import hub_folder

ALL = [
  pytest.param(
    name,
    marks=pytest.mark.skipif(
      name == 'int8_grouped' and not kernels.is_available(),
      reason='the native kernels were not built',
    ),
  )
  for name in quant.SCHEMES
]
# Activations stay floats, so a product is that of the dequantized weight.
WEIGHT_ONLY = ['int8_weight', 'int4_weight']
# Of a product, where activations are rounded too.
TOLERANCES = {'int8_grouped': 0.01, 'int8_channel': 0.02, 'fp8': 0.06}


def weights(*shape, seed=0) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def quantized(name, w, num_out_axes=1) -> scheme.Quantized:
  made = quant.SCHEMES[name].weight.quantize(w, num_out_axes)
  return jax.tree.map(jnp.asarray, made)


def assert_same_bits(got, want):
  np.testing.assert_array_equal(
    np.asarray(got).view(np.int32), np.asarray(want).view(np.int32)
  )


def test_every_quantization_has_a_name_in_the_config():
  dtypes = {each.dtype for each in quant.SCHEMES.values()}
  assert dtypes | set(config_lib.FLOATS) == set(config_lib.DTYPES)
  for name, each in quant.SCHEMES.items():
    assert each.storage == name
    assert not typing.cast(typing.Any, each.weight).__abstractmethods__


@pytest.mark.parametrize('dtype', config_lib.DTYPES)
@pytest.mark.parametrize('is_mesh', [False, True])
def test_every_dtype_is_kept_somehow(dtype, is_mesh):
  name = quant.storage(dtype, is_mesh=is_mesh)
  assert name in quant.SCHEMES or name in config_lib.FLOATS
  assert quant.storage(name, is_mesh=is_mesh) == name


@hypothesis.given(
  n=st.integers(1, 9), groups=st.integers(1, 5), half=st.integers(4, 16),
  seed=st.integers(0, 99),
)  # fmt: skip
@hypothesis.settings(max_examples=40, deadline=None)
def test_int4_groups_are_packed_as_documented(n, groups, half, seed):
  w = weights(n, 3, groups * 2 * half, seed=seed)
  w[0, 0] = 0
  made = int4.Int4Tensor.quantize(w, 2)
  assert made.shape == w.shape
  assert made.packed.shape == (n, 3, groups * half)
  group = w.shape[-1] // made.scale.shape[-1]
  values = np.empty(w.shape, np.float32)
  for i in range(w.shape[-1]):
    at, k = divmod(i, group)
    byte = made.packed[..., at * group // 2 + k % (group // 2)]
    values[..., i] = (byte >> 4 if k >= group // 2 else byte & 15) - 8.0
  scale = np.repeat(made.scale.astype(np.float32), group, axis=-1)
  got = np.asarray(jax.tree.map(jnp.asarray, made).dequantize())
  np.testing.assert_array_equal(got, values * scale)
  error = np.abs(got - w)
  # The largest of a group becomes -8, its negative would become 8.
  inside = values < 7
  assert (error[inside] <= 0.52 * np.abs(scale)[inside]).all()
  assert (error <= 1.05 * np.abs(scale)).all()


# Of the variance of normal weights; int4 from -7 to 7 would lose 0.0094.
@pytest.mark.parametrize(('name', 'most'), [
    ('int8_grouped', 5e-5), ('int8_channel', 6e-5), ('int8_weight', 6e-5),
    ('int4_weight', 0.0078), ('fp8', 8e-4),
])  # fmt: skip
def test_what_rounding_loses(name, most):
  w = weights(64, 256)
  error = np.asarray(quantized(name, w).dequantize()) - w
  assert most / 3 < np.mean(np.square(error)) < most


def test_float8_errs_by_a_sixteenth():
  w = weights(40, 100)
  made = quantized('fp8', w)
  error = np.abs(np.asarray(made.dequantize()) - w)
  step = np.asarray(made.scale)[:, None] * 2.0**-10  # where numbers are denser
  assert (error <= np.maximum(np.abs(w) / 16, step) * 1.001).all()


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('shape', [(3, 11, 2, 40), (33, 24), (1, 1, 48)])
def test_rows_are_made_one_by_one_as_all_at_once(name, shape):
  num_out_axes = max(1, len(shape) - 2)
  w, kind = weights(*shape), quant.SCHEMES[name].weight
  w_NK = w.reshape(np.prod(shape[:num_out_axes]), -1)
  made = kind.empty(shape, num_out_axes)
  for start in range(0, len(w_NK), 5):
    made.put_rows(start, w_NK[start : start + 5])
  assert made.shape == shape
  assert made.num_out_axes == num_out_axes
  whole = kind.quantize(w, num_out_axes)
  jax.tree.map(np.testing.assert_array_equal, made, whole)
  flat = quantized(name, w, num_out_axes)
  assert flat.matrix().shape == w_NK.shape
  np.testing.assert_array_equal(
    flat.matrix().dequantize(), flat.dequantize().reshape(w_NK.shape)
  )


@pytest.mark.parametrize('name', ALL)
def test_zeros_stay_zeros_and_the_least_numbers_are_finite(name):
  w = np.zeros((3, 64), np.float32)
  w[1] = 190 * 2.0**-149
  made = np.asarray(quantized(name, w).dequantize())
  np.testing.assert_allclose(made, w, atol=2.0**-120)


@pytest.mark.parametrize('name', ALL)
def test_rows_of_a_table_are_rows_of_the_weight(name):
  table = quantized(name, weights(70, 96))
  ids = jnp.asarray([69, 0, 31, 32, 32])
  assert_same_bits(quant.take_rows(table, ids), table.dequantize()[ids])


@pytest.mark.parametrize('name', ALL)
def test_a_part_is_some_of_the_outputs(name):
  w = quantized(name, weights(6, 32, 64), 2)  # two blocks of each of three
  for index in range(3):
    part = quant.matrix(quant.part(w, jnp.int32(index), 3), 64)
    assert part.shape == (64, 64)
    np.testing.assert_array_equal(
      part.dequantize(),
      w.dequantize()[2 * index : 2 * index + 2].reshape(64, 64),
    )


@pytest.mark.parametrize('name', ALL)
def test_random_weights_have_the_variance_of_a_layer(name):
  kind = quant.SCHEMES[name].weight
  w = kind.random(jax.random.key(0), (8, 12, 256), 2)
  assert w.shape == (8, 12, 256)
  assert float(jnp.std(w.dequantize())) == pytest.approx(256**-0.5, rel=0.03)


@pytest.fixture(params=['native', 'XLA'])
def product(request, monkeypatch):
  """Products in blocks of ten outputs or less."""
  monkeypatch.setattr(floats, '_CPU_BLOCK', 960)
  if request.param == 'XLA':
    monkeypatch.setattr(kernels, 'is_available', lambda: False)
  elif not kernels.is_available():
    pytest.skip('the native kernels were not built')
  return jax.jit(quant.product)


@pytest.mark.parametrize('name', [*WEIGHT_ONLY, 'fp8'])
@pytest.mark.parametrize('live', [None, 'all'])
def test_a_product_is_that_of_the_dequantized_weight(product, name, live):
  x_TK, w = weights(5, 96, seed=1), quantized(name, weights(33, 96))
  want = x_TK @ np.asarray(w.dequantize()).T
  got = product(x_TK, w, live and jnp.ones(5, bool))
  error = np.abs(got - want).max() / np.abs(want).max()
  assert error < TOLERANCES.get(name, 1e-6)
  assert error > 1e-3 or name in WEIGHT_ONLY


@pytest.mark.parametrize('name', [*WEIGHT_ONLY, 'fp8'])
def test_a_row_has_its_bits_alone_and_in_every_crowd(product, name):
  w, rows = quantized(name, weights(45, 96)), 8
  x_TK = weights(rows, 96, seed=1)
  want = np.asarray(product(x_TK, w, jnp.ones(rows, bool)))
  for slot in range(rows):
    mates = weights(rows, 96, seed=slot + 2) * 100
    mates[slot] = x_TK[slot]
    for live in (np.ones(rows, bool), np.arange(rows) == slot):
      got = np.asarray(product(mates, w, live))
      assert_same_bits(got[slot], want[slot])
  moved = np.roll(np.arange(rows), 3)
  assert_same_bits(product(x_TK[moved], w, np.ones(rows, bool)), want[moved])


@pytest.mark.parametrize('name', [*WEIGHT_ONLY, 'fp8'])
def test_weights_stay_small_in_a_loop(name):
  """XLA would make floats of all of them at once, or before the loop."""
  many, size = 6, 512
  ws = [quantized(name, weights(size, size, seed=i)) for i in range(many)]

  @jax.jit
  def loop(x_TK, ws, n):
    live_T = jnp.ones(8, bool)

    def step(_, x_TK):
      for w in ws:
        x_TK = jnp.tanh(quant.product(x_TK, w, live_T))
      return x_TK

    return jax.lax.fori_loop(0, n, step, x_TK)

  made = loop.lower(jnp.ones((8, size)), ws, jnp.int32(3)).compile()
  as_float32 = many * 4 * size * size
  assert footprint.of(made).scratch < 0.6 * as_float32
  assert footprint.of(made).arguments < 0.3 * as_float32


def test_inputs_that_make_no_groups_are_refused():
  with pytest.raises(config_lib.ConfigError, match='The 94 inputs of a weight'):
    int4.Int4Tensor.empty((8, 94), 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Halves(scheme.Quantized):
  """A quantization of a test: numbers of 16 bits."""

  values: jax.Array
  num_out_axes: int = dataclasses.field(metadata={'static': True})

  @property
  def shape(self):
    return self.values.shape

  @classmethod
  def empty(cls, shape, num_out_axes):
    return cls(np.empty(shape, np.float16), num_out_axes)

  @classmethod
  def random(cls, key, shape, num_out_axes):
    values = jax.random.normal(key, shape, jnp.float16)
    return cls(values * shape[-1] ** -0.5, num_out_axes)

  def put_rows(self, start, rows_NK):
    values_NK = self.values.reshape(-1, rows_NK.shape[1])
    values_NK[start : start + len(rows_NK)] = rows_NK

  def matrix(self):
    num_outputs = np.prod(self.shape[: self.num_out_axes])
    return Halves(self.values.reshape(num_outputs, -1), 1)

  def dequantize(self, dtype=jnp.float32):
    return self.values.astype(dtype)

  def product(self, x_TK, live):
    return floats.product(x_TK, self.dequantize(), live)


def test_a_quantization_is_one_file_and_a_line(tmp_path, monkeypatch):
  """What the playbook in WORKSPACE.md promises."""
  added = scheme.Scheme(storage='float16', dtype='float16', weight=Halves)
  monkeypatch.setattr(quant, 'SCHEMES', {**quant.SCHEMES, 'float16': added})
  hub_folder.write(tmp_path / 'model')
  kept = {
    dtype: load.load(
      tmp_path / 'model', 'a' * 64, dtype=dtype, checkpoints=tmp_path / 'kept'
    )
    for dtype in ('float32', 'float16')
  }
  exact, halved = (filling.leaves(x.restore()) for x in kept.values())
  for name, leaf in halved.items():
    if quant.is_weight(leaf):
      np.testing.assert_array_equal(leaf.values, exact[name].astype(np.float16))
  assert isinstance(halved['layer_1.mlp.down.w'], Halves)
  ids = jnp.arange(9)
  want, ours = (
    transformer.Transformer(x.config, x.dtype).dense(x.restore(), ids)
    for x in kept.values()
  )
  np.testing.assert_allclose(ours, want, atol=0.01 * np.abs(want).max())
