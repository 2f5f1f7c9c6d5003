"""Gemma 3 270M (pretrained: it continues text) on a CPU: int8."""

from chatjax import config


def get_config() -> config.Config:
  return config.Config(
    model='gemma-3-270m',
    engine=config.EngineConfig(dtype='int8', max_rows=8, context=2048),
  )
