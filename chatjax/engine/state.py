"""The decode state: one frozen struct, the same for one row and for all."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses

import jax
from jax import lax
import jax.numpy as jnp

from chatjax.sampling import logprobs
from chatjax.sampling import sampler

MAX_STOP_IDS = 64

# Why a row ended, as the device says it.
RUNNING, STOPPED, LIMIT, BROKEN = range(4)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Edits:
  """What changes a row's logits from one token to the next.

  Attributes:
    counts_V: i32[V], how often each token was drawn.
    in_prompt_V: bool[V].
    bias_V: f32[V], added to the logits; -inf bans.
  """

  counts_V: jax.Array
  in_prompt_V: jax.Array
  bias_V: jax.Array

  def row(self, b: jax.Array) -> Edits:
    """Those of one of the stacked rows."""
    return jax.tree.map(lambda x: x[b], self)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Masks:
  """What the rows of one step may draw, where they are not free.

  Attributes:
    is_on: bool.
    words_W: u32[ceil(V / 32)], see `types.Constraint`.
  """

  is_on: jax.Array
  words_W: jax.Array

  def allowed(self, vocab_size: int) -> jax.Array:
    """bool[V], of one row."""
    ids_V = jnp.arange(vocab_size, dtype=jnp.uint32)
    return (self.words_W[ids_V // 32] >> (ids_V % 32)) & 1 > 0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RowState:
  """What one sequence in flight needs; stacked, every field gains an axis B.

  Attributes:
    token: i32, the last one drawn; its keys and values are not yet written.
    position: i32, where `token` stands.
    step: i32, tokens drawn so far.
    limit: i32, draws at most.
    active: bool.
    key: u32[2], the choice's key; constant.
    params: the sampling parameters.
    is_edited: bool, whether `edits` can change a logit; where not, they are
      not even read.
    edits: penalties' counts and biases.
    stop_ids: i32[MAX_STOP_IDS], padded by -1.
    tables: i32[P] by page pool, the sequence's pages.
    num_top: i32, alternatives to report, 0 for none.
    report: i32, which log-probabilities are reported; see `logprobs`.
    is_measured: bool, whether tokens are measured; see `Measured`.
  """

  token: jax.Array
  position: jax.Array
  step: jax.Array
  limit: jax.Array
  active: jax.Array
  key: jax.Array
  params: sampler.SamplingParams
  is_edited: jax.Array
  edits: Edits
  stop_ids: jax.Array
  tables: tuple[jax.Array, ...]
  num_top: jax.Array
  report: jax.Array
  is_measured: jax.Array

  def edited(
    self, logits_V: jax.Array, edits: Callable[[], Edits]
  ) -> jax.Array:
    """One row's logits with its penalties and biases, f32[V].

    Args:
      logits_V: the model's own.
      edits: gives the row's; its own are not read.
    """

    def apply():
      made = edits()
      return sampler.edit_row(
        logits_V,
        self.params,
        counts_V=made.counts_V,
        in_prompt_V=made.in_prompt_V,
        bias_V=made.bias_V,
      )

    return lax.cond(self.is_edited, apply, lambda: logits_V)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Measured:
  """See `types.Measured`; zeros where nobody asked.

  Attributes:
    entropy: f32.
    rank: i32.
    free: i32, the token of the free draw.
  """

  entropy: jax.Array
  rank: jax.Array
  free: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Emitted:
  """One drawn token; stacked over steps and rows in a decode block.

  Attributes:
    token: i32, -1 where the row was not active.
    logprob: f32, as the row wants it reported.
    top_ids: i32[TOP], top_logprobs: f32[TOP]; rows that did not ask hold
      padding.
    finish: i32, RUNNING or why the row ended with this token.
    measured: of the token.
  """

  token: jax.Array
  logprob: jax.Array
  top_ids: jax.Array
  top_logprobs: jax.Array
  finish: jax.Array
  measured: Measured


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scores:
  """What a position says of a given token; stacked over a chunk.

  Attributes:
    logprob: f32, raw.
    rank: i32, 1 for the most likely token.
    top_ids, top_logprobs: as in `Emitted`.
  """

  logprob: jax.Array
  rank: jax.Array
  top_ids: jax.Array
  top_logprobs: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Change:
  """What the host tells the device before a decode block.

  Attributes:
    keep_B: bool[B]; the other rows are put out (ended or cancelled).
    index_B: i32[B], the entry of the tables that a row gains; P or more for
      none.
    pages: i32[B] by page pool, what stands there.
  """

  keep_B: jax.Array
  index_B: jax.Array
  pages: tuple[jax.Array, ...]

  def apply(self, state: RowState) -> RowState:
    """The stacked rows after the change."""
    rows_B = jnp.arange(self.keep_B.shape[0])
    tables = tuple(
      table_BP.at[rows_B, self.index_B].set(page_B, mode='drop')
      for table_BP, page_B in zip(state.tables, self.pages, strict=True)
    )
    active = state.active & self.keep_B
    return dataclasses.replace(state, active=active, tables=tables)


def no_token() -> Emitted:
  """What an inactive row emits."""
  return Emitted(
    token=jnp.int32(-1),
    logprob=jnp.float32(0),
    top_ids=jnp.zeros(logprobs.MAX_TOP, jnp.int32),
    top_logprobs=jnp.zeros(logprobs.MAX_TOP, jnp.float32),
    finish=jnp.int32(RUNNING),
    measured=not_measured(),
  )


def not_measured() -> Measured:
  """Of a token of which nobody asked."""
  return Measured(jnp.float32(0), jnp.int32(0), jnp.int32(0))


def inactive_row(
  *, vocab_size: int, pages_per_row: int, num_pools: int
) -> RowState:
  """A row that nobody uses."""
  zero = jnp.int32(0)
  return RowState(
      token=zero, position=zero, step=zero, limit=zero,
      active=jnp.bool_(False),
      key=jnp.zeros(2, jnp.uint32),
      params=sampler.default_params(),
      is_edited=jnp.bool_(False),
      edits=Edits(
        counts_V=jnp.zeros(vocab_size, jnp.int32),
        in_prompt_V=jnp.zeros(vocab_size, bool),
        bias_V=jnp.zeros(vocab_size, jnp.float32),
      ),
      stop_ids=jnp.full(MAX_STOP_IDS, -1, jnp.int32),
      tables=(jnp.zeros(pages_per_row, jnp.int32),) * num_pools,
      num_top=zero,
      report=zero,
      is_measured=jnp.bool_(False),
  )  # fmt: skip


def stack(row: RowState, num_rows: int) -> RowState:
  """`num_rows` copies of a row."""
  return jax.tree.map(
    lambda x: jnp.broadcast_to(x[None], (num_rows, *x.shape)).copy(), row
  )
