"""Blocks of rows are what converting whole tensors gives, both ways."""

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

from chatjax.ckpt import errors
from chatjax.ckpt import mapping
from chatjax.ckpt import stream

K, G, H, D, F, X = 2, 3, 4, 5, 7, 3
KNOWN = {'K': K, 'G': G, 'H': H, 'R': 2, 'h': H // 2, 'E': 1, 'X': X}


def rule(*sources, axis=0):
  return mapping.Rule(target='p', sources=sources, axis=axis)


# Rule, shapes of the sources, leading axes that number rows.
CASES = {
  'qkv': (
    rule(
      ('q', 'KGhR,D->K,G,Rh,D'), ('k', 'KEhR,D->K,E,Rh,D'),
      ('v', 'KEH,D->K,E,H,D'), axis=1,
    ),
    {'q': (K * G * H, D), 'k': (K * H, D), 'v': (K * H, D)}, 3,
  ),
  'gate_up': (
    rule(('g', 'EF,D->E,F,D'), ('u', 'EF,D->E,F,D')),
    {'g': (F, D), 'u': (F, D)}, 2,
  ),
  'out': (rule(('o', 'D,KGH->D,K,G,H')), {'o': (D, K * G * H)}, 1),
  'transposed': (rule(('t', 'D,F->F,D')), {'t': (D, F)}, 1),
  'merged': (rule(('m', 'KGH,D->KGH,D')), {'m': (K * G * H, D)}, 1),
  'norm': (rule(('n', 'D->D')), {'n': (D,)}, 1),
  'experts': (
    rule(*((f'e{i}', 'EF,D->E,F,D') for i in range(X))),
    {f'e{i}': (F, D) for i in range(X)}, 2,
  ),
  'interleaved': (rule(('w', 'X,D,FE->X,E,F,D')), {'w': (X, D, F)}, 3),
}  # fmt: skip


class Tensors:
  """Arrays; counts the elements that were asked for."""

  def __init__(self, arrays):
    self.arrays = arrays
    self.shapes = {name: array.shape for name, array in arrays.items()}
    self.asked = 0

  def rows(self, name, start, stop):
    rows = self.arrays[name][start:stop]
    self.asked += rows.size
    return rows

  def where(self, name):
    return f'file: tensor {name!r}'


def draw(shapes):
  rng = np.random.default_rng(0)
  return {
    name: rng.normal(size=shape).astype(np.float32)
    for name, shape in shapes.items()
  }


def whole(one, arrays):
  ((_, made),) = mapping.assemble([one], arrays.__getitem__, KNOWN)
  return made


@given(st.sampled_from(sorted(CASES)), st.integers(1, 400))
@settings(deadline=None)
def test_blocks_are_the_whole(case, size):
  one, shapes, num_row_axes = CASES[case]
  arrays = draw(shapes)
  wanted = whole(one, arrays)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(stream, 'BLOCK', size)
    tensors = Tensors(arrays)
    plan = stream.plan(one, tensors, KNOWN)
    assert plan.shape == wanted.shape
    width = int(np.prod(wanted.shape[num_row_axes:]))
    got = np.full((wanted.size // width, width), np.nan, np.float32)
    for start, block in stream.blocks(plan, tensors, num_row_axes=num_row_axes):
      rows = block.reshape(-1, width)
      assert rows.size <= max(size, width)
      assert np.isnan(got[start : start + len(rows)]).all()
      got[start : start + len(rows)] = rows
  np.testing.assert_array_equal(got.reshape(wanted.shape), wanted)


@given(st.sampled_from(sorted(CASES)), st.integers(1, 400))
@settings(deadline=None)
def test_export_undoes_it(case, size):
  one, shapes, _ = CASES[case]
  arrays = draw(shapes)
  made = whole(one, arrays)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(stream, 'BLOCK', size)
    plan = stream.export_plan(one, made.shape, KNOWN)
    assert stream.source_shapes(plan) == shapes
    back = {
      n: np.full(shape, np.nan, np.float32) for n, shape in shapes.items()
    }
    for box in stream.export_boxes(plan):
      part = made[tuple(slice(*limits) for limits in box)]
      stream.write(plan, back, box, part)
  for name, array in arrays.items():
    np.testing.assert_array_equal(back[name], array, err_msg=name)


@pytest.mark.parametrize('case', ['qkv', 'gate_up', 'out', 'merged', 'experts'])
def test_nothing_is_read_twice(case, monkeypatch):
  one, shapes, num_row_axes = CASES[case]
  monkeypatch.setattr(stream, 'BLOCK', 2 * H * D)
  tensors = Tensors(draw(shapes))
  plan = stream.plan(one, tensors, KNOWN)
  list(stream.blocks(plan, tensors, num_row_axes=num_row_axes))
  assert tensors.asked == sum(array.size for array in tensors.arrays.values())


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_what_is_not_finite_is_named(value):
  one, shapes, num_row_axes = CASES['qkv']
  tensors = Tensors(draw(shapes))
  tensors.arrays['k'][3, 2] = value
  plan = stream.plan(one, tensors, KNOWN)
  with pytest.raises(errors.DataError, match=r"^file: tensor 'k' .*not finite"):
    list(stream.blocks(plan, tensors, num_row_axes=num_row_axes))


def test_shapes_that_do_not_fit():
  one, shapes, _ = CASES['gate_up']
  tensors = Tensors(draw(shapes | {'u': (F, D + 1)}))
  with pytest.raises(mapping.MappingError, match="tensor 'u' of shape"):
    stream.plan(one, tensors, KNOWN)
  tensors = Tensors(draw(shapes | {'u': (F,)}))
  with pytest.raises(mapping.MappingError, match="tensor 'u': shape"):
    stream.plan(one, tensors, KNOWN)
