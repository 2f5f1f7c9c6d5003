"""Named points of a forward: read what passes there, or add to it.

  embed          what the first layer reads
  layer_3.attn   what layer 3's attention adds to the residual stream
  layer_3.mlp    what its MLP, or its experts, add
  layer_3        the residual stream after layer 3
  final_norm     what is scored against the vocabulary

`Taps` live for one trace and hand its arrays on, so a function that makes
them, runs `Transformer.hidden` and returns what they saw is pure and can be
jitted. A forward without taps is the same program as if there were none.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from chatjax import model_config
from chatjax.nn import attention
from chatjax.nn import cache as cache_lib

# Sees what passes a point of a block ('attn' or 'mlp'), and says what goes on.
Inner = Callable[[str, jax.Array], jax.Array]


class UnknownPoint(ValueError):
  """There is no such point in this model."""


def points(config: model_config.ModelConfig) -> tuple[str, ...]:
  """All names, in the order of the forward."""
  layers = (
    f'layer_{layer}{part}'
    for layer in range(config.num_layers)
    for part in ('.attn', '.mlp', '')
  )
  return ('embed', *layers, 'final_norm')


def layers(config: model_config.ModelConfig) -> tuple[str, ...]:
  """Names of the layers: points whose attention can be read."""
  return tuple(f'layer_{layer}' for layer in range(config.num_layers))


def check(names: Iterable[str], allowed: Iterable[str]) -> None:
  """Raises `UnknownPoint` for a name that is none of the allowed."""
  allowed = tuple(allowed)
  for name in names:
    if name not in allowed:
      raise UnknownPoint(
        f'{name!r} is no point of this model; there are {", ".join(allowed)}.'
      )


@dataclasses.dataclass(kw_only=True)
class Taps:
  """What is read and added in one forward.

  Attributes:
    read: points that are read, after what is added there.
    add: point -> array that broadcasts to [T, D].
    attention: layers whose attention is read; for a dense forward.
    seen: point -> f32[T, D], filled as the forward goes.
    attended: layer -> probabilities f32[N, T, T] of its query heads, likewise.
  """

  read: frozenset[str] = frozenset()
  add: Mapping[str, jax.Array] = dataclasses.field(default_factory=dict)
  attention: frozenset[str] = frozenset()
  seen: dict[str, jax.Array] = dataclasses.field(default_factory=dict)
  attended: dict[str, jax.Array] = dataclasses.field(default_factory=dict)

  def at(self, point: str, x_TD: jax.Array) -> jax.Array:
    """What goes on from a point."""
    if point in self.add:
      x_TD = x_TD + jnp.broadcast_to(self.add[point], x_TD.shape)
    if point in self.read:
      self.seen[point] = x_TD
    return x_TD

  def inside(self, layer: int) -> Inner | None:
    """The taps inside of a layer; None if there are none."""
    name = f'layer_{layer}'
    wanted = {f'{name}.attn', f'{name}.mlp'}
    if wanted.isdisjoint(self.read | self.add.keys()):
      return None
    return lambda part, x_TD: self.at(f'{name}.{part}', x_TD)

  def attend(self, layer: int, attend: attention.Attend) -> attention.Attend:
    """A layer's way to the keys, watched if that is wanted."""
    if not self.watches(layer):
      return attend
    assert isinstance(attend, attention.Dense), 'pages are not watched'
    return _Watched(self, f'layer_{layer}')

  def watches(self, layer: int) -> bool:
    """Whether a layer's attention is read."""
    return f'layer_{layer}' in self.attention


@dataclasses.dataclass(frozen=True)
class _Watched:
  """Dense attention whose probabilities are kept."""

  taps: Taps
  name: str

  def __call__(
    self,
    heads: attention.Heads,
    cache: cache_lib.LayerCache | None,
    window: int | None,
  ) -> tuple[jax.Array, Any]:
    probs_KGTS = attention.probabilities(heads, window)
    K, G, T, S = probs_KGTS.shape
    self.taps.attended[self.name] = probs_KGTS.reshape(K * G, T, S)
    return attention.mix(probs_KGTS, heads), cache
