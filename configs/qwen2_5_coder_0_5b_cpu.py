"""Qwen2.5-Coder 0.5B Instruct on a CPU: int8, eight answers at once."""

from chatjax import config


def get_config() -> config.Config:
  return config.Config(
    model='qwen2.5-coder-0.5b-instruct',
    engine=config.EngineConfig(dtype='int8', max_rows=8, context=4096),
  )
