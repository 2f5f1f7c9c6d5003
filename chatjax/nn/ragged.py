"""Attention over cache pages by jax's ragged paged attention kernel for TPUs.

The kernel takes the queries of several sequences one after another and walks
each sequence's pages. Why a row's bits are its own:

* Each sequence walks its own blocks of pages, the first one first, as many as
  its own length asks for, with one running (max, sum, accumulator).
* The product with a block is taken for all queries that stand together, and
  only the sequence's own are stored: the others' part of it is thrown away. A
  row of a product does not depend on the other rows.
* Sizes of blocks are made of shapes that are known when a program is compiled,
  never of how many rows live or how long they are.
* Keys and values past a sequence's length are zeros before they are used.

The pages that a sliding window has left behind may be others' by now, so the
kernel is handed a table that begins with the first page that is seen.
"""

from __future__ import annotations

from collections.abc import Callable
import functools

import jax
from jax import lax
import jax.numpy as jnp

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.nn import cache as cache_lib
from chatjax.nn import sharding

P = jax.sharding.PartitionSpec

# What stands in a TPU's fast memory at once: queries of a decode step, which
# are each of another sequence, queries of a chunk, positions of a block, and
# bytes of a block's keys and values (there are two blocks, in turns).
_ROWS, _CHUNK, _POSITIONS, _BLOCK_BYTES = 8, 32, 512, 2**21
# Lanes of a vector, which is a head.
_LANES = 128
# Page numbers that fit into its scalar memory.
_MAX_TABLE = 2**17


def refusal(
  model: model_config.ModelConfig,
  engine: config_lib.EngineConfig,
  layout: sharding.Layout | None,
) -> str | None:
  """Why the kernel cannot run a model; None if it can."""
  heads = 1 if layout is None else layout.sizes['heads']
  num_kv_heads = model.num_kv_heads // heads
  dtype = engine.stored_cache_dtype
  if model.attention_sinks:
    return 'the kernel knows no attention sinks'
  if model.head_dim != _LANES:
    return f'head_dim={model.head_dim} is not {_LANES}'
  if dtype not in ('bfloat16', 'float32'):
    return f'the kernel knows no scale per position, which {dtype} has'
  # Keys and values of a device's heads have to fill tiles of 1, 2, 4 or 8 rows
  # of 32 bits.
  rows = 2 * num_kv_heads * jnp.dtype(dtype).itemsize // 4
  if rows not in (1, 2, 4) and rows % 8:
    return f'{num_kv_heads} heads of {dtype} on a device fill no whole tiles'
  if engine.num_rows * engine.pages_per_row > _MAX_TABLE:
    return (
      f'{engine.num_rows} rows of {engine.pages_per_row} pages are over'
      f' {_MAX_TABLE} page numbers'
    )
  return None


def of_rows(
  q_BKGH: jax.Array,
  k_BKH: jax.Array,
  v_BKH: jax.Array,
  cache: cache_lib.JointCache,
  tables_BP: jax.Array,
  positions_B: jax.Array,
  live_B: jax.Array,
  *,
  window: int | None,
  softcap: float | None,
  layout: sharding.Layout | None,
) -> tuple[jax.Array, cache_lib.JointCache]:
  """Writes and attends, one position of each of B sequences.

  Args:
    q_BKGH: scaled queries.
    k_BKH: keys of the same positions.
    v_BKH: values.
    cache: the layer's pages.
    tables_BP: i32[B, P], pages of the sequences.
    positions_B: i32[B].
    live_B: bool[B]; the others come back as zeros.
    window: positions that are seen, or None for all.
    softcap: bounds the logits, or None.
    layout: the mesh, or None for one device.

  Returns:
    f32[B, K, G, H] and the pages.
  """

  def attend(q_BKGH, k_BKH, v_BKH, cache, tables_BP, positions_B, live_B):
    size = cache.page_size
    page_B = cache_lib.page_of_rows(tables_BP, positions_B, live_B, size)
    cache = cache_lib.write_rows(
      cache, k_BKH, v_BKH, page_B, positions_B % size
    )
    # One position of what a dead row has is read, and thrown away.
    positions_B = jnp.where(live_B, positions_B, 0)
    q_RKGH, tables_RP, positions_R, live_R = (
      _own(layout, rows, x, 0) for x in (q_BKGH, tables_BP, positions_B, live_B)
    )
    q_RKGH = _own(layout, 'copies', q_RKGH, 2)
    tables_RP, skipped_R = _seen(tables_RP, positions_R, 1, window, size)
    R = q_RKGH.shape[0]
    out_RKGH = _kernel(
        q_RKGH, cache.kv, positions_R + 1 - skipped_R, tables_RP,
        jnp.arange(R + 1, dtype=jnp.int32), R,
        window=window, softcap=softcap, num_queries=min(R, _ROWS),
    )  # fmt: skip
    return jnp.where(live_R[:, None, None, None], out_RKGH, 0.0), cache

  is_split = layout is not None and not q_BKGH.shape[0] % layout.sizes['data']
  rows = 'data' if is_split else None
  return _on_mesh(layout, attend, rows)(
    q_BKGH, k_BKH, v_BKH, cache, tables_BP, positions_B, live_B
  )


def of_chunk(
  q_TKGH: jax.Array,
  k_TKH: jax.Array,
  v_TKH: jax.Array,
  cache: cache_lib.JointCache,
  table_P: jax.Array,
  start: jax.Array,
  live_T: jax.Array,
  *,
  window: int | None,
  softcap: float | None,
  layout: sharding.Layout | None,
) -> tuple[jax.Array, cache_lib.JointCache]:
  """Writes and attends, T positions of one sequence.

  Args:
    q_TKGH: scaled queries.
    k_TKH: keys of the same positions.
    v_TKH: values.
    cache: the layer's pages.
    table_P: i32[P], pages of the sequence.
    start: i32, the first position, which starts a page.
    live_T: bool[T], positions before the padding, which comes back as zeros.
    window: positions that are seen, or None for all.
    softcap: bounds the logits, or None.
    layout: the mesh, or None for one device.

  Returns:
    f32[T, K, G, H] and the pages.
  """

  def attend(q_TKGH, k_TKH, v_TKH, cache, table_P, start, live_T):
    T, size = q_TKGH.shape[0], cache.page_size
    pages_J = lax.dynamic_slice_in_dim(table_P, start // size, T // size)
    cache = cache_lib.write_chunk(cache, k_TKH, v_TKH, pages_J)
    count = jnp.maximum(jnp.sum(live_T, dtype=jnp.int32), 1)
    tables_1P, skipped_1 = _seen(table_P[None], start[None], T, window, size)
    out_TKGH = _kernel(
        _own(layout, 'copies', q_TKGH, 2), cache.kv,
        start + count - skipped_1, tables_1P,
        jnp.stack([jnp.zeros_like(count), count]), 1,
        window=window, softcap=softcap, num_queries=min(T, _CHUNK),
    )  # fmt: skip
    return jnp.where(live_T[:, None, None, None], out_TKGH, 0.0), cache

  return _on_mesh(layout, attend, None)(
    q_TKGH, k_TKH, v_TKH, cache, table_P, start, live_T
  )


def _on_mesh(
  layout: sharding.Layout | None,
  attend: Callable[..., tuple[jax.Array, cache_lib.JointCache]],
  rows: str | None,
) -> Callable[..., tuple[jax.Array, cache_lib.JointCache]]:
  """Runs `attend` on every device with the heads that are there.

  A kernel is opaque to the partitioner, and left to choose how new keys and
  values lie it may gather pages. So each device is given all queries of its
  key/value heads, and takes its own.

  Args:
    layout: the mesh, or None for one device.
    attend: of queries, keys, values, cache and three arrays more.
    rows: the axis of the mesh that splits the rows of the result.
  """
  if layout is None:
    return attend
  pages = P(None, None, 'heads')
  return jax.shard_map(
    attend,
    mesh=layout.mesh,
    in_specs=(*(P(None, 'heads'),) * 3, pages, *(P(),) * 3),
    out_specs=(P(rows, 'heads', 'copies'), pages),
    check_vma=False,
  )


def _own(
  layout: sharding.Layout | None, name: str | None, x: jax.Array, axis: int
) -> jax.Array:
  """A device's part of an axis that is split along one of the mesh."""
  if layout is None or name is None or layout.sizes[name] == 1:
    return x
  size = x.shape[axis] // layout.sizes[name]
  return lax.dynamic_slice_in_dim(x, lax.axis_index(name) * size, size, axis)


def _seen(
  tables_RP: jax.Array,
  position_R: jax.Array,
  num_queries: int,
  window: int | None,
  size: int,
) -> tuple[jax.Array, jax.Array]:
  """The pages that some queries see, and how many positions are before them.

  Args:
    tables_RP: i32[R, P], all pages of sequences.
    position_R: i32[R], the first query of each.
    num_queries: how many follow one another.
    window: positions that each sees, or None for all.
    size: positions of a page.
  """
  R, num_pages = tables_RP.shape
  if window is None:
    return tables_RP, jnp.zeros(R, jnp.int32)
  first_R = jnp.maximum(position_R - window + 1, 0) // size
  # So many pages the seen positions touch at most.
  span = window + num_queries - 1
  num_seen = min(num_pages, max(span - 2, 0) // size + 2)
  column_RP = first_R[:, None] + jnp.arange(num_seen)[None]
  column_RP = jnp.minimum(column_RP, num_pages - 1)
  return jnp.take_along_axis(tables_RP, column_RP, axis=1), first_R * size


def _kernel(
  q_TKGH, kv, length_R, tables_RP, border_R, num_seqs, *, window, softcap,
  num_queries,
):  # fmt: skip
  """What jax ships, with sizes of blocks that shapes alone decide."""
  # A second of imports, which nobody on another device has to wait for.
  from jax.experimental.pallas.ops.tpu import ragged_paged_attention as shipped

  T, K, G, H = q_TKGH.shape
  _, size, _, _ = kv.shape
  page_bytes = size * 2 * K * H * kv.dtype.itemsize
  num_pages = min(_POSITIONS // size, _BLOCK_BYTES // page_bytes)
  run = functools.partial(
    shipped.ragged_paged_attention,
    sliding_window=window,
    soft_cap=softcap,
    num_kv_pages_per_block=min(max(num_pages, 1), tables_RP.shape[1]),
    num_queries_per_block=num_queries,
  )
  # It is written for jax's default promotions.
  with jax.numpy_dtype_promotion('standard'), jax.numpy_rank_promotion('allow'):
    out_TNH = run(
        q_TKGH.reshape(T, K * G, H).astype(kv.dtype), kv, length_R, tables_RP,
        border_R, jnp.full(1, num_seqs, jnp.int32),
    )  # fmt: skip
  return out_TNH.reshape(T, K, G, H).astype(jnp.float32)
