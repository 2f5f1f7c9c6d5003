"""How a command gets its model: with progress bars on stderr."""

from __future__ import annotations

from chatjax import config as config_lib
from chatjax.chat import session as session_lib
from chatjax.cli import progress


def load(
  config: config_lib.Config, *, accept_license: bool
) -> session_lib.Session:
  """Fetches, converts and compiles what is missing, and starts the engine."""
  # Here, not above: it brings jax, and bad input is answered without.
  from chatjax import api

  with progress.Bars() as bars:
    chat = api.load(
      config.model,
      config=config.engine,
      accept_license=accept_license,
      output_format=config.output_format,
      store=config.store,
      progress=bars.report,
    )
  return chat.session
