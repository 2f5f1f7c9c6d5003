"""The paged key/value cache: pages in, pages out, never mutated.

A sequence owns a table of page numbers for each kind of layer; position p lives
in page `table[p // S]` at offset `p % S`. Page 0 is nobody's: rows that are not
in use write there.

Keys stand with the positions last, values with the head last: so attention
never adds up across a vector, and a head of a page lies in one piece. A TPU's
kernel wants them in one array instead (`JointCache`); who writes, copies and
saves pages does not see which it is.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

import jax
from jax import lax
import jax.numpy as jnp

TRASH_PAGE = 0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerCache:
  """One layer's pages.

  Attributes:
    k: [pages, K, H, S] in float32, bfloat16 or int8.
    v: [pages, K, S, H], likewise.
    k_scale, v_scale: f32[pages, K, S] beside int8: one factor per position
      and head. None beside floats.
  """

  k: jax.Array
  v: jax.Array
  k_scale: jax.Array | None = None
  v_scale: jax.Array | None = None

  @property
  def page_size(self) -> int:
    return self.k.shape[-1]

  @property
  def heads_axis(self) -> int:
    """Along which a mesh splits pages."""
    return 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class JointCache:
  """One layer's pages with keys and values in one array, for TPUs.

  Attributes:
    kv: [pages, S, 2 * K, H] in float32 or bfloat16: of each head the key, then
      the value.
  """

  kv: jax.Array

  @property
  def page_size(self) -> int:
    return self.kv.shape[1]

  @property
  def heads_axis(self) -> int:
    """Along which a mesh splits pages."""
    return 2


Layer = LayerCache | JointCache
Cache = tuple[Layer, ...]


def init(
    *, pages_of_layer: Sequence[int], page_size: int, num_kv_heads: int,
    head_dim: int, dtype: str, is_joint: bool = False,
) -> Cache:  # fmt: skip
  """A cache of zeros, every layer with so many pages."""
  P, S, K, H = pages_of_layer, page_size, num_kv_heads, head_dim
  if is_joint:
    return tuple(
      JointCache(jnp.zeros((pages, S, 2 * K, H), dtype)) for pages in P
    )

  def scale(pages):
    return jnp.zeros((pages, K, S)) if dtype == 'int8' else None

  return tuple(
    LayerCache(
      k=jnp.zeros((pages, K, H, S), dtype),
      v=jnp.zeros((pages, K, S, H), dtype),
      k_scale=scale(pages),
      v_scale=scale(pages),
    )
    for pages in P
  )


def _stored(
  x_TKH: jax.Array, dtype: jnp.dtype
) -> tuple[jax.Array, jax.Array | None]:
  """Keys or values as the cache keeps them, and their scale [T, K]."""
  if dtype != jnp.int8:
    return x_TKH.astype(dtype), None
  scale_TK = jnp.max(jnp.abs(x_TKH), axis=-1) / 127
  divisor_TK = jnp.where(scale_TK == 0, 1.0, scale_TK)
  return jnp.round(x_TKH / divisor_TK[..., None]).astype(jnp.int8), scale_TK


def _joint(cache: JointCache, k_TKH: jax.Array, v_TKH: jax.Array) -> jax.Array:
  """Keys and values as one array keeps them: [T, 2 * K, H]."""
  T, K, H = k_TKH.shape
  return (
    jnp.stack([k_TKH, v_TKH], 2).reshape(T, 2 * K, H).astype(cache.kv.dtype)
  )


def write_chunk(
  cache: Layer, k_TKH: jax.Array, v_TKH: jax.Array, pages_J: jax.Array
) -> Layer:
  """Writes whole pages of one sequence.

  Args:
    cache: the layer's pages.
    k_TKH: keys of T = J * S consecutive positions that start a page.
    v_TKH: their values.
    pages_J: i32[J], the pages that hold them.
  """
  size = cache.page_size
  if isinstance(cache, JointCache):
    kv, new = cache.kv, _joint(cache, k_TKH, v_TKH)
    for j in range(new.shape[0] // size):
      kv = _put(kv, new[j * size : (j + 1) * size], pages_J[j])
    return JointCache(kv)
  k, v, k_scale, v_scale = cache.k, cache.v, cache.k_scale, cache.v_scale
  k_TKH, k_scale_TK = _stored(k_TKH, k.dtype)
  v_TKH, v_scale_TK = _stored(v_TKH, v.dtype)
  for j in range(k_TKH.shape[0] // size):
    part = slice(j * size, (j + 1) * size)
    k = _put(k, k_TKH[part].transpose(1, 2, 0), pages_J[j])
    v = _put(v, v_TKH[part].transpose(1, 0, 2), pages_J[j])
    if k_scale is not None:
      k_scale = _put(k_scale, k_scale_TK[part].T, pages_J[j])
      v_scale = _put(v_scale, v_scale_TK[part].T, pages_J[j])
  return LayerCache(k, v, k_scale, v_scale)


def page_of_rows(
  tables_BP: jax.Array, positions_B: jax.Array, live_B: jax.Array, size: int
) -> jax.Array:
  """Where each row writes: a page of its own, or nobody's."""
  index_B1 = (positions_B // size)[:, None]
  page_B = jnp.take_along_axis(tables_BP, index_B1, axis=1)[:, 0]
  return jnp.where(live_B, page_B, TRASH_PAGE)


def write_rows(
  cache: Layer,
  k_BKH: jax.Array,
  v_BKH: jax.Array,
  page_B: jax.Array,
  offset_B: jax.Array,
) -> Layer:
  """Writes one position of each row's sequence."""
  if isinstance(cache, JointCache):
    kv, new = cache.kv, _joint(cache, k_BKH, v_BKH)
    for b in range(new.shape[0]):
      kv = _put(kv, new[b][None], page_B[b], (offset_B[b], 0, 0))
    return JointCache(kv)
  # One small update per row: XLA's scatter is a slow loop on a CPU.
  k, v, k_scale, v_scale = cache.k, cache.v, cache.k_scale, cache.v_scale
  k_BKH, k_scale_BK = _stored(k_BKH, k.dtype)
  v_BKH, v_scale_BK = _stored(v_BKH, v.dtype)
  for b in range(k_BKH.shape[0]):
    page, offset = page_B[b], offset_B[b]
    k = _put(k, k_BKH[b][:, :, None], page, (0, 0, offset))
    v = _put(v, v_BKH[b][:, None], page, (0, offset, 0))
    if k_scale is not None:
      k_scale = _put(k_scale, k_scale_BK[b][:, None], page, (0, offset))
      v_scale = _put(v_scale, v_scale_BK[b][:, None], page, (0, offset))
  return LayerCache(k, v, k_scale, v_scale)


def _put(
  pages: jax.Array,
  x: jax.Array,
  page: jax.Array,
  place: tuple[jax.Array | int, ...] | None = None,
) -> jax.Array:
  """Puts `x` into one page, from its beginning or from `place` on."""
  place = place or (0,) * x.ndim

  def put(pages, x, *place):
    return lax.dynamic_update_slice(pages, x[None], place)

  def put_bits(pages, x, *place):
    written = put(_bits(pages), _bits(x), *place)
    return lax.bitcast_convert_type(written, pages.dtype)

  return _move(put, put_bits, pages, x, page, *place)


def read_float(pages: jax.Array, page: jax.Array) -> jax.Array:
  """One page in float32."""

  def take(pages, page):
    return pages[page]

  def take_bits(pages, page):
    return lax.bitcast_convert_type(take(_bits(pages), page), pages.dtype)

  return _move(take, take_bits, pages, page).astype(jnp.float32)


def _move(plainly, as_bits, pages: jax.Array, *args: jax.Array) -> jax.Array:
  """Moves bfloat16 as bits on a CPU, which would make float32 of all pages.

  On a TPU, where bits are another form, that would copy them all.
  """
  if pages.dtype != jnp.bfloat16:
    return plainly(pages, *args)
  return lax.platform_dependent(pages, *args, cpu=as_bits, default=plainly)


def _bits(x: jax.Array) -> jax.Array:
  return lax.bitcast_convert_type(x, jnp.uint16)


# Whole pages of a sequence. Layers of one kind share a page pool, so a page is
# named by one number per pool; `pool_of_layer` says which a layer goes by.


def copy_page(
  cache: Cache,
  source: tuple[jax.Array, ...],
  target: tuple[jax.Array, ...],
  *,
  pool_of_layer: Sequence[int],
) -> Cache:
  """Copies one page on every layer (a forked sequence's tail)."""
  page = read_page(cache, source, pool_of_layer=pool_of_layer)
  return write_page(cache, page, target, pool_of_layer=pool_of_layer)


def read_page(
  cache: Cache, page: tuple[jax.Array, ...], *, pool_of_layer: Sequence[int]
) -> Layer:
  """One page of every layer, stacked: [L, ...] instead of [pages, ...]."""
  pages = [
    jax.tree.map(lambda x, n=page[pool]: x[n], layer)
    for layer, pool in zip(cache, pool_of_layer, strict=True)
  ]
  return jax.tree.map(lambda *layers: jnp.stack(layers), *pages)


def write_page(
  cache: Cache,
  saved: Layer,
  page: tuple[jax.Array, ...],
  *,
  pool_of_layer: Sequence[int],
) -> Cache:
  """Puts what `read_page` returned into a page of every layer."""
  return tuple(
    jax.tree.map(lambda x, y, i=i, n=page[pool]: _put(x, y[i], n), layer, saved)
    for i, (layer, pool) in enumerate(zip(cache, pool_of_layer, strict=True))
  )
