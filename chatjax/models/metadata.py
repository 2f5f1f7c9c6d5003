"""The numbers in a GGUF file's metadata, and what is refused there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatjax import config as config_lib
from chatjax import model_config

# Says nothing about how positions are rotated.
_HARMLESS = ('rope.scaling.finetuned',)
_TYPE, _FACTOR = 'rope.scaling.type', 'rope.scaling.factor'
_CONTEXT = 'rope.scaling.original_context_length'
_OLD_FACTOR = 'rope.scale_linear'  # what the factor was called at first
# Kind of scaling -> the keys that it may have. Llama 3.1's files have the
# context too, and a tensor instead of a scaling.
_SCALINGS = {
  'none': None,
  None: (_CONTEXT,),
  'linear': (_FACTOR, _OLD_FACTOR, _CONTEXT),
  'yarn': (_FACTOR, _CONTEXT),
}
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

  def rope_scaling(self) -> model_config.RopeScaling | None:
    """How the rotary embedding is stretched; what is not known is refused."""
    stated = self._scaling()
    kind = stated.pop(_TYPE, None)
    if kind is None and stated.keys() & {_FACTOR, _OLD_FACTOR}:
      kind = 'linear'  # where files do not say it
    is_known = kind is None or (isinstance(kind, str) and kind in _SCALINGS)
    if not is_known or (kind == 'yarn' and _CONTEXT not in stated):
      raise self._unapplied(_TYPE, kind)
    known = _SCALINGS[kind]
    if known is None:
      return None
    if others := stated.keys() - known:
      name = min(others)
      raise self._unapplied(name, stated[name])
    if kind is None:
      return None
    factor = self.number(_FACTOR if _FACTOR in stated else _OLD_FACTOR)
    if kind == 'yarn':
      context = self.integer(_CONTEXT)
      return model_config.Yarn(factor=factor, original_context=context)
    return None if factor == 1 else model_config.LinearRope(factor=factor)

  def _scaling(self) -> dict[str, Any]:
    """All that the file says of it, by the names that follow the family."""
    start = f'{self._arch}.'
    names = [
      key.removeprefix(start) for key in self._metadata if key.startswith(start)
    ]
    return {
      name: self._metadata[start + name]
      for name in names
      if name.startswith('rope.scal') and name not in _HARMLESS
    }

  def _unapplied(self, name: str, value: Any) -> config_lib.ConfigError:
    return config_lib.ConfigError(
      f'the file scales its rotary embedding ({self._arch}.{name} is'
      f' {value!r}), which chatjax does not apply.'
    )

  def _get(self, name: str, default: Any, kinds: tuple[type, ...]) -> Any:
    key = f'{self._arch}.{name}'
    value = self._metadata.get(key, default)
    if value is None:
      raise config_lib.ConfigError(f'the file has no {key}.')
    if isinstance(value, bool) or not isinstance(value, kinds):
      raise config_lib.ConfigError(f'{key} is not one number.')
    return value
