"""What an engine refuses: nothing bad may reach its thread."""

from __future__ import annotations

import numbers

import numpy as np

from chatjax import types
from chatjax.engine import state as state_lib
from chatjax.sampling import processors
from chatjax.sampling import sampler

# Beyond it a priority would swallow the order of arrival.
MAX_PRIORITY = 1_000_000


def check(
  request: types.TokenRequest, *, vocab_size: int, max_context: int
) -> None:
  """Raises `types.RequestError` for what cannot be served."""
  for variant in request.variants:
    assert variant.prompt_ids == request.prompt_ids, 'of another prompt'
    assert not variant.variants, 'variants have none'
    check(variant, vocab_size=vocab_size, max_context=max_context)
  assert len(request.variants) in (0, request.n), 'one variant per choice'
  _check_ids('Prompt', request.prompt_ids, vocab_size, 'messages')
  if not request.prompt_ids:
    raise types.RequestError('The prompt is empty.', param='messages')
  total = len(request.prompt_ids) + request.max_tokens
  if request.max_tokens < 1 or total > max_context:
    raise types.RequestError(
        f'A prompt of {len(request.prompt_ids)} tokens and'
        f' max_tokens={request.max_tokens} do not fit a context of'
        f' {max_context}.',
        param='max_tokens', code='context_length_exceeded',
    )  # fmt: skip
  sampler.host_params(request.sampling)
  processors.bias_row(request.sampling.logit_bias, vocab_size)
  _check_allowed(request.sampling.allowed_token_ids, vocab_size)
  _check_whole('n', request.n, 1, 2**31)
  _check_whole('choice', request.first_choice, 0, 2**31 - request.n)
  _check_whole('seed', request.seed, types.MIN_SEED, types.MAX_SEED)
  _check_whole('priority', request.priority, -MAX_PRIORITY, MAX_PRIORITY)
  _check_whole(
    'top_logprobs', request.sampling.top_logprobs, 0, types.MAX_TOP_LOGPROBS
  )
  if request.timeout_s is not None:
    _check_number('timeout_s', request.timeout_s, 0, float('inf'))
  _check_ids('Stop', request.stop_ids, vocab_size, 'stop_token_ids')
  if len(request.stop_ids) > state_lib.MAX_STOP_IDS:
    raise types.RequestError(
      f'{len(request.stop_ids)} stop token ids; at most'
      f' {state_lib.MAX_STOP_IDS} are allowed.',
      param='stop_token_ids',
    )


def _check_ids(what, ids, vocab_size, param):
  ids = np.asarray(sorted(ids), np.int64)
  if ids.size and not 0 <= ids[0] <= ids[-1] < vocab_size:
    raise types.RequestError(
      f'{what} token ids must be in 0..{vocab_size - 1}.', param=param
    )


def _check_allowed(ids, vocab_size):
  if ids is None:
    return
  if not ids or any(type(token_id) is not int for token_id in ids):
    raise types.RequestError(
      'Allowed token ids must be whole numbers, one at least.',
      param='allowed_token_ids',
    )
  _check_ids('Allowed', ids, vocab_size, 'allowed_token_ids')


def _check_whole(name, value, low, high):
  if not isinstance(value, numbers.Integral):
    raise types.RequestError(f'{name}={value!r} is not whole.', param=name)
  _check_number(name, value, low, high)


def _check_number(name, value, low, high):
  if not low <= value <= high:
    raise types.RequestError(
      f'{name}={value} is not in {low}..{high}.', param=name
    )
