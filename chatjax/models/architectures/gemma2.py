"""Gemma 2 (arXiv:2408.00118): sandwich norms, bounded logits, windows."""

from typing import Any

from chatjax import model_config
from chatjax.models import family
from chatjax.models import hub_keys

_USUAL = {
  'head_dim': 256,
  'query_pre_attn_scalar': 256,
  'sliding_window': 4096,
  'attn_logit_softcapping': 50.0,
  'final_logit_softcapping': 30.0,
}


def read_hub_config(values: family.Metadata) -> model_config.ModelConfig:
  """Sizes from config.json."""
  values = _USUAL | values
  kinds = hub_keys.windows(values, lambda layer: layer % 2 == 0)
  return model_config.ModelConfig(**gemma_sizes(values), **kinds)


def gemma_sizes(values: family.Metadata) -> dict[str, Any]:
  """The fields of ModelConfig that Gemmas have in common."""
  keys = hub_keys.Keys(values)
  keys.expect('use_bidirectional_attention', False, None)
  activation = values.get('hidden_activation') or 'gelu_pytorch_tanh'
  usual = {'tie_word_embeddings': True}
  sizes = hub_keys.common_sizes(usual | dict(values, hidden_act=activation))
  return sizes | {
    'query_scale': keys.number('query_pre_attn_scalar', over=0) ** -0.5,
    'embed_scale': sizes['embed_dim'] ** 0.5,
    'attn_softcap': keys.number('attn_logit_softcapping', 0.0) or None,
    'final_softcap': keys.number('final_logit_softcapping', 0.0) or None,
    'post_norms': True,
    'norm_offset': 1.0,
  }


FAMILY = family.Family(
  architectures=('Gemma2ForCausalLM',),
  read_hub_config=read_hub_config,
  hub_rules=family.hub_rules(family.SANDWICH_NORMS),
)
