"""Shared settings: the strictest jax, so that a slip fails early."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import jax
import pytest

# Real models run on one device, as the product does (scripts/test.sh).
jax.config.update(
  'jax_num_cpu_devices', int(os.environ.get('CHATJAX_TEST_DEVICES', '8'))
)
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_debug_key_reuse', True)


# Engines of one config compile once per run, not once per test or worker: the
# first process makes the folder, the others inherit its name.
_COMPILED = 'CHATJAX_TEST_COMPILED'
if _COMPILED not in os.environ:
  os.environ[_COMPILED] = tempfile.mkdtemp(prefix='chatjax-compiled-')
  atexit.register(shutil.rmtree, os.environ[_COMPILED], ignore_errors=True)
jax.config.update('jax_compilation_cache_max_size', 4 * 2**30)  # locks it
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
if 'CHATJAX_TEST_DEVICES' not in os.environ:
  jax.config.update('jax_compilation_cache_dir', os.environ[_COMPILED])


def pytest_addoption(parser):
  parser.addoption(
    '--all', action='store_true', help='run the tests marked slow too'
  )


def pytest_configure(config):
  # The quick run compiles without most of XLA's optimizations, which is most of
  # its time. Real models and --all run what the product runs.
  if not config.getoption('--all') and 'CHATJAX_TEST_DEVICES' not in os.environ:
    jax.config.update('jax_disable_most_optimizations', True)


def pytest_collection_modifyitems(config, items):
  if config.getoption('--all'):
    return
  skip = pytest.mark.skip(reason='slow: scripts/test.sh --all runs it')
  for item in items:
    if 'slow' in item.keywords:
      item.add_marker(skip)
