"""The device side of an engine: carries out what the scheduler decides.

Makes of each decision the calls that all processes make, and knows when the
host waits. Used by the engine's thread alone.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
import dataclasses
import time
from typing import Any

import jax
import numpy as np

from chatjax import config as config_lib
from chatjax import model_config
from chatjax import types
from chatjax.engine import caller as caller_lib
from chatjax.engine import job as job_lib
from chatjax.engine import programs as programs_lib
from chatjax.engine import state as state_lib
from chatjax.engine import stats
from chatjax.engine import tables as tables_lib
from chatjax.sampling import host_keys
from chatjax.sampling import processors
from chatjax.sampling import reported
from chatjax.sampling import sampler


@dataclasses.dataclass(frozen=True)
class Block:
  """Dispatched draws whose tokens were not read yet.

  Attributes:
    rows: (indices, slot, row) of who was in it: where its draws of the first
      step stand, its own before those of rows lent to it, and its slot, which
      may be another's when the block is read.
    num_steps: draws per row at most, without those of lent rows.
    emitted: stacked [steps, index], on the device.
  """

  rows: tuple[tuple[tuple[int, ...], int, job_lib.Row], ...]
  num_steps: int
  emitted: state_lib.Emitted


class Device:
  """Carries out actions, in their order."""

  def __init__(
    self,
    model: model_config.ModelConfig,
    config: config_lib.EngineConfig,
    programs: programs_lib.Programs,
    caller: caller_lib.Caller,
    totals: stats.Totals,
  ):
    """Args: sizes, how the model is run, and what makes the calls."""
    self._model, self._config = model, config
    self._programs, self._caller = programs, caller
    self._totals = totals
    self._idle_since: float | None = None  # when the last block was read

  def prefill(self, action: job_lib.Prefill) -> None:
    """Computes a chunk; at the end of the prompt also its logits."""
    job, chunk = action.job, self._config.chunk
    self._totals.prefill_chunks += 1
    part = job.request.prompt_ids[action.start : action.stop]
    tokens_C = np.zeros(chunk, np.int32)
    tokens_C[: len(part)] = part
    counts = np.int32(len(part)), np.int32(action.start)
    self._idle_since = None
    x_CD = self._caller.keep(
      'prefill', (tokens_C, *counts, self._columns(job.table))
    )
    if job.scores is not None:
      following = job.request.prompt_ids[action.start + 1 : action.stop + 1]
      next_C = np.zeros(chunk, np.int32)
      next_C[: len(following)] = following
      scores = fetch(self._caller.read('score_chunk', (next_C,), x_CD))
      job.scores[action.start] = jax.tree.map(
        lambda x: x[: len(following)], scores
      )
    if action.stop == job.num_prompt:
      last = np.int32(len(part) - 1)
      job.logits = self._caller.keep('score', (last,), x_CD)

  def place(self, action: job_lib.Place) -> Block:
    """Puts a row into its slot and draws its first token."""
    row = action.row
    self._idle_since = None
    if action.copy is not None:
      copy = tuple(_scalars(pages) for pages in action.copy)
      self._caller.read('copy_page', copy)
    masks = self._masks(1, {row: ((0,), ())})
    mask = jax.tree.map(lambda x: x[0], masks)
    host = np.int32(row.slot), self._row_state(row), mask
    emitted = self._caller.read('admit', host, row.logits)
    row.logits = None
    return _block([((0,), row.slot, row)], 1, emitted)

  def decode(self, action: job_lib.Decode) -> Block:
    """Dispatches a block of steps; reads nothing."""
    slots = [row.slot for row in action.rows]
    lent = {
      slot: (row.slot, ahead, token_id)
      for row, guesses in action.guesses.items()
      for ahead, (slot, token_id) in enumerate(guesses, start=1)
    }
    working = slots + list(lent)
    width = self._programs.width(len(working))
    live = self._programs.live(working, width)
    change = programs_lib.change(
      self._model, self._config, keep=slots, new_pages=action.new_pages
    )
    loan = programs_lib.loan(self._config.num_rows, lent)
    rows, own = [], {}
    for row in action.rows:
      lent_slots, guesses = _unzip(action.guesses.get(row, ()))
      rows.append(((row.slot, *lent_slots), row.slot, row))
      own[row] = (row.slot, *lent_slots), guesses
    name, host = ('decode', width), ()
    if any(row.constraint is not None for row in action.rows):
      name = 'decode_masked', width
      host = (self._masks(self._config.num_rows, own),)
    host = *host, live, change, loan, np.int32(action.num_steps)
    now = time.monotonic()
    if self._idle_since is not None:
      self._totals.host_gap_s += now - self._idle_since
      self._idle_since = None
    self._totals.decode_blocks += 1
    emitted = self._caller.read(name, host)
    self._totals.decode_s += time.monotonic() - now
    return _block(rows, action.num_steps, emitted)

  def read(self, block: Block, *, is_last: bool) -> state_lib.Emitted:
    """Waits for a block: numpy arrays [steps, index].

    Args:
      block: the oldest one that was not read.
      is_last: whether no other was dispatched after it.
    """
    start = time.monotonic()
    emitted = fetch(block.emitted)
    now = time.monotonic()
    if emitted.token.ndim == 2:
      self._totals.decode_s += now - start
      self._totals.decode_steps += int((emitted.token >= 0).any(axis=1).sum())
      self._idle_since = now if is_last else None
      return emitted
    return jax.tree.map(lambda x: x[None, None], emitted)

  def swap_out(self, action: job_lib.SwapOut) -> None:
    """Copies a row's pages to the host."""
    self._idle_since = None
    action.row.saved = [
      self._caller.keep('read_page', (_scalars(pages),))
      for pages in action.pages
    ]

  def swap_in(self, action: job_lib.SwapIn) -> None:
    """Copies a row's pages back and puts it into its slot."""
    row = action.row
    self._idle_since = None
    for j, saved in enumerate(row.saved):
      page = _scalars(row.table.column(j))
      self._caller.read('write_page', (page,), saved)
    row.saved = None
    self._caller.read('put', (np.int32(row.slot), self._row_state(row)))

  def _masks(
    self,
    num_rows: int,
    rows: Mapping[job_lib.Row, tuple[tuple[int, ...], tuple[int, ...]]],
  ) -> state_lib.Masks:
    """What the rows may draw: row -> (its slots, guesses at all but one)."""
    bound = {r: x for r, x in rows.items() if r.constraint is not None}
    masks = programs_lib.no_masks(self._model, num_rows)
    for row, (slots, guesses) in bound.items():
      out_GW = np.zeros((len(slots), masks.words_W.shape[-1]), np.uint32)
      allowed = row.constraint.masks(guesses, out_GW)
      for slot, words_W in zip(slots[: allowed + 1], out_GW, strict=False):
        masks.is_on[slot] = True
        masks.words_W[slot] = words_W
    return masks

  def _columns(self, table: tables_lib.Table) -> tuple[np.ndarray, ...]:
    columns = []
    for pages in table.pages:
      table_P = np.zeros(self._config.pages_per_row, np.int32)
      table_P[: len(pages)] = pages
      columns.append(table_P)
    return tuple(columns)

  def _row_state(self, row: job_lib.Row) -> state_lib.RowState:
    """The row as the device needs it, before its first token or after any."""
    request, number = row.job.request.of_choice(row.choice)
    sampling = request.sampling
    vocab_size = self._model.vocab_size
    in_prompt_V = np.zeros(vocab_size, bool)
    in_prompt_V[list(request.prompt_ids)] = True
    counts_V = np.zeros(vocab_size, np.int32)
    for token_id, count in collections.Counter(row.generated).items():
      counts_V[token_id] = count
    stop_ids = np.full(state_lib.MAX_STOP_IDS, -1, np.int32)
    stop_ids[: len(request.stop_ids)] = sorted(request.stop_ids)
    key = host_keys.choice_words(request.seed, number)
    return state_lib.RowState(
      token=np.int32(row.generated[-1] if row.generated else 0),
      position=np.int32(row.position),
      step=np.int32(len(row.generated)),
      limit=np.int32(request.max_tokens),
      active=np.bool_(True),
      key=np.asarray(key, np.uint32),
      params=sampler.host_params(sampling),
      is_edited=np.bool_(_is_edited(sampling)),
      edits=state_lib.Edits(counts_V, in_prompt_V, _bias(sampling, vocab_size)),
      stop_ids=stop_ids,
      tables=self._columns(row.table),
      num_top=np.int32(sampling.top_logprobs if sampling.logprobs else 0),
      report=np.int32(reported.MODES[sampling.logprobs_mode]),
      is_measured=np.bool_(request.is_measured),
    )


def _is_edited(sampling: types.SamplingParams) -> bool:
  return bool(
    sampling.presence_penalty
    or sampling.frequency_penalty
    or sampling.repetition_penalty != 1
    or sampling.logit_bias
    or sampling.allowed_token_ids is not None
  )


def _bias(sampling: types.SamplingParams, vocab_size: int) -> np.ndarray:
  """f32[V]: the biases, and a ban on what is not among the allowed."""
  bias_V = processors.bias_row(sampling.logit_bias, vocab_size)
  if sampling.allowed_token_ids is not None:
    is_banned_V = np.ones(vocab_size, bool)
    is_banned_V[list(sampling.allowed_token_ids)] = False
    bias_V[is_banned_V] = -np.inf
  return bias_V


def _unzip(
  guesses: tuple[tuple[int, int], ...],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """(slot, token) pairs as slots and tokens."""
  slots, tokens = zip(*guesses, strict=True) if guesses else ((), ())
  return slots, tokens


def _scalars(pages: tuple[int, ...]) -> tuple[np.int32, ...]:
  return tuple(np.int32(page) for page in pages)


def _block(rows, num_steps, emitted) -> Block:
  jax.tree.map(lambda x: x.copy_to_host_async(), emitted)
  return Block(tuple(rows), num_steps, emitted)


def fetch(tree: Any) -> Any:
  """The one place where the host waits for the device."""
  return jax.device_get(tree)
