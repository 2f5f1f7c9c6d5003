"""Deployments of configs/ compile for their TPUs, on a machine without one.

    python -m pytest -m tpu [--all] tests/tpu

Two layers of each model by default; --all compiles all of them, which alone
tells whether they fit.
"""

import importlib.util
import pathlib
import runpy

import jax
import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / 'scripts' / 'compile_for_tpu.py'))
DEPLOYMENTS = {x.name: x for x in SCRIPT['DEPLOYMENTS']}
# The promised time, for a machine with two cores: a bound on what both do.
DEEPEST, SECONDS = 'llama_3_1_70b_v5e_16', 180

pytestmark = [
  pytest.mark.tpu,
  pytest.mark.skipif(
    importlib.util.find_spec('libtpu') is None,
    reason='libtpu is not installed: pip install -e ".[tpu]"',
  ),
]


@pytest.fixture(scope='module', autouse=True)
def as_in_use():
  """TPUs get all of XLA's optimizations, and no stored program."""
  changed = {
    'jax_disable_most_optimizations': False,
    'jax_enable_compilation_cache': False,
  }
  before = {name: getattr(jax.config, name) for name in changed}
  for name, value in changed.items():
    jax.config.update(name, value)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


@pytest.mark.parametrize('name', DEPLOYMENTS)
def test_two_layers_compile_as_they_should(name):
  deployment = DEPLOYMENTS[name]
  made = list(SCRIPT['compile_for'](deployment, num_layers=2))
  assert [x.name for x in made] == ['decode', 'prefill']
  for program in made:
    assert SCRIPT['faults'](program, deployment.memory) == []


@pytest.mark.slow
@pytest.mark.parametrize('name', DEPLOYMENTS)
def test_all_layers_compile_and_fit(name):
  deployment = DEPLOYMENTS[name]
  for program in SCRIPT['compile_for'](deployment):
    assert SCRIPT['faults'](program, deployment.memory) == []
    if name == DEEPEST:
      assert program.processor_seconds < SECONDS
