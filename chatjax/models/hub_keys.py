"""The numbers in a config.json, and what is refused there."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import sys
from typing import Any

from chatjax import config as config_lib
from chatjax import model_config

_ACTIVATIONS = {'silu': 'silu', 'gelu_pytorch_tanh': 'gelu_tanh'}
_KINDS = {
  'sliding_attention': model_config.LayerKind.LOCAL,
  'full_attention': model_config.LayerKind.GLOBAL,
}


# Products of two sizes fit 64 bits, and tables of names the memory.
_MAX_SIZE, _MAX_EXPERTS = 2**31 - 1, 1024


class Keys:
  """A config.json; all methods raise ConfigError, which names the key."""

  def __init__(self, values: Mapping[str, Any]):
    self._values = values

  def integer(self, name: str, default: int | None = None) -> int:
    return int(self._number(name, default, (int,)))

  def size(
    self, name: str, default: int | None = None, *, least: int = 1,
    most: int = _MAX_SIZE,
  ) -> int:  # fmt: skip
    """A whole number within bounds."""
    found = self.integer(name, default)
    if not least <= found <= most:
      raise config_lib.ConfigError(
        f'{name} is {str(found)[:50]} in config.json, and must be from'
        f' {least:,} to {most:,}.'
      )
    return found

  def num_layers(self) -> int:
    return self.size('num_hidden_layers', most=model_config.MAX_LAYERS)

  def num_experts(self, name: str) -> int:
    return self.size(name, most=_MAX_EXPERTS)

  def number(
    self, name: str, default: float | None = None, *, over: float | None = None
  ) -> float:
    found = float(self._number(name, default, (int, float)))
    if over is not None and found <= over:
      raise config_lib.ConfigError(
        f'{name} is {found:g} in config.json, and must be over {over:g}.'
      )
    return found

  def numbers(self, name: str) -> tuple[float, ...]:
    found = self._values.get(name)
    if not isinstance(found, list) or not all(map(_is_number, found)):
      raise config_lib.ConfigError(
        f'{name} is no list of numbers in config.json.'
      )
    return tuple(map(float, found))

  def flag(self, name: str, default: bool) -> bool:
    found = self._values.get(name)
    found = default if found is None else found
    if not isinstance(found, bool):
      raise config_lib.ConfigError(
        f'{name} is not true or false in config.json.'
      )
    return found

  def expect(self, name: str, *allowed: Any) -> None:
    """Refuses any other value; the first is meant if there is none."""
    found = self._values.get(name, allowed[0])
    if found not in allowed:
      raise config_lib.ConfigError(
        f'{name} is {str(found)[:100]!r} in config.json, and chatjax can only'
        f' compute {" or ".join(map(repr, allowed))}.'
      )

  def _number(self, name: str, default: Any, kinds: tuple[type, ...]) -> Any:
    value = self._values.get(name)
    value = default if value is None else value
    if value is None:
      raise config_lib.ConfigError(f'config.json has no {name}.')
    if not _is_number(value, kinds):
      raise config_lib.ConfigError(f'{name} is not one number in config.json.')
    return value


def _is_number(x: Any, kinds: tuple[type, ...] = (int, float)) -> bool:
  # Whole numbers in JSON may be larger than any float.
  is_kind = isinstance(x, kinds) and not isinstance(x, bool)
  return is_kind and abs(x) <= sys.float_info.max


def _is_key(x: Any, table: Mapping[str, Any]) -> bool:
  return isinstance(x, str) and x in table


def common_sizes(values: Mapping[str, Any]) -> dict[str, Any]:
  """The fields of ModelConfig that most architectures spell alike.

  Raises:
    config.ConfigError: a key that is missing, or asks for what is not there.
  """
  keys = Keys(values)
  keys.expect('hidden_act', *_ACTIVATIONS)
  keys.expect('attention_bias', False, None)
  keys.expect('mlp_bias', False, None)
  num_heads, embed_dim = (
    keys.size('num_attention_heads'), keys.size('hidden_size')
  )  # fmt: skip
  return {
    'vocab_size': keys.size('vocab_size'),
    'num_layers': keys.num_layers(),
    'embed_dim': embed_dim,
    'num_heads': num_heads,
    'num_kv_heads': keys.size('num_key_value_heads', num_heads),
    'head_dim': keys.size('head_dim', embed_dim // num_heads),
    'mlp_dim': keys.size('intermediate_size'),
    'activation': _ACTIVATIONS[values.get('hidden_act', 'silu')],
    'max_context': keys.size('max_position_embeddings'),
    'norm_eps': keys.number('rms_norm_eps', 1e-6),
    'tie_embeddings': keys.flag('tie_word_embeddings', False),
    **rope(values),
  }


def windows(
  values: Mapping[str, Any],
  is_local: Callable[[int], bool] = lambda layer: False,
) -> dict[str, Any]:
  """The fields of ModelConfig that say which layers have a window.

  Args:
    values: a config.json.
    is_local: which layers have one if `layer_types` does not say it.
  """
  num_layers = Keys(values).num_layers()
  named = values.get('layer_types')
  if named is None:
    named = [
      'sliding_attention' if is_local(layer) else 'full_attention'
      for layer in range(num_layers)
    ]
  if not isinstance(named, list) or len(named) != num_layers:
    raise config_lib.ConfigError(
      f'layer_types is no list of {num_layers} names in config.json.'
    )
  if unknown := [x for x in named if not _is_key(x, _KINDS)]:
    raise config_lib.ConfigError(
      f'layer_types has {str(unknown[0])[:50]!r} in config.json, and chatjax'
      f' can only compute {" and ".join(_KINDS)}.'
    )
  kinds = tuple(_KINDS[name] for name in named)
  if model_config.LayerKind.LOCAL not in kinds:
    return {}
  window = Keys(values).size('sliding_window')
  return {'layer_kinds': kinds, 'sliding_window': window}


def rope(values: Mapping[str, Any]) -> dict[str, Any]:
  """The fields of ModelConfig that speak of the rotary embedding."""
  stated = values.get('rope_parameters') or values.get('rope_scaling') or {}
  if not isinstance(stated, dict):
    raise config_lib.ConfigError('rope_scaling is no object in config.json.')
  for place in (values, stated):
    Keys(place).expect('partial_rotary_factor', 1.0, None)
  kind = stated.get('rope_type', stated.get('type', 'default'))
  if not _is_key(kind, _SCALINGS):
    raise config_lib.ConfigError(
      f'rope_type is {str(kind)[:50]!r} in config.json, and chatjax can only'
      f' compute {" or ".join(map(repr, _SCALINGS))} for this family.'
    )
  length = 'original_max_position_embeddings'
  keys = Keys({length: values.get('max_position_embeddings')} | stated)
  return {
    'rope_theta': Keys(values | stated).number('rope_theta', 10_000.0, over=1),
    'rope_scaling': _SCALINGS[kind](keys),
  }


def _linear(keys: Keys) -> model_config.LinearRope:
  return model_config.LinearRope(factor=keys.number('factor'))


def _llama3(keys: Keys) -> model_config.Llama3Rope:
  return model_config.Llama3Rope(
    factor=keys.number('factor'),
    original_context=keys.size('original_max_position_embeddings'),
    low_frequency=keys.number('low_freq_factor'),
    high_frequency=keys.number('high_freq_factor'),
  )


def _yarn(keys: Keys) -> model_config.Yarn:
  for name in ('mscale', 'mscale_all_dim'):
    keys.expect(name, None)
  return model_config.Yarn(
    factor=keys.number('factor'),
    original_context=keys.size('original_max_position_embeddings'),
    beta_fast=keys.number('beta_fast', 32.0),
    beta_slow=keys.number('beta_slow', 1.0),
    truncate=keys.flag('truncate', True),
    attention_factor=keys.number('attention_factor', 0.0) or None,
  )


_SCALINGS: Mapping[str, Callable[[Keys], model_config.RopeScaling | None]] = {
  'default': lambda keys: None,
  'linear': _linear,
  'llama3': _llama3,
  'yarn': _yarn,
}
