"""Qwen3 30B-A3B on four v5p chips: bfloat16, experts apart."""

from chatjax import config


def get_config() -> config.Config:
  return config.Config(
    model='Qwen/Qwen3-30B-A3B',
    engine=config.EngineConfig(
      dtype='bfloat16',
      cache_dtype='bfloat16',
      max_rows=32,
      context=8192,
      chunk=256,
      cache_tokens=131072,
      mesh=config.MeshConfig(expert=4),
    ),
  )
