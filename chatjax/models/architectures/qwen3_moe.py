"""Qwen3 with experts (arXiv:2505.09388)."""

from chatjax import model_config
from chatjax.ckpt import mapping
from chatjax.models import family
from chatjax.models import hub_experts
from chatjax.models import hub_keys

_LAYER, _ATTN = 'layer_{layer}.attn', 'model.layers.{layer}.self_attn'


def read_hub_config(values: family.Metadata) -> model_config.ModelConfig:
  """Sizes from config.json."""
  keys = hub_keys.Keys(values)
  keys.expect('use_sliding_window', False)
  keys.expect('decoder_sparse_step', 1)
  keys.expect('mlp_only_layers', [], None)
  keys.expect('norm_topk_prob', False, True)
  name = 'num_experts' if 'num_experts' in values else 'num_local_experts'
  return model_config.ModelConfig(
    **hub_keys.common_sizes(values),
    qk_norm=True,
    num_experts=keys.num_experts(name),
    experts_per_token=keys.size('num_experts_per_tok'),
    moe_dim=keys.size('moe_intermediate_size'),
    norm_topk=values.get('norm_topk_prob', False),
  )


def _hub_rules(config: model_config.ModelConfig) -> tuple[mapping.Rule, ...]:
  experts = hub_experts.rules(
    'mlp', gate='gate_proj', up='up_proj', down='down_proj',
    num_experts=config.num_experts,
  )  # fmt: skip
  return (
    *hub_experts.rest_rules(),
    family.norm(f'{_LAYER}.q_norm.w', f'{_ATTN}.q_norm.weight'),
    family.norm(f'{_LAYER}.k_norm.w', f'{_ATTN}.k_norm.weight'),
    *experts,
  )


FAMILY = family.Family(
  architectures=('Qwen3MoeForCausalLM',),
  read_hub_config=read_hub_config,
  hub_rules=_hub_rules,
)
