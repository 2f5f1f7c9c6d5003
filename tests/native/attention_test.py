"""Attention over pages and the gate: bits on every path, and the numbers."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from chatjax.native import kernels

pytestmark = pytest.mark.skipif(
  not kernels.is_available(), reason='the native kernels were not built'
)
DTYPES = {
  'float32': np.float32,
  'bfloat16': ml_dtypes.bfloat16,
  'int8': np.int8,
}


def make(rng, *, T, K, G, H, S, P, dtype, shared):
  """Arguments of a call, every row with pages of its own."""
  tables = 1 if shared else T
  normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
  scales = (tables * P + 1, K, S) if dtype == 'int8' else (0,)

  def pages(*shape):
    x = normal(tables * P + 1, K, *shape)
    if dtype == 'int8':
      return (x * 40).clip(-127, 127).astype(np.int8)
    return x.astype(DTYPES[dtype])

  angle = normal(T, H // 2)
  if shared:  # consecutive positions of one sequence
    first = rng.integers(0, P * S - T + 1)
    positions = np.arange(first, first + T)
  else:
    positions = rng.integers(0, P * S, T)
  return {
    'q': normal(T, K, G, H), 'k': normal(T, K, H), 'v': normal(T, K, H),
    'angles': (np.cos(angle), np.sin(angle)),
    'tables': 1 + rng.permutation(tables * P).reshape(tables, P),
    'positions': positions,
    'pages': (pages(H, S), pages(S, H),
              np.abs(normal(*scales)) / 40, np.abs(normal(*scales)) / 40),
  }  # fmt: skip


def call(a, live, window, isa=None):
  out, pages = kernels.attention(
    jnp.asarray(a['q']), jnp.asarray(a['k']), jnp.asarray(a['v']),
    tuple(map(jnp.asarray, a['angles'])),
    jnp.asarray(a['tables'], jnp.int32), jnp.asarray(a['positions'], jnp.int32),
    jnp.asarray(live), tuple(map(jnp.asarray, a['pages'])),
    scale=0.25, window=window, isa=isa,
  )  # fmt: skip
  return np.asarray(out), [np.asarray(x) for x in pages]


def rotate(x, cos, sin):
  one, two = np.split(x, 2, axis=-1)
  return np.concatenate([one * cos - two * sin, two * cos + one * sin], -1)


def wanted(a, pages, live, window):
  """In float64, from the pages as they were written."""
  k, v, k_scale, v_scale = (np.asarray(x, np.float64) for x in pages)
  if k_scale.size:
    k, v = k * k_scale[:, :, None], v * v_scale[..., None]
  S = k.shape[-1]
  out = np.zeros(a['q'].shape)
  for t in np.flatnonzero(live):
    position = a['positions'][t]
    table = a['tables'][t if len(a['tables']) > 1 else 0]
    seen = np.arange(max(0, position - window + 1) if window else 0,
                     position + 1)  # fmt: skip
    cos, sin = (x[t].astype(np.float64) for x in a['angles'])
    q = rotate(a['q'][t].astype(np.float64), cos, sin) * 0.25
    for head in range(q.shape[0]):
      keys = k[table[seen // S], head, :, seen % S]
      values = v[table[seen // S], head, seen % S]
      logits = q[head] @ keys.T
      weights = np.exp(logits - logits.max(-1, keepdims=True))
      out[t, head] = weights @ values / weights.sum(-1, keepdims=True)
  return out


SHAPES = st.fixed_dictionaries({
  'T': st.integers(1, 5), 'K': st.integers(1, 2), 'G': st.integers(1, 10),
  'H': st.sampled_from([2, 8, 30, 32, 64]),
  'S': st.sampled_from([5, 8, 16, 40]),
  'P': st.integers(1, 3), 'dtype': st.sampled_from(list(DTYPES)),
  'shared': st.booleans(),
})  # fmt: skip


@hypothesis.given(
  shape=SHAPES, seed=st.integers(0, 99), window=st.sampled_from([0, 1, 7, 20])
)
@hypothesis.settings(max_examples=12, deadline=None)
def test_every_path_gives_the_same_bits_and_they_are_right(shape, seed, window):
  hypothesis.assume(shape['T'] <= shape['P'] * shape['S'])
  rng = np.random.default_rng(seed)
  a = make(rng, **shape)
  live = rng.random(shape['T']) < 0.8
  out, pages = call(a, live, window)
  assert not out[~live].any()
  np.testing.assert_allclose(
    out, wanted(a, pages, live, window), rtol=0, atol=2e-5
  )
  for isa in kernels.supported_isas():
    other, other_pages = call(a, live, window, isa)
    np.testing.assert_array_equal(other.view(np.int32), out.view(np.int32))
    for got, want in zip(other_pages, pages, strict=True):
      assert got.tobytes() == want.tobytes(), isa
  # What is written, where, and nothing else.
  for t in np.flatnonzero(live)[-1:]:
    page = a['tables'][t if len(a['tables']) > 1 else 0][
      a['positions'][t] // shape['S']
    ]
    stored = pages[1][page, :, a['positions'][t] % shape['S']].astype(float)
    if shape['dtype'] == 'int8':
      stored *= pages[3][page, :, a['positions'][t] % shape['S'], None]
    np.testing.assert_allclose(stored, a['v'][t], rtol=0.01, atol=0.02)
  assert pages[0][0].tobytes() == a['pages'][0][0].tobytes()


@pytest.mark.parametrize('dtype', DTYPES)
def test_a_row_alone_is_the_row_in_a_crowd(dtype):
  rng = np.random.default_rng(5)
  a = make(
    rng, T=16, K=2, G=7, H=64, S=64, P=2, dtype=dtype, shared=False
  )  # fmt: skip
  crowd, _ = call(a, np.ones(16, bool), 0)
  for t in (0, 7, 15):
    alone, _ = call(a, np.arange(16) == t, 0)
    np.testing.assert_array_equal(
      alone[t].view(np.int32), crowd[t].view(np.int32)
    )


def test_what_is_not_a_number_stays_in_its_row():
  a = make(
    np.random.default_rng(1), T=3, K=1, G=2, H=16, S=16, P=1, dtype='float32',
    shared=False,
  )  # fmt: skip
  a['q'][1, 0, 1, 3] = np.nan
  out, _ = call(a, np.ones(3, bool), 0)
  assert np.isnan(out[1, 0, 1]).all()
  assert np.isfinite(np.delete(out.reshape(6, -1), 3, axis=0)).all()


@pytest.mark.parametrize('activation', ['silu', 'gelu_tanh'])
def test_the_gate(activation):
  rng = np.random.default_rng(2)
  x = (rng.normal(size=(5, 2, 37)) * 6).astype(np.float32)
  x[0, 0, :4] = [0.0, -0.0, 90.0, -200.0]
  live = np.array([True, True, False, True, True])
  outs = [
    np.asarray(kernels.gate(x, live, activation=activation, isa=isa))
    for isa in (None, *kernels.supported_isas())
  ]
  for other in outs[1:]:
    np.testing.assert_array_equal(other.view(np.int32), outs[0].view(np.int32))
  act = {'silu': jax.nn.silu, 'gelu_tanh': jax.nn.gelu}[activation]
  want = np.asarray(act(jnp.asarray(x[:, 0]))) * x[:, 1]
  np.testing.assert_allclose(outs[0][live], want[live], rtol=2e-5, atol=1e-5)
  assert not outs[0][~live].any()
