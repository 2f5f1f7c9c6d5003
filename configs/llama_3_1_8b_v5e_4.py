"""Llama 3.1 8B on four v5e chips: bfloat16."""

from chatjax import config


def get_config() -> config.Config:
  return config.Config(
    model='meta-llama/Llama-3.1-8B-Instruct',
    engine=config.EngineConfig(
      dtype='bfloat16',
      cache_dtype='bfloat16',
      max_rows=32,
      context=8192,
      chunk=256,
      cache_tokens=65536,
      mesh=config.MeshConfig(model=4),
    ),
  )
