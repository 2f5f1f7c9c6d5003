"""The device programs: prefill, score, admit, decode.

All are pure functions; shapes come from the configs and the width of
`live.rows`, everything else is data. Which of them computed a position
depends on the request alone, and at one compiled shape a row's bits do not
depend on its neighbours: that is the seed contract's ground.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import math
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from chatjax import model_config
from chatjax.engine import loan as loan_lib
from chatjax.engine import measure
from chatjax.engine import state as state_lib
from chatjax.nn import attention
from chatjax.nn import cache as cache_lib
from chatjax.nn import paged
from chatjax.nn import quant
from chatjax.nn import transformer
from chatjax.sampling import logprobs
from chatjax.sampling import padded
from chatjax.sampling import processors
from chatjax.sampling import reported
from chatjax.sampling import sampler

RowState = state_lib.RowState
Emitted = state_lib.Emitted

# XLA's one-row int8 product is 15 times slower than the two-row one.
_SCORE_ROWS = 2
# All positions of a chunk at once would be 80 MB of logits.
_CHUNK_ROWS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
  """The programs of one model, as functions still to be jitted.

  Attributes:
    model: the decoder.
    max_steps: most tokens per row and decode block.
    method: how rows are run; see `paged.Method`.
  """

  model: transformer.Transformer
  max_steps: int
  method: paged.Method

  def prefill(
      self, params: Any, cache: cache_lib.Cache, tokens_C: jax.Array,
      num_tokens: jax.Array, start: jax.Array, tables: tuple[jax.Array, ...],
  ) -> tuple[jax.Array, cache_lib.Cache]:  # fmt: skip
    """Runs one chunk of one sequence.

    Args:
      params: the model's.
      cache: donated.
      tokens_C: i32[C], padded at the end of the prompt.
      num_tokens: i32, those before the padding.
      start: i32, a multiple of C.
      tables: i32[P] by page pool.

    Returns:
      Hidden states f32[C, D] and the cache.
    """
    positions_C = start + jnp.arange(tokens_C.shape[0], dtype=jnp.int32)
    live_C = jnp.arange(tokens_C.shape[0]) < num_tokens
    attend = {
      kind: attention.Chunk(table_P, positions_C, live_C, self.method)
      for kind, table_P in zip(self._kinds, tables, strict=True)
    }
    return self.model.hidden(
      params, self._spread(tokens_C), positions_C, attend, cache, live_C
    )

  def score(self, params: Any, x_CD: jax.Array, index: jax.Array) -> jax.Array:
    """Logits f32[V] of one position of a chunk."""
    x_1D = lax.dynamic_slice_in_dim(x_CD, index, 1)
    x_UD = jnp.tile(x_1D, (_SCORE_ROWS, 1))
    live_U = jnp.arange(_SCORE_ROWS) < 1
    logits_UV = self.model.logits(params, x_UD, live_U)
    return logits_UV[0]

  def score_chunk(
    self, params: Any, x_CD: jax.Array, next_C: jax.Array
  ) -> state_lib.Scores:
    """What the positions of a chunk say of the tokens that follow them.

    Args:
      params: the model's.
      x_CD: from `prefill`.
      next_C: i32, the token after each position; anything where none is.
    """
    C, D = x_CD.shape
    U = math.gcd(C, _CHUNK_ROWS)
    live_U = jnp.ones(U, bool)

    def few(part):
      x_UD, next_U = part
      logits_UV = self.model.logits(params, x_UD, live_U)
      return lax.map(lambda one: _score(*one), (logits_UV, next_U))

    parts = x_CD.reshape(-1, U, D), next_C.reshape(-1, U)
    scores = lax.map(few, parts)
    return jax.tree.map(lambda x: x.reshape(C, *x.shape[2:]), scores)

  def admit(
      self, state: RowState, logits_V: jax.Array, slot: jax.Array,
      row: RowState, masks: state_lib.Masks,
  ) -> tuple[RowState, Emitted]:  # fmt: skip
    """Draws a choice's first token and puts the choice into a slot."""
    emitted = _draw(logits_V, row, masks, lambda: row.edits)
    measured = measure.of_row(logits_V, row, lambda: row.edits, emitted.token)
    emitted = dataclasses.replace(emitted, measured=measured)
    row = _advance(row, emitted)
    counts_V = row.edits.counts_V.at[emitted.token].add(1)
    edits = dataclasses.replace(row.edits, counts_V=counts_V)
    return put(state, slot, dataclasses.replace(row, edits=edits)), emitted

  def decode(
    self,
    params: Any,
    cache: cache_lib.Cache,
    state: RowState,
    masks: state_lib.Masks,
    live: quant.LiveRows | None,
    change: state_lib.Change,
    loan: loan_lib.Loan,
    num_steps: jax.Array,
  ) -> tuple[cache_lib.Cache, RowState, Emitted]:
    """Up to `num_steps` tokens for every active row.

    Args:
      params: the model's.
      cache: donated.
      state: stacked rows, donated.
      masks: stacked; with any of them on, `num_steps` must be 1.
      live: rows to compute; its width is the compiled one. None is for
        products that take them from the state.
      change: what is new since the last block.
      loan: rows that verify guesses in the first step.
      num_steps: i32, at most `max_steps`.

    Returns:
      Cache, state and what was drawn, stacked [max_steps, B].
    """
    B = change.keep_B.shape[0]
    state = change.apply(state)
    emitted_NB = jax.tree.map(
      lambda x: jnp.broadcast_to(x, (self.max_steps, B, *x.shape)),
      state_lib.no_token(),
    )

    def is_running(carry):
      i, _, state, _ = carry
      return (i < num_steps) & jnp.any(state.active)

    def one_step(carry):
      i, cache, state, emitted_NB = carry
      lent = loan.before(i == 0)
      logits_BV, cache = self._forward(params, cache, state, live, lent)
      emitted_B = self._draw_rows(state, logits_BV, lent, masks)
      measured_B = self._measure_rows(state, logits_BV, lent, emitted_B.token)
      emitted_B = dataclasses.replace(emitted_B, measured=measured_B)
      state, emitted_B = lent.advance(state, emitted_B)
      emitted_NB = jax.tree.map(
          lambda all_steps, one: lax.dynamic_update_index_in_dim(
              all_steps, one, i, 0
          ),
          emitted_NB, emitted_B,
      )  # fmt: skip
      return i + 1, cache, state, emitted_NB

    _, cache, state, emitted_NB = lax.while_loop(
      is_running, one_step, (jnp.int32(0), cache, state, emitted_NB)
    )
    return cache, state, emitted_NB

  @property
  def _kinds(self) -> tuple[model_config.LayerKind, ...]:
    return self.model.config.kinds

  def _spread(self, tokens_T):
    layout = self.model.layout
    return tokens_T if layout is None else layout.spread(tokens_T)

  def _whole(self, logits):
    """Scores on every device: it draws the same tokens by itself."""
    layout = self.model.layout
    return logits if layout is None else layout.whole(logits)

  def _forward(self, params, cache, state, live, loan):
    source_B = loan.source_B
    positions_B = state.position[source_B] + loan.offset_B
    active_B = state.active[source_B]
    attend = {
      kind: attention.Rows(
        table_BP[source_B], positions_B, active_B, self.method
      )
      for kind, table_BP in zip(self._kinds, state.tables, strict=True)
    }
    live = active_B if live is None else live
    x_BD, cache = self.model.hidden(
      params, self._spread(loan.tokens(state)), positions_B, attend, cache, live
    )
    return self._whole(self.model.logits(params, x_BD, live)), cache

  def _draw_rows(
    self,
    state: RowState,
    logits_BV: jax.Array,
    loan: loan_lib.Loan,
    masks: state_lib.Masks,
  ) -> Emitted:
    rows_B = jnp.arange(logits_BV.shape[0])
    active_B = state.active[loan.source_B]

    def draw(b):
      row = loan.row(state, b)
      mask = jax.tree.map(lambda x: x[b], masks)
      edits = lambda: loan.edits(state, b)
      return _draw(logits_BV[b], row, mask, edits)

    if self.method in paged.AT_ONCE:
      return jax.vmap(
        lambda live, x: jax.tree.map(
          lambda a, b: jnp.where(live, a, b), x, state_lib.no_token()
        )
      )(active_B, jax.vmap(draw)(rows_B))
    # Indexing inside the branch: a dead row's arrays are not even read.
    return lax.map(
      lambda b: lax.cond(
        active_B[b], lambda: draw(b), lambda: state_lib.no_token()
      ),
      rows_B,
    )

  def _measure_rows(
    self,
    state: RowState,
    logits_BV: jax.Array,
    loan: loan_lib.Loan,
    token_B: jax.Array,
  ) -> state_lib.Measured:
    def one(b):
      edits = lambda: loan.edits(state, b)
      return measure.of_row(logits_BV[b], loan.row(state, b), edits, token_B[b])

    is_wanted_B = (state.active & state.is_measured)[loan.source_B]
    return measure.of_rows(is_wanted_B, one, is_mapped=self.method != 'vmap')


def _score(logits_V: jax.Array, token: jax.Array) -> state_lib.Scores:
  """One position's."""
  row = padded.row(logits_V)
  log_z = logprobs.log_normalizer_of(row)
  top_ids, top_logprobs = logprobs.top_row(row, log_z, jnp.bool_(True))
  logit = row.logits_U[token]
  return state_lib.Scores(
    logprob=logit - log_z,
    rank=1 + jnp.sum(row.logits_U > logit, dtype=jnp.int32),
    top_ids=top_ids,
    top_logprobs=top_logprobs,
  )


def put(state: RowState, slot: jax.Array, row: RowState) -> RowState:
  """Puts a row into a slot of the stacked rows."""
  return jax.tree.map(
    lambda all_rows, one: lax.dynamic_update_index_in_dim(
      all_rows, one, slot, 0
    ),
    state,
    row,
  )


def _draw(
  logits_V: jax.Array,
  row: RowState,
  mask: state_lib.Masks,
  edits: Callable[[], state_lib.Edits],
) -> Emitted:
  """Draws one row's next token.

  Whole rows never leave a `lax.cond`: that would copy them.

  Args:
    logits_V: the model's own.
    row: of one sequence; its own edits are not read.
    mask: of one row.
    edits: gives the row's.
  """
  raw = padded.row(logits_V)

  def changed():
    processed_V = row.edited(logits_V, edits)
    allowed_V = mask.allowed(logits_V.shape[0]) | ~mask.is_on
    processed_V = processors.allow(processed_V, allowed_V)
    processed_V = processors.mask_stops(
      processed_V, row.stop_ids, row.step, row.params.min_tokens
    )
    return _draw_from(row, raw, padded.row(processed_V))

  is_changed = row.is_edited | mask.is_on | (row.step < row.params.min_tokens)
  return lax.cond(is_changed, changed, lambda: _draw_from(row, raw, raw))


@jax.jit  # traced once for all programs
def _draw_from(
  row: RowState, raw: padded.Row, processed: padded.Row
) -> Emitted:
  token, _ = sampler.draw_row(processed, row.params, key=row.key, step=row.step)

  def report(shown):
    log_z = logprobs.log_normalizer_of(shown)
    top = logprobs.top_row(shown, log_z, row.num_top > 0)
    return shown.logits_U[token] - log_z, *top

  logprob, top_ids, top_logprobs = lax.cond(
    row.report == reported.RAW,
    lambda: report(raw),
    lambda: report(reported.row(raw, processed, row.params, mode=row.report)),
  )
  is_open = processed.logits_U[token] > -jnp.inf
  logprob = jnp.where(is_open, logprob, jnp.nan)
  stopped = jnp.any(row.stop_ids == token)
  finish = jnp.where(
    row.step + 1 >= row.limit, state_lib.LIMIT, state_lib.RUNNING
  )
  finish = jnp.where(stopped, state_lib.STOPPED, finish)
  finish = jnp.where(jnp.isnan(logprob), state_lib.BROKEN, finish)
  return Emitted(
    token=token,
    logprob=logprob,
    top_ids=top_ids,
    top_logprobs=top_logprobs,
    finish=finish.astype(jnp.int32),
    measured=state_lib.not_measured(),
  )


def _advance(row: RowState, emitted: Emitted) -> RowState:
  """Moves a new row past its first token; counts are the caller's."""
  drew = emitted.token >= 0
  ahead = drew.astype(jnp.int32)
  running = emitted.finish == state_lib.RUNNING
  return dataclasses.replace(
    row,
    token=jnp.where(drew, emitted.token, row.token),
    position=row.position + ahead,
    step=row.step + ahead,
    active=drew & running,
  )
