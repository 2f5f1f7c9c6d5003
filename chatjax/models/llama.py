"""Llama (arXiv:2407.21783) and what shares its architecture (SmolLM2)."""

from chatjax import config as config_lib
from chatjax.models import family


def read_config(metadata: family.Metadata) -> config_lib.ModelConfig:
  """Sizes from GGUF metadata."""
  return config_lib.ModelConfig(**family.common_sizes(metadata))


# GGUF files of this architecture hold query and key rows permuted for
# interleaved rotation.
FAMILY = family.Family(
  read_config=read_config, gguf_rules=family.shared_rules(interleaved=True)
)
