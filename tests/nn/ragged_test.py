"""Attention by the TPU's kernel, interpreted on a CPU, equals our own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chatjax import config as config_lib
from chatjax.nn import attention
from chatjax.nn import cache as cache_lib
from chatjax.nn import paged
from chatjax.nn import ragged
from chatjax.nn import rope
from chatjax.nn import sharding
from chatjax.testing import tiny
from tests.nn import interpreted

K, G, H, SIZE = 2, 2, 128, 8
B, PER_ROW, CHUNK = 8, 6, 16
# Of the largest output: float32 is summed in another order, bfloat16 rounds the
# queries too, which our own attention keeps in float32.
TOLERANCE = {'float32': 1e-6, 'bfloat16': 1e-2}
# Around the borders of pages, blocks and windows.
POSITIONS = np.asarray([0, 7, 8, 15, 16, 30, 47, 3], np.int32)
LIVE = np.asarray([True, True, True, True, True, False, True, True])
KINDS = [
  (None, None, 'float32'),
  (10, 5.0, 'float32'),
  pytest.param(10, None, 'bfloat16', marks=pytest.mark.slow),
  pytest.param(1, None, 'float32', marks=pytest.mark.slow),
  pytest.param(None, 5.0, 'bfloat16', marks=pytest.mark.slow),
]


@pytest.fixture(autouse=True)
def blocks(monkeypatch):
  # Several blocks of queries and of pages.
  for name, size in {'_ROWS': 4, '_CHUNK': 8, '_POSITIONS': 16}.items():
    monkeypatch.setattr(ragged, name, size)
  with interpreted.kernels():
    yield


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def tables():
  """i32[B, P]: no two rows share a page, and none has page 0."""
  order = np.random.default_rng(0).permutation(np.arange(1, 1 + B * PER_ROW))
  return order.reshape(B, PER_ROW).astype(np.int32)


def filled(dtype, stops, window=None):
  """Pages apart and joint: NaN where a row's query must not look.

  Args:
    dtype: of the pages.
    stops: positions that each row has.
    window: what a row left behind is NaN too.
  """
  k, v = normal(1, 2, B, PER_ROW * SIZE, K, H)
  for row, stop in enumerate(stops):
    first = 0 if window is None else max(stop - window + 1, 0) // SIZE * SIZE
    for x in (k, v):
      x[row, stop:] = x[row, :first] = np.nan
  for is_joint in (False, True):
    (layer,) = cache_lib.init(
        pages_of_layer=[1 + B * PER_ROW], page_size=SIZE, num_kv_heads=K,
        head_dim=H, dtype=dtype, is_joint=is_joint,
    )  # fmt: skip
    yield jax.jit(cache_lib.write_chunk)(
      layer, *(x.reshape(-1, K, H) for x in (k, v)), tables().reshape(-1)
    )


def heads(num, softcap, seed=2):
  q, (k, v) = normal(seed, num, K, G, H), normal(seed + 1, 2, num, K, H)
  return attention.Heads(
    *(jnp.asarray(x) for x in (q, k, v)),
    rope.no_angles(num, H),
    scale=H**-0.5,
    softcap=softcap,
  )


@functools.cache
def rows_by(method, window, softcap, layout=None):
  def run(q, k, v, cache, tables_BP, positions_B, live_B):
    attend = attention.Rows(tables_BP, positions_B, live_B, method)
    part = attention.Heads(
      q, k, v, rope.no_angles(len(q), H), H**-0.5, None, softcap, layout
    )
    return attend(part, cache, window)

  return jax.jit(run)


def run_rows(method, cache, window, softcap, *, slots=None, layout=None):
  """All rows in a crowd, or only those in some slots, and whom they are.

  Args:
    method: see `paged.Method`.
    cache: pages of all rows.
    window: positions that are seen.
    softcap: bounds the logits.
    slots: slot -> row that stands there; others are dead. None is all in order.
    layout: the mesh.
  """
  live, order = LIVE, np.arange(B)
  if slots is not None:
    live, order = np.zeros(B, bool), np.full(B, 5)
    for slot, row in slots.items():
      live[slot], order[slot] = True, row
  part = heads(B, softcap)
  out, cache = rows_by(method, window, softcap, layout)(
      part.q_TKGH[order], part.k_TKH[order], part.v_TKH[order], cache,
      jnp.asarray(tables()[order]), jnp.asarray(POSITIONS[order]),
      jnp.asarray(live),
  )  # fmt: skip
  return np.asarray(out), cache


def parted(cache):
  """Keys and values f32[pages, S, K, H] of a joint cache's layer."""
  kv = np.asarray(cache.kv, np.float32)
  return kv[:, :, 0::2], kv[:, :, 1::2]


def assert_same_pages(apart, joint):
  """All but page 0, where dead rows write."""
  k, v = parted(joint)
  want_k, want_v = (np.asarray(x, np.float32) for x in (apart.k, apart.v))
  np.testing.assert_array_equal(k[1:], want_k.transpose(0, 3, 1, 2)[1:])
  np.testing.assert_array_equal(v[1:], want_v.transpose(0, 2, 1, 3)[1:])


def assert_close(ours, want, dtype):
  assert np.isfinite(want).all()
  error = np.abs(ours - want).max() / np.abs(want).max()
  assert error < TOLERANCE[dtype]


@pytest.mark.parametrize(('window', 'softcap', 'dtype'), KINDS)
def test_rows_are_those_of_our_attention(window, softcap, dtype):
  apart, joint = filled(dtype, POSITIONS, window)
  want, apart = run_rows('map', apart, window, softcap)
  ours, joint = run_rows('ragged', joint, window, softcap)
  assert_close(ours, want, dtype)
  np.testing.assert_array_equal(ours[~LIVE], 0)
  assert_same_pages(apart, joint)


@pytest.mark.parametrize(('window', 'softcap'), [(None, None), (10, 5.0)])
def test_a_rows_bits_are_its_own(window, softcap):
  """In a crowd, alone, in another slot; whatever stands in others' pages."""
  _, joint = filled('float32', POSITIONS, window)
  crowd, _ = run_rows('ragged', joint, window, softcap)
  clean = jax.tree.map(jnp.nan_to_num, joint)
  for row, slot in ((6, 6), (3, 0), (1, 7), (4, 2)):
    alone, _ = run_rows('ragged', clean, window, softcap, slots={slot: row})
    np.testing.assert_array_equal(
      alone[slot].view(np.int32), crowd[row].view(np.int32)
    )
  assert len({row.tobytes() for row in crowd}) == B


def test_devices_take_their_own_heads_and_rows():
  model = dataclasses.replace(
    tiny.CONFIGS['gemma3'], num_heads=K * G, num_kv_heads=K, head_dim=H
  )
  mesh = config_lib.MeshConfig(data=2, model=4)
  layout = sharding.layout(mesh, model)
  assert layout.sizes == {'data': 2, 'expert': 1, 'heads': 2, 'copies': 2}
  _, joint = filled('float32', POSITIONS)
  want, _ = run_rows('ragged', joint, None, None)
  placed = jax.device_put(joint, layout.cache(joint))
  assert placed.kv.addressable_shards[0].data.shape[2] == K
  ours, after = run_rows('ragged', placed, None, None, layout=layout)
  np.testing.assert_array_equal(ours, want)
  assert after.kv.sharding.is_equivalent_to(placed.kv.sharding, 4)


@functools.cache
def chunk_by(method, window, softcap):
  def run(cache, table_P, start, count):
    positions_T = start + jnp.arange(CHUNK, dtype=jnp.int32)
    live_T = jnp.arange(CHUNK) < count
    attend = attention.Chunk(table_P, positions_T, live_T, method)
    return attend(heads(CHUNK, softcap), cache, window)

  return jax.jit(run)


@pytest.mark.parametrize(('window', 'softcap', 'dtype'), KINDS)
def test_chunks_are_those_of_our_attention(window, softcap, dtype):
  for start, count in ((0, CHUNK), (16, CHUNK), (32, 5), (0, 1)):
    apart, joint = filled(dtype, [start] * B, window)
    args = jnp.asarray(tables()[3]), jnp.int32(start), jnp.int32(count)
    want, apart = chunk_by('map', window, softcap)(apart, *args)
    ours, joint = chunk_by('ragged', window, softcap)(joint, *args)
    assert_close(np.asarray(ours[:count]), np.asarray(want[:count]), dtype)
    np.testing.assert_array_equal(ours[count:], 0)
    assert_same_pages(apart, joint)


def test_pages_are_copied_and_saved_like_others():
  _, joint = filled('float32', [PER_ROW * SIZE] * B)
  cache, (three, nine, seven) = (
    (joint, joint),
    ((jnp.int32(n),) for n in (3, 9, 7)),
  )
  copy_page, read_page, write_page = (
    jax.jit(functools.partial(fn, pool_of_layer=(0, 0)))
    for fn in (cache_lib.copy_page, cache_lib.read_page, cache_lib.write_page)
  )
  saved = read_page(copy_page(cache, three, nine), nine)
  assert saved.kv.shape == (2, SIZE, 2 * K, H)
  for layer in write_page(cache, saved, seven):
    np.testing.assert_array_equal(layer.kv[7], joint.kv[3])
    np.testing.assert_array_equal(layer.kv[6], joint.kv[6])
    assert (layer.kv[7] != joint.kv[7]).any()


class Tpus:
  """A mesh of TPUs, as far as the choice of a method sees it."""

  platform = 'tpu'

  def __init__(self, heads=1):
    self.sizes = {'data': 1, 'expert': 1, 'heads': heads, 'copies': 1}


MODEL = dataclasses.replace(
  tiny.CONFIGS['gemma3'], num_heads=32, num_kv_heads=8, head_dim=128
)
ENGINE = config_lib.EngineConfig(dtype='bfloat16')


@pytest.mark.parametrize('heads', [1, 2, 4, 8])
def test_the_kernel_is_chosen_on_tpus(heads):
  assert paged.best_method(MODEL, Tpus(heads), ENGINE) == 'ragged'


@pytest.mark.parametrize(('model', 'engine', 'why'), [
    ({'attention_sinks': True}, {}, 'sinks'),
    ({'head_dim': 64}, {}, 'head_dim=64'),
    ({'head_dim': 256}, {}, 'head_dim=256'),
    ({}, {'cache_dtype': 'int8'}, 'int8'),
    ({'num_heads': 24, 'num_kv_heads': 6}, {}, '6 heads of bfloat16'),
    ({}, {'max_rows': 256, 'context': 65536}, 'page numbers'),
])  # fmt: skip
def test_what_the_kernel_cannot_do_runs_without_it(model, engine, why):
  model = dataclasses.replace(MODEL, **model)
  engine = dataclasses.replace(ENGINE, **engine)
  assert why in ragged.refusal(model, engine, Tpus())
  assert paged.best_method(model, Tpus(), engine) == 'vmap'
