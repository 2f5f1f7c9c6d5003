"""Qwen3 (arXiv:2505.09388): norms on queries and keys."""

from chatjax import model_config
from chatjax.models import family
from chatjax.models import hub_keys
from chatjax.models.architectures import qwen2


def read_hub_config(values: family.Metadata) -> model_config.ModelConfig:
  """Sizes from config.json."""
  return model_config.ModelConfig(
    **hub_keys.common_sizes(values), **qwen2.late_windows(values), qk_norm=True
  )


FAMILY = family.Family(
  architectures=('Qwen3ForCausalLM',),
  read_hub_config=read_hub_config,
  hub_rules=family.hub_rules(qk_norm=True),
)
