"""Gemma 3 27B on four v6e chips: bfloat16."""

from chatjax import config


def get_config() -> config.Config:
  return config.Config(
    model='google/gemma-3-27b-it',
    engine=config.EngineConfig(
      dtype='bfloat16',
      cache_dtype='bfloat16',
      max_rows=16,
      context=8192,
      chunk=256,
      cache_tokens=65536,
      mesh=config.MeshConfig(model=4),
    ),
  )
