"""Phi-3 and Phi-4 (arXiv:2404.14219): fused weights, some rotated in part."""

import math
from typing import Any

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.ckpt import view
from chatjax.models import family
from chatjax.models import hub_keys
from chatjax.models.architectures import mistral

_LONG = ('longrope', 'su', 'yarn')  # all mean the same here
_ROPE_KEYS = ('rope_parameters', 'rope_scaling', 'partial_rotary_factor')


def read_hub_config(values: family.Metadata) -> model_config.ModelConfig:
  """Sizes from config.json.

  Frequencies for long texts differ from those for short ones, so that a text's
  beginning would change when it grows. Those for short ones serve, and contexts
  end where they do.
  """
  values = {'rms_norm_eps': 1e-5} | values
  stated = values.get('rope_parameters') or values.get('rope_scaling') or {}
  if not isinstance(stated, dict):
    raise config_lib.ConfigError('rope_scaling is no object in config.json.')
  rope = {'rope_theta': values.get('rope_theta')} | stated
  plain = {key: x for key, x in values.items() if key not in _ROPE_KEYS}
  sizes = hub_keys.common_sizes(plain | {'rope_theta': rope['rope_theta']})
  part = hub_keys.Keys(values | stated).number(
    'partial_rotary_factor', 1.0, over=0
  )
  if part > 1:
    raise config_lib.ConfigError(
      f'partial_rotary_factor is {part:g} in config.json, and must be at'
      ' most 1.'
    )
  rotary_dim = int(sizes['head_dim'] * part)
  if rotary_dim != sizes['head_dim']:
    sizes['rotary_dim'] = rotary_dim
  kind = stated.get('rope_type', stated.get('type', 'default'))
  if kind in _LONG:
    sizes |= _long(values, stated)
  else:
    hub_keys.Keys({'rope_type': kind}).expect('rope_type', 'default', *_LONG)
  return model_config.ModelConfig(**sizes, **mistral.one_window(values))


def _long(values: family.Metadata, stated: family.Metadata) -> dict[str, Any]:
  keys = hub_keys.Keys(values)
  context = keys.size('max_position_embeddings')
  # Some folders state it beside the factors.
  original = hub_keys.Keys(
    {'original_max_position_embeddings': 4096} | values | stated
  ).size('original_max_position_embeddings', least=2)
  stretch = context / original
  usual = (
    math.sqrt(1 + math.log(stretch) / math.log(original))
    if stretch > 1
    else 1.0
  )
  rope = hub_keys.Keys(stated)
  return {
    'max_context': min(context, original),
    'rope_scaling': model_config.LongRope(
      factors=rope.numbers('short_factor'),
      attention_factor=rope.number('attention_factor', usual),
    ),
  }


def _fused(config: model_config.ModelConfig) -> view.Fused:
  queries = config.num_heads * config.head_dim
  keys = config.num_kv_heads * config.head_dim
  return view.Fused({
    '.qkv_proj.weight': {
      '.q_proj.weight': queries, '.k_proj.weight': keys, '.v_proj.weight': keys,
    },
    '.gate_up_proj.weight': {
      '.gate_proj.weight': config.mlp_dim, '.up_proj.weight': config.mlp_dim,
    },
  })  # fmt: skip


FAMILY = family.Family(
  architectures=('Phi3ForCausalLM',),
  read_hub_config=read_hub_config,
  hub_rules=family.hub_rules(),
  hub_fused=_fused,
)
