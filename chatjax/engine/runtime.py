"""Settings of the JAX runtime that an engine wants. Call before using jax."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import gc
import pathlib

import jax

from chatjax.engine import fingerprint

_MAX_COMPILED_BYTES = 4 * 2**30


def configure(home: pathlib.Path) -> None:
  """Keeps compiled programs under `home`, by processor features.

  A compilation cache folder that is configured already is respected.
  """
  if jax.config.jax_compilation_cache_dir is None:
    folder = home / 'programs' / fingerprint.cpu_features()
    jax.config.update('jax_compilation_cache_dir', str(folder))
    # Only with a bound does jax lock the folder; without, a process may read
    # what another has written half.
    jax.config.update('jax_compilation_cache_max_size', _MAX_COMPILED_BYTES)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  # On a CPU the device works on the caller's cores: queueing ahead only adds
  # the cost of the queue.
  jax.config.update('jax_cpu_enable_async_dispatch', False)


@contextlib.contextmanager
def paused_gc() -> Iterator[None]:
  """No garbage collection inside: tracing makes millions of live objects."""
  was_enabled = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    if was_enabled:
      gc.enable()
