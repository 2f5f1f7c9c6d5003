"""What a hub folder says beside its tensors, for a checkpoint that is none."""

from __future__ import annotations

from typing import Any

from chatjax import config as config_lib
from chatjax.models import families
from chatjax.models import source as source_lib
from chatjax.text import hub_write

# Architectures whose sizes are said by the usual keys alone.
_MODEL_TYPES = {'LlamaForCausalLM': 'llama', 'Qwen2ForCausalLM': 'qwen2'}


def architecture(source: source_lib.Source) -> str:
  """The name that config.json has for the family of a source.

  Raises:
    source.LoadError: the family has none here.
  """
  if source.architecture in families.BY_HUB:
    return source.architecture
  family = families.BY_GGUF[source.architecture]
  for name in _MODEL_TYPES:
    if families.BY_HUB.get(name) is family:
      return name
  raise source_lib.LoadError(
    f'{source.path.name} holds a {source.architecture!r} model, which can only'
    f' be converted from a hub folder; {", ".join(_MODEL_TYPES)} can from GGUF.'
  )


def of_gguf(
  source: source_lib.Source, metadata: Any, dtype: str
) -> dict[str, Any]:
  """File name -> JSON.

  Raises:
    types.ChatjaxError: something that these files cannot say.
  """
  name = architecture(source)
  texts = hub_write.files(metadata, source.texts.chat_template)
  config = source.config
  made = {
    'architectures': [name],
    'model_type': _MODEL_TYPES[name],
    'hidden_size': config.embed_dim,
    'intermediate_size': config.mlp_dim,
    'num_hidden_layers': config.num_layers,
    'num_attention_heads': config.num_heads,
    'num_key_value_heads': config.num_kv_heads,
    'head_dim': config.head_dim,
    'vocab_size': config.vocab_size,
    'max_position_embeddings': config.max_context,
    'rms_norm_eps': config.norm_eps,
    'rope_theta': config.rope_theta,
    'hidden_act': config.activation,
    'tie_word_embeddings': config.tie_embeddings,
    'torch_dtype': dtype,
    **texts['generation_config.json'],
  }
  try:
    is_same = families.BY_HUB[name].read_hub_config(made) == config
  except config_lib.ConfigError:
    is_same = False
  if not is_same:
    raise source_lib.LoadError(
      f'{source.path.name} computes in a way that a config.json of'
      f' {name} does not say here; convert the original checkpoint.'
    )
  return {'config.json': made, **texts}
