"""A forward without taps is the program that it would be without them."""

import re

import jax
import pytest

from chatjax.engine import programs
from chatjax.nn import taps as taps_lib
from chatjax.nn import transformer
from chatjax.testing import tiny


def without_taps(monkeypatch):
  """The decoder as if there were no such thing: every tap fails."""

  def run(taps, layer, *args):
    return transformer._run_block(*args)

  def fail(*args):
    raise AssertionError('a tap was asked')

  monkeypatch.setattr(transformer, '_run_tapped', run)
  monkeypatch.setattr(taps_lib.Taps, 'at', lambda self, point, x_TD: x_TD)
  for name in ('inside', 'attend', 'watches'):
    monkeypatch.setattr(taps_lib.Taps, name, fail)


def lowered(family, dtype):
  plan = programs.plan(tiny.weights(family, dtype), tiny.ENGINE)
  return {
    name: function.lower(*args).as_text()
    for name, (function, args) in plan.items()
  }


@pytest.mark.parametrize(
  ('family', 'dtype'),
  [('llama', 'int8'), ('gemma3', 'float32'), ('mixtral', 'float32')],
)
def test_the_engines_programs_are_the_same(family, dtype, monkeypatch):
  ours = lowered(family, dtype)
  without_taps(monkeypatch)
  assert ours == lowered(family, dtype)


def test_a_tap_that_is_used_is_seen(monkeypatch):
  """Or the test above could not fail."""
  ours = lowered('llama', 'float32')
  monkeypatch.setattr(taps_lib.Taps, 'at', lambda self, point, x_TD: x_TD + 1.0)
  assert ours['prefill'] != lowered('llama', 'float32')['prefill']


def test_names_are_in_the_order_of_the_forward():
  config = tiny.CONFIGS['llama']
  names = taps_lib.points(config)
  assert names[:5] == (
    'embed', 'layer_0.attn', 'layer_0.mlp', 'layer_0', 'layer_1.attn',
  )  # fmt: skip
  assert names[-2:] == ('layer_2', 'final_norm')
  taps = taps_lib.Taps(read=frozenset(names))
  model = transformer.Transformer(config, 'float32')
  model.dense(model.init(jax.random.key(0)), jax.numpy.arange(5), taps)
  assert tuple(taps.seen) == names


def test_families_can_be_tapped_everywhere():
  for family, config in tiny.CONFIGS.items():
    names = frozenset(taps_lib.points(config))
    layers = frozenset(taps_lib.layers(config))
    model = transformer.Transformer(config, 'float32')

    def look(params, model=model, names=names, layers=layers):
      taps = taps_lib.Taps(read=names, attention=layers)
      logits_TV = model.dense(params, jax.numpy.arange(6), taps)
      return logits_TV, taps.seen, taps.attended

    shapes = jax.eval_shape(look, model.abstract_params())
    assert set(shapes[1]) == names, family
    assert set(shapes[2]) == layers, family


def test_an_unknown_point_names_those_that_exist():
  points = taps_lib.points(tiny.CONFIGS['llama'])
  with pytest.raises(taps_lib.UnknownPoint, match=re.escape('layer_2.mlp')):
    taps_lib.check(['layer_3'], points)
