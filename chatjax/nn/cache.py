"""The paged key/value cache: pages in, pages out, never mutated.

A sequence owns a table of page numbers for each kind of layer; position p lives
in page `table[p // S]` at offset `p % S`. Page 0 is nobody's: rows that are not
in use write there.
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
  """One layer's pages: k and v, each float[pages, S, K, H]."""

  k: jax.Array
  v: jax.Array

  @property
  def page_size(self) -> int:
    return self.k.shape[1]


Cache = tuple[LayerCache, ...]


def init(
    *, pages_of_layer: Sequence[int], page_size: int, num_kv_heads: int,
    head_dim: int, dtype: str,
) -> Cache:  # fmt: skip
  """A cache of zeros, every layer with so many pages."""

  def zeros(num_pages):
    return jnp.zeros((num_pages, page_size, num_kv_heads, head_dim), dtype)

  return tuple(LayerCache(zeros(n), zeros(n)) for n in pages_of_layer)


def write_chunk(
  cache: LayerCache, k_TKH: jax.Array, v_TKH: jax.Array, pages_J: jax.Array
) -> LayerCache:
  """Writes whole pages of one sequence.

  Args:
    cache: the layer's pages.
    k_TKH: keys of T = J * S consecutive positions that start a page.
    v_TKH: their values.
    pages_J: i32[J], the pages that hold them.
  """
  size = cache.page_size
  k, v = cache.k, cache.v
  for j in range(k_TKH.shape[0] // size):
    part = slice(j * size, (j + 1) * size)
    start = (pages_J[j], 0, 0, 0)
    k = lax.dynamic_update_slice(k, k_TKH[None, part].astype(k.dtype), start)
    v = lax.dynamic_update_slice(v, v_TKH[None, part].astype(v.dtype), start)
  return LayerCache(k, v)


def write_rows(
  cache: LayerCache,
  k_BKH: jax.Array,
  v_BKH: jax.Array,
  page_B: jax.Array,
  offset_B: jax.Array,
) -> LayerCache:
  """Writes one position of each row's sequence."""
  # One small update per row: XLA's scatter is a slow loop on a CPU.
  k, v = cache.k, cache.v
  for b in range(k_BKH.shape[0]):
    start = (page_B[b], offset_B[b], 0, 0)
    k = lax.dynamic_update_slice(k, k_BKH[None, None, b].astype(k.dtype), start)
    v = lax.dynamic_update_slice(v, v_BKH[None, None, b].astype(v.dtype), start)
  return LayerCache(k, v)


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
  pages = read_page(cache, source, pool_of_layer=pool_of_layer)
  return write_page(cache, target, pages, pool_of_layer=pool_of_layer)


def read_page(
  cache: Cache, page: tuple[jax.Array, ...], *, pool_of_layer: Sequence[int]
) -> jax.Array:
  """One page of every layer, keys before values: float[L, 2, S, K, H]."""
  return jnp.stack([
      jnp.stack([layer.k[page[pool]], layer.v[page[pool]]])
      for layer, pool in zip(cache, pool_of_layer, strict=True)
  ])  # fmt: skip


def write_page(
  cache: Cache,
  page: tuple[jax.Array, ...],
  x_L2SKH: jax.Array,
  *,
  pool_of_layer: Sequence[int],
) -> Cache:
  """Puts what `read_page` returned into a page of every layer."""

  def put(x, one_SKH, number):
    return lax.dynamic_update_slice(x, one_SKH[None], (number, 0, 0, 0))

  return tuple(
      LayerCache(
          put(layer.k, x_L2SKH[i, 0], page[pool]),
          put(layer.v, x_L2SKH[i, 1], page[pool]),
      )
      for i, (layer, pool) in enumerate(zip(cache, pool_of_layer, strict=True))
  )  # fmt: skip
