"""Mixtral (arXiv:2401.04088): Mistral with experts."""

from chatjax import model_config
from chatjax.ckpt import mapping
from chatjax.models import family
from chatjax.models import hub_experts
from chatjax.models import hub_keys
from chatjax.models.architectures import mistral


def read_hub_config(values: family.Metadata) -> model_config.ModelConfig:
  """Sizes from config.json."""
  keys = hub_keys.Keys(values)
  sizes = hub_keys.common_sizes(values)
  return model_config.ModelConfig(
    **sizes,
    **mistral.one_window(values),
    num_experts=keys.num_experts('num_local_experts'),
    experts_per_token=keys.size('num_experts_per_tok'),
    moe_dim=sizes['mlp_dim'],
  )


def _hub_rules(config: model_config.ModelConfig) -> tuple[mapping.Rule, ...]:
  experts = hub_experts.rules(
    'block_sparse_moe', gate='w1', up='w3', down='w2',
    num_experts=config.num_experts,
  )  # fmt: skip
  return (*hub_experts.rest_rules(), *experts)


FAMILY = family.Family(
  architectures=('MixtralForCausalLM',),
  read_hub_config=read_hub_config,
  hub_rules=_hub_rules,
)
