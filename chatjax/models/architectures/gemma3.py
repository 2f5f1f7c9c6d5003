"""Gemma 3 (arXiv:2503.19786), text: five local layers, then a global one."""

from collections.abc import Mapping
from typing import Any

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.ckpt import view
from chatjax.models import family
from chatjax.models import hub_keys
from chatjax.models import metadata as metadata_lib
from chatjax.models.architectures import gemma2

_GLOBAL_EVERY = 6
_LOCAL_ROPE_THETA = 10_000.0
_NUM_LAYERS_27B = 62

_RULES = (
  *family.shared_rules(),
  family.norm('layer_{layer}.attn.q_norm.w', 'blk.{layer}.attn_q_norm.weight'),
  family.norm('layer_{layer}.attn.k_norm.w', 'blk.{layer}.attn_k_norm.weight'),
  family.norm(
    'layer_{layer}.post_attn_norm.w',
    'blk.{layer}.post_attention_norm.weight',
  ),
  family.norm(
    'layer_{layer}.post_mlp_norm.w', 'blk.{layer}.post_ffw_norm.weight'
  ),
)


def read_config(metadata: family.Metadata) -> model_config.ModelConfig:
  """Sizes from GGUF metadata; norm factors there have the +1 added."""
  keys = metadata_lib.Keys(metadata)
  # Their usual defaults are those of other families.
  keys.number('rope.freq_base')
  keys.integer('attention.key_length')
  keys.expect(
    'attention.sliding_window_pattern', _GLOBAL_EVERY, 'five local layers'
  )
  sizes = family.common_sizes(metadata)
  if sizes['num_layers'] == _NUM_LAYERS_27B:
    # Files do not say it: only this size scales by more than a head.
    sizes['query_scale'] = (sizes['embed_dim'] / sizes['num_heads']) ** -0.5
  kinds = tuple(
    model_config.LayerKind.GLOBAL
    if layer % _GLOBAL_EVERY == _GLOBAL_EVERY - 1
    else model_config.LayerKind.LOCAL
    for layer in range(sizes['num_layers'])
  )
  return model_config.ModelConfig(
    **sizes,
    layer_kinds=kinds,
    local_rope_theta=keys.number('rope.freq_base_swa', _LOCAL_ROPE_THETA),
    sliding_window=keys.integer('attention.sliding_window'),
    embed_scale=sizes['embed_dim'] ** 0.5,
    activation='gelu_tanh',
    qk_norm=True,
    post_norms=True,
  )


# Folders leave out what is usual.
_USUAL = {
  'vocab_size': 262_208,
  'num_attention_heads': 8,
  'num_key_value_heads': 4,
  'head_dim': 256,
  'max_position_embeddings': 131_072,
  'query_pre_attn_scalar': 256,
  'sliding_window': 4096,
}
_ROPE_THETA = 1_000_000.0


def read_hub_config(values: family.Metadata) -> model_config.ModelConfig:
  """Sizes from config.json, or from the `text_config` in one."""
  values = _USUAL | values
  local = hub_keys.rope(_local_rope(values))
  if local['rope_scaling'] is not None:
    raise config_lib.ConfigError(
      'rope_parameters of sliding_attention has a rope_type in config.json, and'
      " chatjax can only compute 'default' there for this family."
    )
  every = hub_keys.Keys(values).size('sliding_window_pattern', _GLOBAL_EVERY)
  kinds = hub_keys.windows(values, lambda layer: (layer + 1) % every != 0)
  return model_config.ModelConfig(
    **gemma2.gemma_sizes(_global_rope(values)),
    **kinds,
    local_rope_theta=local['rope_theta'],
    qk_norm=True,
  )


def _read_text_config(values: family.Metadata) -> model_config.ModelConfig:
  text = values.get('text_config')
  if not isinstance(text, dict):
    raise config_lib.ConfigError('text_config is no object in config.json.')
  return read_hub_config(text)


def _global_rope(values: family.Metadata) -> dict[str, Any]:
  stated = values.get('rope_parameters')
  if stated is not None:
    values = dict(values, rope_parameters=_of_kind(stated, 'full_attention'))
  return {'rope_theta': _ROPE_THETA} | values


def _local_rope(values: family.Metadata) -> dict[str, Any]:
  stated = values.get('rope_parameters')
  theta = hub_keys.Keys(values).number(
    'rope_local_base_freq', _LOCAL_ROPE_THETA, over=1
  )
  rope = {} if stated is None else _of_kind(stated, 'sliding_attention')
  return {'rope_parameters': {'rope_theta': theta} | rope}


def _of_kind(stated: Any, kind: str) -> Any:
  if not isinstance(stated, dict) or not isinstance(stated.get(kind), dict):
    raise config_lib.ConfigError(
      f'rope_parameters has no {kind} in config.json.'
    )
  return stated[kind]


_HUB_RULES = family.hub_rules(family.SANDWICH_NORMS, qk_norm=True)
_TEXT = ('language_model.', 'model.language_model.')
_OTHER = (
  'vision_tower.', 'model.vision_tower.',
  'multi_modal_projector.', 'model.multi_modal_projector.',
)  # fmt: skip


def _text_names(tensor: str) -> Mapping[str, view.Part]:
  """Leaves out what sees, and takes the rest by its name in a text model."""
  if tensor.startswith(_OTHER):
    return {}
  for prefix in _TEXT:
    if tensor.startswith(prefix):
      name = tensor.removeprefix(prefix)
      known = name.startswith(('model.', 'lm_head.'))
      return {name if known else f'model.{name}': view.whole(tensor)}
  return view.renamed(tensor)


_TEXT_ONLY = family.Family(
  gguf_architecture='gemma3',
  read_config=read_config,
  gguf_rules=_RULES,
  architectures=('Gemma3ForCausalLM',),
  read_hub_config=read_hub_config,
  hub_rules=_HUB_RULES,
)
# The text half of models that see.
_MULTIMODAL = family.Family(
  architectures=('Gemma3ForConditionalGeneration',),
  read_hub_config=_read_text_config,
  hub_rules=_HUB_RULES,
  hub_names=_text_names,
  written_as='Gemma3ForCausalLM',
)
FAMILIES = (_TEXT_ONLY, _MULTIMODAL)
