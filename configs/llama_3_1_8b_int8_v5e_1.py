"""Llama 3.1 8B on one v5e chip: int8."""

from chatjax import config


def get_config() -> config.Config:
  return config.Config(
    model='meta-llama/Llama-3.1-8B-Instruct',
    engine=config.EngineConfig(
      dtype='int8',
      cache_dtype='bfloat16',
      max_rows=16,
      context=8192,
      chunk=256,
      cache_tokens=32768,
    ),
  )
