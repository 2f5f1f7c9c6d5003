"""SmolLM2 135M Instruct on a CPU: float32 (int8 costs it too much), 16 rows."""

from chatjax import config


def get_config() -> config.Config:
  return config.Config(
    model='smollm2-135m-instruct',
    engine=config.EngineConfig(dtype='float32', max_rows=16, context=2048),
  )
