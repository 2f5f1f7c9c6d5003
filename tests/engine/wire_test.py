"""Calls as they are written for other processes."""

import jax
import numpy as np
import pytest

from chatjax.engine import caller as caller_lib
from chatjax.engine import follower
from chatjax.engine import programs as programs_lib
from chatjax.engine import replica as replica_lib
from chatjax.engine import wire as wire_lib
from chatjax.testing import tiny


@pytest.fixture(scope='module', name='replicas')
def _replicas():
  weights = tiny.weights('llama', 'float32')
  return tuple(replica_lib.Replica(weights, tiny.ENGINE) for _ in range(2))


class Recorder:
  """Stands for the leader: keeps what it is to publish."""

  def __init__(self):
    self.messages = []

  def publish(self, message):
    self.messages.append(message)


def prefill(caller, first):
  tokens_C = np.arange(first, first + tiny.ENGINE.chunk, dtype=np.int32)
  table_P = np.arange(1, tiny.ENGINE.pages_per_row + 1, dtype=np.int32)
  counts = np.int32(tiny.ENGINE.chunk), np.int32(0)
  return caller.keep('prefill', (tokens_C, *counts, (table_P,)))


def bits(tree):
  return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


def test_a_follower_makes_the_same_calls(replicas):
  mine, others = replicas
  recorder = Recorder()
  caller = caller_lib.Caller(mine, recorder)
  x_CD = prefill(caller, 3)
  logits = caller.keep('score', (np.int32(2),), x_CD)
  page = caller.keep('read_page', ((np.int32(1),),))
  caller.read('write_page', ((np.int32(9),),), page)
  caller.read('copy_page', ((np.int32(9),), (np.int32(11),)))
  model = tiny.weights('llama', 'float32').config
  change = programs_lib.change(model, tiny.ENGINE, keep=[])
  loan = programs_lib.loan(tiny.ENGINE.num_rows, {})
  width = mine.programs.widths[-1]
  rest = mine.programs.live([0], width), change, loan, np.int32(1)
  caller.read(('decode', width), rest)
  masks = programs_lib.no_masks(model, tiny.ENGINE.num_rows)
  caller.read(('decode_masked', width), (masks, *rest))
  wire = wire_lib.Wire(others.programs)
  told = [wire.unpack(message) for message in recorder.messages]
  assert [message.name for message in told][:3] == [
    *('prefill', 'score', 'read_page')
  ]
  follower.repeat(others, iter(told))
  assert bits(others.arrays) == bits(mine.arrays)
  assert any(any(x) for x in bits(mine.arrays['cache']))
  assert logits.value.shape == (model.vocab_size,)


def test_what_nobody_refers_to_is_dropped_everywhere(replicas):
  recorder = Recorder()
  caller = caller_lib.Caller(replicas[0], recorder)
  x_CD = prefill(caller, 1)
  kept = caller.keep('score', (np.int32(0),), x_CD)
  del x_CD
  copy = (np.int32(1),), (np.int32(2),)
  caller.read('copy_page', copy)
  del kept
  caller.read('copy_page', copy)
  caller.read('copy_page', copy)
  wire = wire_lib.Wire(replicas[0].programs)
  told = [wire.unpack(message) for message in recorder.messages]
  assert [message.dropped for message in told] == [(), (), (1,), (2,), ()]
  assert told[1].kept == (1,)
  follower.repeat(replicas[1], iter(told))
  with pytest.raises(KeyError):
    follower.repeat(replicas[1], iter(told[1:]))


def test_arrays_of_another_shape_are_refused(replicas):
  wire = wire_lib.Wire(replicas[0].programs)
  page = np.int32(1)
  with pytest.raises(ValueError, match='copy_page takes'):
    wire.pack(wire_lib.Message('copy_page', ((page, page), (page,))))
  with pytest.raises(ValueError, match='copy_page takes'):
    wire.pack(wire_lib.Message('copy_page', ((page,), (np.int64(1),))))
