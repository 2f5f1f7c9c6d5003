"""Draws the next token of a row: pure, one executable for all parameters.

The core works on ONE row and is batched by its caller: `lax.map` on the CPU,
where a `lax.cond` then skips work per row, `vmap` on accelerators. The order:

  repetition, presence and frequency penalties -> logit_bias -> allowed mask
  -> min_tokens -> temperature -> top_k -> top_p -> min_p -> draw

Every path draws by inverse distribution in ascending token id, from the same
64-bit uniform and the same integer masses (`mass`), so that the way a cut
was found cannot change the token.
"""

from __future__ import annotations

import dataclasses
import math

import chex
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from chatjax import types
from chatjax.sampling import cut as cut_lib
from chatjax.sampling import keys
from chatjax.sampling import logprobs
from chatjax.sampling import mass
from chatjax.sampling import padded
from chatjax.sampling import processors
from chatjax.sampling import ranking

# Smaller temperatures act like this one: only ties of the best are drawn.
MIN_TEMPERATURE = 1e-6


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingParams:
  """How a row is drawn; stacked, every field gains an axis B.

  Attributes:
    temperature: f32; 0 is argmax, lowest id first.
    top_k: i32, keep exactly k by (logit descending, id ascending); 0 is off.
    top_p: f32, the shortest prefix of what top_k left, by the same order,
      whose probability among it reaches p; at least one token; 1 is off.
    min_p: f32, keep what is at least min_p times as likely as the likeliest
      (Nguyen et al. 2024, arXiv:2407.01082); 0 is off.
    presence: f32, presence penalty; 0 is off.
    frequency: f32, frequency penalty; 0 is off.
    repetition: f32, repetition penalty; 1 is off.
    min_tokens: i32, stop ids are masked before that many tokens.
  """

  temperature: jax.Array
  top_k: jax.Array
  top_p: jax.Array
  min_p: jax.Array
  presence: jax.Array
  frequency: jax.Array
  repetition: jax.Array
  min_tokens: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Draw:
  """A drawn token.

  Attributes:
    token: i32, always inside the vocabulary.
    logprob: f32, its raw log-probability. NaN says that the token means
      nothing: the model's logits hold NaN or +inf or nothing finite, or
      every token was masked. Callers must end such a row.
    log_z: f32, the raw row's `logprobs.log_normalizer`.
    fell_back: bool, whether the cut took the bisection.
  """

  token: jax.Array
  logprob: jax.Array
  log_z: jax.Array
  fell_back: jax.Array


def host_params(params: types.SamplingParams) -> SamplingParams:
  """Turns a request's parameters into numpy scalars.

  Raises:
    types.RequestError: a value outside its range.
  """
  _check('temperature', params.temperature, 0, math.inf)
  _check('top_p', params.top_p, 0, 1)
  _check('min_p', params.min_p, 0, 1)
  _check('top_k', params.top_k, 0, math.inf)
  _check('min_tokens', params.min_tokens, 0, 2**31 - 1)
  _check('presence_penalty', params.presence_penalty, -2, 2)
  _check('frequency_penalty', params.frequency_penalty, -2, 2)
  # Far beyond use; a large logit stays finite.
  _check('repetition_penalty', params.repetition_penalty, 1e-3, 1e3)
  temperature = params.temperature
  # Devices flush the smallest floats to 0, which would be argmax.
  temperature = max(temperature, MIN_TEMPERATURE) if temperature > 0 else 0.0
  return SamplingParams(
    temperature=np.float32(temperature),
    top_k=np.int32(min(params.top_k, mass.MAX_VOCAB)),
    top_p=np.float32(params.top_p),
    min_p=np.float32(params.min_p),
    presence=np.float32(params.presence_penalty),
    frequency=np.float32(params.frequency_penalty),
    repetition=np.float32(params.repetition_penalty),
    min_tokens=np.int32(params.min_tokens),
  )


def default_params() -> SamplingParams:
  """OpenAI's defaults as numpy scalars."""
  return host_params(types.SamplingParams())


def sample_row(
  logits_V: jax.Array,
  params: SamplingParams,
  *,
  key: jax.Array,
  step: jax.Array,
  counts_V: jax.Array | None = None,
  in_prompt_V: jax.Array | None = None,
  bias_V: jax.Array | None = None,
  allowed_V: jax.Array | None = None,
  stop_ids: jax.Array | None = None,
) -> Draw:
  """Draws one row's next token. None leaves a step of the order out.

  Args:
    logits_V: f32[V], the model's own; -inf is a token of probability 0.
    params: scalars.
    key: the choice's key, typed or u32[2]; it is not advanced.
    step: i32, tokens generated so far.
    counts_V: i32[V], how often each token was generated.
    in_prompt_V: bool[V], for the repetition penalty; needs `counts_V`.
    bias_V: f32[V], see `processors.bias_row`; -inf bans.
    allowed_V: bool[V], a grammar's mask.
    stop_ids: i32[N], padded with -1, for `min_tokens`.
  """
  logits_V = jnp.asarray(logits_V)
  chex.assert_rank(logits_V, 1)
  chex.assert_axis_dimension_lteq(logits_V, 0, mass.MAX_VOCAB)
  for array_V in (counts_V, in_prompt_V, bias_V, allowed_V):
    if array_V is not None:
      chex.assert_equal_shape([array_V, logits_V])
  processed_V = _process(
      logits_V, params, step=step, counts_V=counts_V, in_prompt_V=in_prompt_V,
      bias_V=bias_V, allowed_V=allowed_V, stop_ids=stop_ids,
  )  # fmt: skip
  row = padded.row(processed_V)
  token, fell_back = draw_row(row, params, key=key, step=step)
  log_z = logprobs.log_normalizer(logits_V)
  is_open = processed_V[token] > -jnp.inf
  logprob = jnp.where(is_open, logits_V[token] - log_z, jnp.nan)
  return Draw(token=token, logprob=logprob, log_z=log_z, fell_back=fell_back)


def log_distribution(
  logits_V: jax.Array,
  params: SamplingParams,
  *,
  step: jax.Array | int = 0,
  counts_V: jax.Array | None = None,
  in_prompt_V: jax.Array | None = None,
  bias_V: jax.Array | None = None,
  allowed_V: jax.Array | None = None,
  stop_ids: jax.Array | None = None,
) -> jax.Array:
  """Log-probabilities of what `sample_row` draws from: f32[V].

  -inf is what cannot be drawn. Differentiable by the logits, the temperature,
  penalties and biases, as long as the cuts stay where they are. Arguments are
  those of `sample_row`.
  """
  logits_V = jnp.asarray(logits_V)
  chex.assert_rank(logits_V, 1)
  processed_V = _process(
      logits_V, params, step=step, counts_V=counts_V, in_prompt_V=in_prompt_V,
      bias_V=bias_V, allowed_V=allowed_V, stop_ids=stop_ids,
  )  # fmt: skip
  logits_U = drawn_logits(padded.row(processed_V), params)
  logits_V = logits_U[: logits_V.shape[0]]
  return logits_V - logprobs.log_normalizer(logits_V)


def _process(
    logits_V, params, *, step, counts_V, in_prompt_V, bias_V, allowed_V,
    stop_ids,
) -> jax.Array:  # fmt: skip
  """The order up to the temperature; None leaves a step out."""
  processed_V = edit_row(
    logits_V,
    params,
    counts_V=counts_V,
    in_prompt_V=in_prompt_V,
    bias_V=bias_V,
  )
  if allowed_V is not None:
    processed_V = processors.allow(processed_V, allowed_V)
  if stop_ids is not None:
    processed_V = processors.mask_stops(
      processed_V, stop_ids, step, params.min_tokens
    )
  return processed_V


def edit_row(
  logits_V: jax.Array,
  params: SamplingParams,
  *,
  counts_V: jax.Array | None,
  in_prompt_V: jax.Array | None,
  bias_V: jax.Array | None,
) -> jax.Array:
  """The first steps of the order: penalties and bias, f32[V]."""
  if counts_V is not None:
    seen_V = counts_V > 0
    if in_prompt_V is not None:
      seen_V |= in_prompt_V
    logits_V = processors.repetition(logits_V, params.repetition, seen_V)
    logits_V = processors.presence_and_frequency(
      logits_V, params.presence, params.frequency, counts_V
    )
  return logits_V if bias_V is None else logits_V + bias_V


def draw_row(
  row: padded.Row, params: SamplingParams, *, key: jax.Array, step: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The last steps of the order: from the temperature to the draw.

  Returns:
    The token, i32, and whether the cut took the bisection, bool.
  """
  words = keys.uniform_words(keys.token_key(key, step))

  def greedy():
    return ranking.first_argmax(row.logits_U, row.top), jnp.bool_(False)

  def drawn():
    weight_U, cut = _weights(row, params)
    return mass.draw(weight_U, words), cut.fell_back

  token, fell_back = lax.cond(params.temperature > 0, drawn, greedy)
  # In a row without anything to draw they end in the padding.
  return jnp.minimum(token, row.vocab_size - 1), fell_back


def drawn_logits(row: padded.Row, params: SamplingParams) -> jax.Array:
  """Logits f32[U] of the distribution that `draw_row` draws from.

  With the cuts left open (`top_k` 0, `top_p` 1, `min_p` 0) that is the
  softmax at a temperature.
  """

  def greedy():
    id_U = jnp.arange(row.logits_U.shape[0])
    best = ranking.first_argmax(row.logits_U, row.top)
    return jnp.where(id_U == best, row.logits_U, -jnp.inf)

  def drawn():
    weight_U, _ = _weights(row, params)
    is_kept_U = weight_U > 0
    temperature = jnp.maximum(params.temperature, MIN_TEMPERATURE)
    # In a gradient no branch not taken may be infinite.
    above_U = jnp.where(is_kept_U, row.logits_U - row.top, 0.0)
    return jnp.where(is_kept_U, above_U / temperature, -jnp.inf)

  return lax.cond(params.temperature > 0, drawn, greedy)


def sample(
  logits_BV: jax.Array,
  params: SamplingParams,
  *,
  key: jax.Array,
  step: jax.Array,
  **rows: jax.Array,
) -> Draw:
  """Draws a token for every row: `vmap` of `sample_row`.

  Args:
    logits_BV: f32[B, V].
    params: fields [B].
    key: the choices' keys [B], or u32[B, 2].
    step: i32[B].
    **rows: the further arguments of `sample_row`, with an axis B in front.
  """

  def row(logits_V, params, key, step, rows):
    return sample_row(logits_V, params, key=key, step=step, **rows)

  return jax.vmap(row)(logits_BV, params, key, step, rows)


def _check(name: str, value: float, low: float, high: float) -> None:
  if not (low <= value <= high and math.isfinite(value)):
    raise types.RequestError(
      f'{name} is {value}; pass a finite number from {low} to {high}.',
      param=name,
    )


def _weights(
  row: padded.Row, params: SamplingParams
) -> tuple[jax.Array, cut_lib.Cut]:
  """What each token weighs in the draw, f32[U], 0 where it was cut off."""
  temperature = jnp.maximum(params.temperature, MIN_TEMPERATURE)
  # Behind a barrier: every path below must read the same weights, not
  # recompute them inside differently compiled loops.
  weight_U = lax.optimization_barrier(
    jnp.exp((row.logits_U - row.top) / temperature)
  )
  # Where it is cut has no gradient: it moves in steps.
  weight_U = lax.stop_gradient(weight_U)
  logits_U = lax.stop_gradient(row.logits_U)
  cut = cut_lib.find(
    logits_U, weight_U, params.top_k, lax.stop_gradient(params.top_p)
  )
  is_kept_U = cut.keeps(logits_U) & (weight_U >= params.min_p)
  return jnp.where(is_kept_U, weight_U, 0.0), cut
