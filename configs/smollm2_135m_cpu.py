"""SmolLM2 135M Instruct on a CPU: int8, sixteen answers at once."""

from chatjax import config


def get_config() -> config.Config:
  return config.Config(
    model='smollm2-135m-instruct',
    engine=config.EngineConfig(dtype='int8', max_rows=16, context=2048),
  )
