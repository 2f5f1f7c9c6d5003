"""chatjax: open-weight chat models in JAX, reproducible bit for bit."""

__version__ = '0.1.0'

_EXPORTS = {
  'load': 'chatjax.api',
  'Chat': 'chatjax.model',
}
__all__ = ['Chat', '__version__', 'load']


def __getattr__(name: str):
  """Resolves the public names on first use: importing chatjax is cheap."""
  import importlib

  if name in _EXPORTS:
    return getattr(importlib.import_module(_EXPORTS[name]), name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
