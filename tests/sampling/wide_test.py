"""Pairs of words against Python integers."""

from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import numpy as np

from chatjax.sampling import wide

NUMBERS = st.integers(0, 2**64 - 1) | st.sampled_from(
  [0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1]
)


def pair(values):
  values = np.asarray(values, np.uint64)
  return wide.U64(
    (values >> np.uint64(32)).astype(np.uint32), values.astype(np.uint32)
  )


def integers(a):
  high = np.asarray(a.hi, np.uint64) << np.uint64(32)
  return (high | np.asarray(a.lo, np.uint64)).tolist()


running_total = jax.jit(wide.running_total)
total = jax.jit(wide.total)


@jax.jit
def everything(a, b):
  return (
    wide.add(a, b),
    wide.subtract(a, b),
    wide.less(a, b),
    wide.multiply(a, b),
  )


@settings(max_examples=200, deadline=None)
@given(NUMBERS, NUMBERS)
@example(2**64 - 1, 2**64 - 1)
def test_arithmetic(a, b):
  added, difference, is_less, (high, low) = everything(pair(a), pair(b))
  assert integers(added) == (a + b) % 2**64
  assert integers(difference) == (a - b) % 2**64
  assert bool(is_less) == (a < b)
  assert integers(high) * 2**64 + integers(low) == a * b


@settings(max_examples=50, deadline=None)
@given(st.lists(NUMBERS, min_size=259, max_size=259))
def test_sums_wrap(values):
  for n in (1, 15, 16, 17, 259):
    running = running_total(pair(values[:n]))
    want = [sum(values[: i + 1]) % 2**64 for i in range(n)]
    assert integers(running) == want
    assert integers(total(pair(values[:n]))) == want[-1]


def test_a_constant():
  assert integers(wide.constant(2**40 + 3)) == 2**40 + 3
