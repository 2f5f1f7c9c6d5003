"""Tiny models with random weights, in folders as the hub lays them out."""

from __future__ import annotations

from collections.abc import Mapping
import json
import pathlib
from typing import Any

import ml_dtypes
import numpy as np
import tokenizers
from tokenizers import decoders
from tokenizers import models
from tokenizers import pre_tokenizers

from chatjax.ckpt import safetensors
from chatjax.ckpt import stream
from chatjax.models import families
from chatjax.models import family as family_lib
from chatjax.models import filling
from chatjax.nn import transformer
from chatjax.testing import vocabularies

SPECIAL = ('<|endoftext|>', '<|im_start|>', '<|im_end|>')
CONFIG: Mapping[str, Any] = {
  'architectures': ['Qwen2ForCausalLM'],
  'model_type': 'qwen2',
  'hidden_act': 'silu',
  'hidden_size': 32,
  'intermediate_size': 48,
  'num_hidden_layers': 2,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'head_dim': 16,
  'vocab_size': 272,
  'max_position_embeddings': 512,
  'rms_norm_eps': 1e-6,
  'rope_theta': 10000.0,
  'tie_word_embeddings': True,
}


def tensors(
  config: Mapping[str, Any] = CONFIG, dtype: Any = ml_dtypes.bfloat16
) -> dict[str, np.ndarray]:
  """The tensors of such a model, drawn anew each time alike."""
  family = families.BY_HUB[config['architectures'][0]]
  model = family.read_hub_config(config)
  abstract = transformer.Transformer(model, 'float32').abstract_params()
  leaves, rng = filling.leaves(abstract), np.random.default_rng(0)
  known = family_lib.letter_sizes(model)
  shapes: dict[str, tuple[int, ...]] = {}
  for rule in family.expand_hub_rules(model):
    plan = stream.export_plan(rule, leaves[rule.target].shape, known)
    shapes |= stream.source_shapes(plan)
  return {
    name: (rng.normal(size=shape) / shape[-1] ** 0.5).astype(dtype)
    for name, shape in shapes.items()
  }


def write_file(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """One safetensors file."""
  head, infos = safetensors.head(
    {name: (array.shape, array.dtype) for name, array in arrays.items()}
  )
  with open(path, 'wb') as file:
    file.write(head)
    for name, info in infos.items():
      file.seek(info.offset)
      file.write(np.ascontiguousarray(arrays[name]).tobytes())


def write(
  folder: pathlib.Path,
  arrays: Mapping[str, np.ndarray] | None = None,
  *,
  config: Mapping[str, Any] = CONFIG,
  num_shards: int = 1,
) -> dict[str, np.ndarray]:
  """Writes a whole folder; returns its tensors."""
  folder.mkdir(parents=True, exist_ok=True)
  made = dict(tensors(config) if arrays is None else arrays)
  if num_shards == 1:
    write_file(folder / 'model.safetensors', made)
  else:
    names, weight_map = list(made), {}
    for i in range(num_shards):
      file = f'model-{i + 1:05}-of-{num_shards:05}.safetensors'
      mine = names[i::num_shards]
      write_file(folder / file, {name: made[name] for name in mine})
      weight_map |= dict.fromkeys(mine, file)
    _dump(folder, 'model.safetensors.index.json', {'weight_map': weight_map})
  _dump(folder, 'config.json', config)
  _dump(folder, 'generation_config.json', {'eos_token_id': [256, 258]})
  (folder / 'tokenizer.json').write_text(tokenizer().to_str())
  _dump(
    folder, 'tokenizer_config.json',
    {'eos_token': '<|im_end|>', 'chat_template': vocabularies.CHATML},
  )  # fmt: skip
  return made


def tokenizer() -> tokenizers.Tokenizer:
  """Bytes, then ChatML's tokens."""
  letters = sorted(pre_tokenizers.ByteLevel.alphabet())
  made = tokenizers.Tokenizer(
    models.BPE(vocab={x: i for i, x in enumerate(letters)}, merges=[])
  )
  made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  made.decoder = decoders.ByteLevel()
  made.add_special_tokens(list(SPECIAL))
  return made


def _dump(folder: pathlib.Path, name: str, value: Any) -> None:
  (folder / name).write_text(json.dumps(value))
