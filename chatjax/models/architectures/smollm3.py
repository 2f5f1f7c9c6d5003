"""SmolLM3: Llama in which some layers do not rotate (arXiv:2501.18795)."""

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.models import family
from chatjax.models import hub_keys

_ROPE_THETA = 2_000_000.0
_UNROTATED_EVERY = 4


def read_hub_config(values: family.Metadata) -> model_config.ModelConfig:
  """Sizes from config.json."""
  usual = {'rope_theta': _ROPE_THETA, 'tie_word_embeddings': True}
  values = usual | values
  rope_layers = _rope_layers(values)
  has_window = hub_keys.Keys(values).flag('use_sliding_window', False)
  windows = hub_keys.windows(
    values, lambda layer: has_window and not rope_layers[layer]
  )
  return model_config.ModelConfig(
    **hub_keys.common_sizes(values), **windows, rope_layers=rope_layers
  )


def _rope_layers(values: family.Metadata) -> tuple[bool, ...]:
  """Whether each layer rotates: what `no_rope_layers` says, by its zeros."""
  keys = hub_keys.Keys(values)
  num_layers = keys.num_layers()
  if values.get('no_rope_layers') is None:
    every = keys.size('no_rope_layer_interval', _UNROTATED_EVERY)
    return tuple((layer + 1) % every != 0 for layer in range(num_layers))
  stated = keys.numbers('no_rope_layers')
  if len(stated) != num_layers:
    raise config_lib.ConfigError(
      f'no_rope_layers has {len(stated)} entries in config.json for'
      f' {num_layers} layers.'
    )
  return tuple(x != 0 for x in stated)


FAMILY = family.Family(
  architectures=('SmolLM3ForCausalLM',),
  read_hub_config=read_hub_config,
  hub_rules=family.hub_rules(),
)
