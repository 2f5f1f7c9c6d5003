"""A loaded model from inside: its loss, its residual stream, its attention.

All of it runs the dense forward, beside the engine and with its parameters.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chatjax import types
from chatjax.engine import engine as engine_lib
from chatjax.models import load
from chatjax.nn import loss as loss_lib
from chatjax.nn import quant
from chatjax.nn import taps as taps_lib
from chatjax.nn import transformer


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Inspection:
  """What a forward over some tokens showed.

  Attributes:
    token_ids: i32[T].
    logits: f32[T, V], of the token after each.
    seen: point -> f32[T, D], after what was added there.
    attention: layer -> f32[N, T, T], by query head: how much each position
      attends to each.
  """

  token_ids: np.ndarray
  logits: jax.Array
  seen: Mapping[str, jax.Array]
  attention: Mapping[str, jax.Array]


def model_of(engine: engine_lib.Engine) -> transformer.Transformer:
  """The decoder of an engine.

  Raises:
    types.ChatjaxError: its parameters are not all in this process.
  """
  if jax.process_count() > 1:
    raise types.ChatjaxError(
      'The model is spread over several processes, which only its engine can '
      'run; load it in one process to look inside.'
    )
  return transformer.Transformer(engine.weights.config, engine.weights.dtype)


def loss(
  engine: engine_lib.Engine,
  token_ids: Any,
  mask: Any = None,
  *,
  params: Any = None,
) -> jax.Array:
  """See `model.Chat.loss`."""
  model = model_of(engine)
  if model.dtype in quant.SCHEMES:
    raise types.ChatjaxError(
      f'The weights are kept as {model.dtype}, which has no gradient; load the '
      "model with dtype='float32' or 'bfloat16' for its loss."
    )
  tokens_BT, mask_BT = _batch(token_ids, mask)
  if not isinstance(tokens_BT, jax.Array):
    check_ids(tokens_BT, model.config.vocab_size)
  params = engine.params if params is None else params
  return _loss(model, params, tokens_BT, mask_BT)


_loss = jax.jit(loss_lib.next_token, static_argnames='model')


def _batch(token_ids: Any, mask: Any) -> tuple[Any, Any]:
  """Tokens i32[B, T] and mask f32[B, T]; unequal sequences are padded."""
  if isinstance(token_ids, jax.Array | np.ndarray):
    tokens = token_ids.astype(np.int32)
    weights = jnp.ones(tokens.shape) if mask is None else jnp.asarray(mask)
  else:
    rows = token_ids if token_ids and np.ndim(token_ids[0]) else [token_ids]
    length = max(map(len, rows))
    tokens = np.zeros((len(rows), length), np.int32)
    weights = np.zeros((len(rows), length), np.float32)
    if mask is not None and rows is not token_ids:
      mask = [mask]
    for row, ids in enumerate(rows):
      tokens[row, : len(ids)] = ids
      weights[row, : len(ids)] = 1.0 if mask is None else mask[row]
  if weights.shape != tokens.shape or tokens.shape[-1] < 2:
    raise types.RequestError(
      f'The tokens have the shape {list(tokens.shape)} and the mask '
      f'{list(weights.shape)}; give both [T] or [B, T], with T at least 2.',
      param='token_ids',
    )
  T = tokens.shape[-1]
  return tokens.reshape(-1, T), weights.astype(np.float32).reshape(-1, T)


def check_ids(token_ids: np.ndarray, vocab_size: int) -> None:
  """Raises `types.RequestError` for ids that the model does not have."""
  wrong = token_ids[(token_ids < 0) | (token_ids >= vocab_size)]
  if wrong.size:
    raise types.RequestError(
      f'The tokens name {wrong.flat[0]}; this model has the tokens 0 to '
      f'{vocab_size - 1}.',
      param='token_ids',
    )


def look(
  engine: engine_lib.Engine,
  token_ids: Sequence[int],
  *,
  read: Collection[str] = (),
  add: Mapping[str, Any] | None = None,
  attention: Collection[str] = (),
) -> Inspection:
  """See `model.Chat.look`."""
  model = model_of(engine)
  tokens_T = np.array(token_ids, np.int32)
  if not tokens_T.size:
    raise types.RequestError('There are no tokens to look at.', param='prompt')
  check_ids(tokens_T, model.config.vocab_size)
  points, layers = taps_lib.points(model.config), taps_lib.layers(model.config)
  for param, names, allowed in (
    ('read', read, points),
    ('add', add or {}, points),
    ('attention', attention, layers),
  ):
    _check_points(param, names, allowed)
  shape = len(tokens_T), model.config.embed_dim
  arrays = {
    name: _broadcastable(name, value, shape)
    for name, value in (add or {}).items()
  }
  logits_TV, seen, attended = _look(
    model,
    engine.params,
    tokens_T,
    arrays,
    read=frozenset(read),
    attention=frozenset(attention),
  )
  return Inspection(
    token_ids=tokens_T, logits=logits_TV, seen=seen, attention=attended
  )


@functools.partial(jax.jit, static_argnames=('model', 'read', 'attention'))
def _look(model, params, tokens_T, add, *, read, attention):
  for name, vector_D in params.get(transformer.STEERING, {}).items():
    place = *tokens_T.shape, vector_D.shape[0]
    more_TD = jnp.broadcast_to(add.get(name, 0.0), place)
    add = {**add, name: more_TD + vector_D[None]}
  taps = taps_lib.Taps(read=read, add=add, attention=attention)
  logits_TV = model.dense(params, tokens_T, taps)
  return logits_TV, taps.seen, taps.attended


def unembed(engine: engine_lib.Engine, hidden: Any) -> jax.Array:
  """See `model.Chat.unembed`."""
  model = model_of(engine)
  D = model.config.embed_dim
  hidden = jnp.asarray(hidden, jnp.float32)
  if hidden.ndim < 1 or hidden.shape[-1] != D:
    raise types.RequestError(
      f'hidden has the shape {list(hidden.shape)}; its last axis must be the '
      f'width of the model, {D}.',
      param='hidden',
    )
  logits_TV = _unembed(model, engine.params, hidden.reshape(-1, D))
  return logits_TV.reshape(*hidden.shape[:-1], -1)


@functools.partial(jax.jit, static_argnames='model')
def _unembed(model, params, x_TD):
  return model.logits(params, model.norm(params, x_TD))


def steered(engine: engine_lib.Engine, add: Mapping[str, Any]) -> load.Weights:
  """The weights of an engine, and what is added to each position's stream.

  Its parameters are shared, not copied.

  Raises:
    types.ChatjaxError: there is no such point, or the model is on a mesh.
  """
  weights = engine.weights
  if engine.config.mesh.num_devices > 1:
    raise types.ChatjaxError(
      'A model on a mesh cannot be steered; load it on one device.'
    )
  _check_points('add', add, taps_lib.points(weights.config))
  size = (weights.config.embed_dim,)
  vectors = {
    name: np.broadcast_to(_broadcastable(name, value, size), size)
    for name, value in sorted(add.items())
  }
  before = weights.abstract.get(transformer.STEERING, {})
  if before.keys() & vectors.keys():
    raise types.RequestError(
      f'{min(before.keys() & vectors.keys())} is steered already; add the '
      'vectors, and steer the model that is not.',
      param='add',
    )
  digest = hashlib.sha256(weights.digest.encode())
  for name, vector in vectors.items():
    digest.update(f' {name} '.encode() + vector.tobytes())

  def with_steering(params, made):
    steering = {**params.get(transformer.STEERING, {}), **made}
    return {**params, transformer.STEERING: steering}

  return dataclasses.replace(
    weights,
    abstract=with_steering(
      weights.abstract,
      jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), vectors),
    ),
    restore=lambda: with_steering(engine.params, jax.device_put(vectors)),
    digest=digest.hexdigest(),
  )


def _check_points(
  param: str, names: Collection[str], allowed: Collection[str]
) -> None:
  if isinstance(names, str):
    raise types.RequestError(
      f'{param}={names!r} is one name; give a list of them.', param=param
    )
  try:
    taps_lib.check(names, allowed)
  except taps_lib.UnknownPoint as error:
    raise types.RequestError(str(error), param=param) from None


def _broadcastable(
  name: str, value: Any, shape: tuple[int, ...]
) -> np.ndarray | jax.Array:
  array = value if isinstance(value, jax.Array) else np.asarray(value)
  array = array.astype(np.float32)
  try:
    is_fit = np.broadcast_shapes(array.shape, shape) == shape
  except ValueError:
    is_fit = False
  if not is_fit:
    raise types.RequestError(
      f'What is added at {name} has the shape {list(array.shape)}; it must '
      f'broadcast to {list(shape)}.',
      param='add',
    )
  return array
