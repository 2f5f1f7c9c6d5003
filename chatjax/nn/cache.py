"""The paged key/value cache: pages in, pages out, never mutated.

A sequence owns a table of page numbers; position p lives in page
`table[p // S]` at offset `p % S`. Page 0 is nobody's: rows that are not in
use write there.
"""

from __future__ import annotations

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
    *, num_layers: int, num_pages: int, page_size: int, num_kv_heads: int,
    head_dim: int, dtype: str,
) -> Cache:  # fmt: skip
  """A cache of zeros."""
  shape = (num_pages, page_size, num_kv_heads, head_dim)
  return tuple(
    LayerCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))
    for _ in range(num_layers)
  )


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


def copy_page(cache: Cache, source: jax.Array, target: jax.Array) -> Cache:
  """Copies one page of every layer (a forked sequence's tail)."""

  def copy(x):
    page = lax.dynamic_index_in_dim(x, source, axis=0)
    return lax.dynamic_update_slice_in_dim(x, page, target, axis=0)

  return jax.tree.map(copy, cache)
