"""Llama (arXiv:2407.21783) and what shares its architecture (SmolLM2)."""

from chatjax import model_config
from chatjax.models import family
from chatjax.models import hub_keys


def read_config(metadata: family.Metadata) -> model_config.ModelConfig:
  """Sizes from GGUF metadata."""
  return model_config.ModelConfig(**family.common_sizes(metadata))


def read_hub_config(values: family.Metadata) -> model_config.ModelConfig:
  """Sizes from config.json."""
  return model_config.ModelConfig(**hub_keys.common_sizes(values))


# GGUF files of this architecture hold query and key rows permuted for
# interleaved rotation.
FAMILY = family.Family(
  gguf_architecture='llama',
  read_config=read_config,
  gguf_rules=family.shared_rules(interleaved=True),
  gguf_rope_factors=True,
  architectures=('LlamaForCausalLM',),
  read_hub_config=read_hub_config,
  hub_rules=family.hub_rules(),
)
