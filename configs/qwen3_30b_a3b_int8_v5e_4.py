"""Qwen3 30B-A3B on four v5e chips: int8, experts apart."""

from chatjax import config


def get_config() -> config.Config:
  return config.Config(
    model='Qwen/Qwen3-30B-A3B',
    engine=config.EngineConfig(
      dtype='int8',
      cache_dtype='bfloat16',
      max_rows=16,
      context=8192,
      chunk=256,
      cache_tokens=32768,
      mesh=config.MeshConfig(expert=4),
    ),
  )
