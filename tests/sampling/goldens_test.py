"""A seed draws what it drew when it was first reported."""

import importlib.util
import json
import pathlib

import pytest

HERE = pathlib.Path(__file__).parent
SCRIPT = HERE.parent.parent / 'scripts/make_sampler_goldens.py'


def load_script():
  spec = importlib.util.spec_from_file_location('make_goldens', SCRIPT)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_nothing_moved_without_a_new_sampler_version():
  want = json.loads((HERE / 'goldens.json').read_text())
  got = load_script().measure()
  assert got['sampler_version'] == want['sampler_version']
  assert got['keys'] == want['keys']
  assert got['uniforms'] == want['uniforms']
  for one, other in zip(got['draws'], want['draws'], strict=True):
    # Tokens are integers and hold on every machine; the last bits of a
    # logarithm need not.
    assert one.pop('logprobs') == pytest.approx(other.pop('logprobs'), abs=2e-4)
    assert one == other
  assert [one['fell_back'] for one in got['draws']].count(True) == 2
