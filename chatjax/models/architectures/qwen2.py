"""Qwen2 and Qwen2.5 (arXiv:2412.15115): biases on queries, keys, values."""

from typing import Any

from chatjax import model_config
from chatjax.ckpt import mapping
from chatjax.models import family
from chatjax.models import hub_keys

_BIAS = mapping.Rule(
  target='layer_{layer}.attn.qkv.b',
  sources=(
    ('blk.{layer}.attn_q.bias', 'KGH->K,G,H'),
    ('blk.{layer}.attn_k.bias', 'KEH->K,E,H'),
    ('blk.{layer}.attn_v.bias', 'KEH->K,E,H'),
  ),
  axis=1,
)


def read_config(metadata: family.Metadata) -> model_config.ModelConfig:
  """Sizes from GGUF metadata."""
  return model_config.ModelConfig(
    **family.common_sizes(metadata), qkv_bias=True
  )


def read_hub_config(values: family.Metadata) -> model_config.ModelConfig:
  """Sizes from config.json."""
  return model_config.ModelConfig(
    **hub_keys.common_sizes(values), **late_windows(values), qkv_bias=True
  )


def late_windows(values: family.Metadata) -> dict[str, Any]:
  """Fields of ModelConfig: if asked for, the last layers have a window."""
  keys = hub_keys.Keys(values)
  if not keys.flag('use_sliding_window', False):
    return {}
  first = keys.integer('max_window_layers')
  return hub_keys.windows(values, lambda layer: layer >= first)


FAMILY = family.Family(
  gguf_architecture='qwen2',
  read_config=read_config,
  gguf_rules=(*family.shared_rules(), _BIAS),
  architectures=('Qwen2ForCausalLM',),
  read_hub_config=read_hub_config,
  hub_rules=(*family.hub_rules(), family.hub_qkv_bias()),
)
