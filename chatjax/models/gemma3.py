"""Gemma 3 (arXiv:2503.19786), text: five local layers, then a global one."""

from chatjax import config as config_lib
from chatjax.models import family
from chatjax.models import metadata as metadata_lib

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


def read_config(metadata: family.Metadata) -> config_lib.ModelConfig:
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
    config_lib.LayerKind.GLOBAL
    if layer % _GLOBAL_EVERY == _GLOBAL_EVERY - 1
    else config_lib.LayerKind.LOCAL
    for layer in range(sizes['num_layers'])
  )
  return config_lib.ModelConfig(
    **sizes,
    layer_kinds=kinds,
    local_rope_theta=keys.number('rope.freq_base_swa', _LOCAL_ROPE_THETA),
    sliding_window=keys.integer('attention.sliding_window'),
    embed_scale=sizes['embed_dim'] ** 0.5,
    activation='gelu_tanh',
    qk_norm=True,
    post_norms=True,
  )


FAMILY = family.Family(read_config=read_config, gguf_rules=_RULES)
