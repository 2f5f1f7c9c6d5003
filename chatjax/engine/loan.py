"""Speculation: free rows of a decode step that verify guessed tokens."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from chatjax.engine import state as state_lib


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Loan:
  """Free rows that work for the sequence of another row during one step.

  A lent row reads a guess of the token some positions ahead (Leviathan et al.
  2023, arXiv:2211.17192; here the guesses are looked up, not computed). What it
  draws counts if every guess up to its own was what the row before drew: then
  it is what that sequence would have drawn there anyway, bit for bit.

  Attributes:
    source_B: i32[B], the row whose sequence each row works on; its own number
      if it is not lent.
    offset_B: i32[B], positions ahead of that row; 0 if not lent.
    token_B: i32[B], the guess that a lent row reads.
  """

  source_B: jax.Array
  offset_B: jax.Array
  token_B: jax.Array

  def before(self, is_first_step: jax.Array) -> Loan:
    """The loan in the first step, no loan in the others."""
    rows_B = jnp.arange(self.source_B.shape[0], dtype=jnp.int32)
    return Loan(
      source_B=jnp.where(is_first_step, self.source_B, rows_B),
      offset_B=jnp.where(is_first_step, self.offset_B, 0),
      token_B=self.token_B,
    )

  def row(self, state: state_lib.RowState, b: jax.Array) -> state_lib.RowState:
    """Row b as it is drawn, its source's some steps on; without its edits."""
    few = dataclasses.replace(state, edits=None)
    row = jax.tree.map(lambda x: x[self.source_B[b]], few)
    return dataclasses.replace(row, step=row.step + self.offset_B[b])

  def edits(self, state: state_lib.RowState, b: jax.Array) -> state_lib.Edits:
    """The edits of row b, moved past the guesses up to b's."""
    edits = state.edits.row(self.source_B[b])
    is_guess_B = self._guesses_up_to(b)
    counts_V = edits.counts_V.at[self.token_B].add(is_guess_B.astype(jnp.int32))
    return dataclasses.replace(edits, counts_V=counts_V)

  def tokens(self, state: state_lib.RowState) -> jax.Array:
    """i32[B], what every row reads."""
    own_B = state.token[self.source_B]
    return jnp.where(self.offset_B > 0, self.token_B, own_B)

  def valid(self, emitted_B: state_lib.Emitted) -> jax.Array:
    """bool[B], which rows drew what their sequence has."""
    rows_B = jnp.arange(self.source_B.shape[0])
    # Where the token before a row's own was drawn.
    is_before_BB = self._of_one_sequence() & (
      self.offset_B[None, :] == self.offset_B[:, None] - 1
    )
    before_B = jnp.argmax(is_before_BB, axis=1)
    is_right_B = (emitted_B.token[before_B] == self.token_B) & (
      emitted_B.finish[before_B] == state_lib.RUNNING
    )
    guesses_BB = jax.vmap(self._guesses_up_to)(rows_B)
    all_right_B = jnp.all(is_right_B[None, :] | ~guesses_BB, axis=1)
    return (emitted_B.token >= 0) & all_right_B

  def advance(
    self, state: state_lib.RowState, emitted_B: state_lib.Emitted
  ) -> tuple[state_lib.RowState, state_lib.Emitted]:
    """Moves every sequence past what was drawn for it, and masks the rest."""
    valid_B = self.valid(emitted_B)
    rows_B = jnp.arange(valid_B.shape[0])
    is_mine_BB = valid_B[None, :] & (self.source_B[None, :] == rows_B[:, None])
    ahead_B = is_mine_BB.sum(axis=1, dtype=jnp.int32)
    last_B = jnp.argmax(
      jnp.where(is_mine_BB, self.offset_B[None, :], -1), axis=1
    )
    counts_BV = state.edits.counts_V.at[
      self.source_B, jnp.maximum(emitted_B.token, 0)
    ].add(valid_B.astype(jnp.int32))
    drew_B = ahead_B > 0
    running_B = emitted_B.finish[last_B] == state_lib.RUNNING
    state = dataclasses.replace(
      state,
      token=jnp.where(drew_B, emitted_B.token[last_B], state.token),
      position=state.position + ahead_B,
      step=state.step + ahead_B,
      active=drew_B & running_B,
      edits=dataclasses.replace(state.edits, counts_V=counts_BV),
    )
    token_B = jnp.where(valid_B, emitted_B.token, -1)
    return state, dataclasses.replace(emitted_B, token=token_B)

  def _of_one_sequence(self) -> jax.Array:
    return self.source_B[:, None] == self.source_B[None, :]

  def _guesses_up_to(self, b: jax.Array) -> jax.Array:
    """bool[B], the lent rows of b's sequence that stand at b or before."""
    return (
      (self.source_B == self.source_B[b])
      & (self.offset_B >= 1)
      & (self.offset_B <= self.offset_B[b])
    )


def no_loan(num_rows: int) -> Loan:
  """Every row works for itself."""
  rows_B = jnp.arange(num_rows, dtype=jnp.int32)
  return Loan(rows_B, jnp.zeros_like(rows_B), jnp.zeros_like(rows_B))
