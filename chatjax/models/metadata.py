"""The numbers in a GGUF file's metadata, and what is refused there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatjax import config as config_lib
from chatjax import model_config

# Say nothing about how positions are rotated.
_HARMLESS = ('finetuned', 'original_context_length')
_CAPS = ('attn_logit_softcapping', 'final_logit_softcapping')


class Keys:
  """Metadata by the names that follow `general.architecture`.

  All methods raise ConfigError, which names the key.
  """

  def __init__(self, metadata: Mapping[str, Any]):
    self._metadata = metadata
    self._arch = metadata['general.architecture']

  def integer(self, name: str, default: int | None = None) -> int:
    return int(self._get(name, default, (int,)))

  def number(self, name: str, default: float | None = None) -> float:
    return float(self._get(name, default, (int, float)))

  def num_layers(self) -> int:
    found, most = self.integer('block_count'), model_config.MAX_LAYERS
    if found > most:
      raise config_lib.ConfigError(
        f'{self._arch}.block_count is {found}, and must be at most {most:,}.'
      )
    return found

  def vocab_size(self) -> int:
    key = 'tokenizer.ggml.tokens'
    if key not in self._metadata:
      raise config_lib.ConfigError(f'the file has no {key}.')
    return len(self._metadata[key])

  def expect(self, name: str, value: float, why: str) -> None:
    """Refuses any other value; a key that is not there is fine."""
    if (found := self.number(name, value)) != value:
      raise config_lib.ConfigError(
        f'{self._arch}.{name} is {found:g}, and chatjax can only compute'
        f' {value:g} ({why}).'
      )

  def refuse_unapplied(self) -> None:
    """Refuses what would be computed wrong, since the decoder lacks it."""
    for name in _CAPS:
      self.expect(name, 0, 'no soft capping')
    prefix = f'{self._arch}.rope.scaling.'
    kind = self._metadata.get(f'{prefix}type')
    if kind == 'none':
      return
    scaled = [
      key
      for key in self._metadata
      if key == f'{self._arch}.rope.scale_linear'
      or (key.startswith(prefix) and key.removeprefix(prefix) not in _HARMLESS)
    ]
    if scaled:
      raise config_lib.ConfigError(
        f'the file scales its rotary embedding ({scaled[0]} is'
        f' {self._metadata[scaled[0]]!r}), which chatjax does not apply.'
      )

  def _get(self, name: str, default: Any, kinds: tuple[type, ...]) -> Any:
    key = f'{self._arch}.{name}'
    value = self._metadata.get(key, default)
    if value is None:
      raise config_lib.ConfigError(f'the file has no {key}.')
    if isinstance(value, bool) or not isinstance(value, kinds):
      raise config_lib.ConfigError(f'{key} is not one number.')
    return value
