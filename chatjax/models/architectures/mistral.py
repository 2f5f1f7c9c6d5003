"""Mistral (arXiv:2310.06825): Llama whose layers may all have a window."""

from typing import Any

from chatjax import model_config
from chatjax.models import family
from chatjax.models import hub_keys


def read_hub_config(values: family.Metadata) -> model_config.ModelConfig:
  """Sizes from config.json."""
  sizes = hub_keys.common_sizes(values)
  return model_config.ModelConfig(**sizes, **one_window(values))


def one_window(values: family.Metadata) -> dict[str, Any]:
  """Fields of ModelConfig: all layers have the window that is stated."""
  has_window = bool(hub_keys.Keys(values).integer('sliding_window', 0))
  return hub_keys.windows(values, lambda layer: has_window)


FAMILY = family.Family(
  architectures=('MistralForCausalLM',),
  read_hub_config=read_hub_config,
  hub_rules=family.hub_rules(),
)
