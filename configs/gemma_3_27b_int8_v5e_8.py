"""Gemma 3 27B on eight v5e chips: int8."""

from chatjax import config


def get_config() -> config.Config:
  return config.Config(
    model='google/gemma-3-27b-it',
    engine=config.EngineConfig(
      dtype='int8',
      cache_dtype='bfloat16',
      max_rows=16,
      context=8192,
      chunk=256,
      cache_tokens=65536,
      mesh=config.MeshConfig(model=8),
    ),
  )
