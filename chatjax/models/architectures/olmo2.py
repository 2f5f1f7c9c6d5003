"""OLMo 2 (arXiv:2501.00656): norms after, and over whole queries and keys."""

from chatjax import model_config
from chatjax.models import family
from chatjax.models import hub_keys


def read_hub_config(values: family.Metadata) -> model_config.ModelConfig:
  """Sizes from config.json."""
  return model_config.ModelConfig(
    **hub_keys.common_sizes({'rms_norm_eps': 1e-5} | values),
    qk_norm_whole=True,
    pre_norms=False,
    post_norms=True,
  )


FAMILY = family.Family(
  architectures=('Olmo2ForCausalLM',),
  read_hub_config=read_hub_config,
  hub_rules=family.hub_rules(family.POST_NORMS, qk_norm=True),
)
