"""Qwen2 and Qwen2.5 (arXiv:2412.15115): biases on queries, keys, values."""

from chatjax import config as config_lib
from chatjax.ckpt import mapping
from chatjax.models import family

_BIAS = mapping.Rule(
  target='layer_{layer}.attn.qkv.b',
  sources=(
    ('blk.{layer}.attn_q.bias', 'KGH->K,G,H'),
    ('blk.{layer}.attn_k.bias', 'KEH->K,E,H'),
    ('blk.{layer}.attn_v.bias', 'KEH->K,E,H'),
  ),
  axis=1,
)


def read_config(metadata: family.Metadata) -> config_lib.ModelConfig:
  """Sizes from GGUF metadata."""
  return config_lib.ModelConfig(**family.common_sizes(metadata), qkv_bias=True)


FAMILY = family.Family(
  read_config=read_config, gguf_rules=(*family.shared_rules(), _BIAS)
)
