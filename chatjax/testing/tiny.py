"""Tiny random-weight models: every branch of the decoder in milliseconds."""

from __future__ import annotations

import dataclasses
import hashlib

import jax

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.models import load
from chatjax.nn import quant
from chatjax.nn import transformer

_LOCAL, _GLOBAL = model_config.LayerKind.LOCAL, model_config.LayerKind.GLOBAL
_SIZES = {
  'vocab_size': 259,
  'num_layers': 3,
  'embed_dim': 32,
  'num_heads': 4,
  'num_kv_heads': 2,
  'head_dim': 16,
  'mlp_dim': 48,
  'max_context': 512,
}
_TWO_LAYERS = _SIZES | {'num_layers': 2}

# As Llama, Qwen2, Gemma 3, Mixtral and gpt-oss differ from one another.
CONFIGS = {
  'llama': model_config.ModelConfig(**_SIZES),
  'qwen2': model_config.ModelConfig(
    **_SIZES, qkv_bias=True, tie_embeddings=False
  ),
  'gemma3': model_config.ModelConfig(
    **_SIZES,
    layer_kinds=(_LOCAL, _GLOBAL, _LOCAL),
    sliding_window=20,
    local_rope_theta=1000.0,
    embed_scale=32**0.5,
    activation='gelu_tanh',
    qk_norm=True,
    post_norms=True,
  ),
  'mixtral': model_config.ModelConfig(
    **_TWO_LAYERS, num_experts=5, experts_per_token=2, moe_dim=48
  ),
  'gpt_oss': model_config.ModelConfig(
    **_TWO_LAYERS,
    layer_kinds=(_LOCAL, _GLOBAL),
    sliding_window=20,
    activation='clamped_swiglu',
    qkv_bias=True,
    out_bias=True,
    attention_sinks=True,
    tie_embeddings=False,
    num_experts=4,
    experts_per_token=2,
    moe_dim=48,
    moe_bias=True,
  ),
}

ENGINE = config_lib.EngineConfig(
  dtype='int8',
  max_rows=4,
  context=128,
  page_size=8,
  chunk=16,
  decode_steps=3,
  cache_tokens=512,
)


def weights(
  family: str, dtype: str, seed: int = 0, **sizes: int
) -> load.Weights:
  """A model of random weights; ids are bytes and three special tokens.

  Args:
    family: one of CONFIGS.
    dtype: of the weights.
    seed: of the numbers.
    **sizes: fields of its config that are others.
  """
  config = dataclasses.replace(CONFIGS[family], **sizes)
  dtype = quant.storage(dtype)
  model = transformer.Transformer(config, dtype)
  return load.Weights(
    config=config,
    abstract=model.abstract_params(),
    restore=lambda placement=None: model.init(jax.random.key(seed)),
    digest=hashlib.sha256(f'{config}-{dtype}-{seed}'.encode()).hexdigest(),
    dtype=dtype,
  )
