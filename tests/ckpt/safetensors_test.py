"""Files of the format's own library are read; damaged ones are refused."""

import contextlib
import json
import struct

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import ml_dtypes
import numpy as np
import pytest
from safetensors import numpy as reference

from chatjax.ckpt import errors
from chatjax.ckpt import safetensors
from chatjax.testing import hub_folder

ARRAYS = {
  'a': np.arange(6, dtype=np.float32).reshape(2, 3),
  'b': np.arange(4).astype(ml_dtypes.bfloat16),
  'c': np.arange(5).astype(np.float16),
  'd': np.arange(8).astype(np.uint8).reshape(2, 2, 2),
  'e': np.zeros((0, 3), np.float32),
  'f': np.array(3, np.float32),
}


def rewrite(path, change):
  """Changes the head of a file."""
  data = path.read_bytes()
  (length,) = struct.unpack_from('<Q', data)
  head = json.loads(data[8 : 8 + length])
  text = change(head)
  text = text if isinstance(text, bytes) else json.dumps(head).encode()
  path.write_bytes(struct.pack('<Q', len(text)) + text + data[8 + length :])


@pytest.fixture(name='path')
def _path(tmp_path):
  reference.save_file(ARRAYS, tmp_path / 'x.safetensors')
  return tmp_path / 'x.safetensors'


def assert_same(file):
  assert set(file.tensors) == set(ARRAYS)
  for name, array in ARRAYS.items():
    view = file.view(name)
    assert view.dtype == array.dtype
    assert view.shape == array.shape
    assert view.tobytes() == array.tobytes()


def test_files_of_the_library(path):
  assert_same(safetensors.File(path))


def test_the_library_reads_ours(tmp_path):
  hub_folder.write_file(tmp_path / 'y', ARRAYS)
  assert_same(safetensors.File(tmp_path / 'y'))
  for name, array in reference.load_file(tmp_path / 'y').items():
    assert array.tobytes() == ARRAYS[name].tobytes()


@pytest.mark.parametrize('size', [0, 7, 8, 100, -1])
def test_cut_files(path, size):
  data = path.read_bytes()
  path.write_bytes(data[:size])
  with pytest.raises(errors.SafetensorsError, match=r'cut|no safetensors') as e:
    safetensors.File(path)
  assert str(path) in str(e.value)


def set_in(name, key, value):
  def change(head):
    head[name][key] = value

  return change


DAMAGE = {
  'shape': (set_in('a', 'shape', [2, 4]), r"tensor 'a' of shape \(2, 4\)"),
  'negative': (set_in('a', 'shape', [-2, -3]), "tensor 'a' is"),
  'float': (set_in('a', 'shape', [2.0, 3]), "tensor 'a' is"),
  'bool': (set_in('f', 'shape', [True]), "tensor 'f' is"),
  'huge': (set_in('a', 'shape', [2**62, 2**62]), "tensor 'a' of shape"),
  'axes': (set_in('f', 'shape', [1] * 9), "tensor 'f' is"),
  'dtype': (set_in('c', 'dtype', 'F12'), "'c' as 'F12'; supported are"),
  'overlap': (set_in('b', 'data_offsets', [0, 8]), 'damaged head'),
  'backwards': (set_in('a', 'data_offsets', [24, 0]), 'damaged head'),
  'past the end': (set_in('a', 'data_offsets', [10**9, 10**9 + 24]), 'was cut'),
  'missing': (lambda head: head.pop('c') and None, 'damaged head'),
  'no JSON': (lambda head: b'{"a": ', 'damaged head'),
  'no object': (lambda head: b'[1, 2]', 'no JSON object'),
  'not UTF-8': (lambda head: b'\xff' * 20, 'damaged head'),
  'twice': (lambda head: b'{"a": 1, "a": 1}', 'twice'),
  'deep': (lambda head: b'[' * 100_000, 'damaged head'),
}


@pytest.mark.parametrize('kind', DAMAGE)
def test_damaged_heads(path, kind):
  change, message = DAMAGE[kind]
  rewrite(path, change)
  with pytest.raises(errors.SafetensorsError, match=message) as caught:
    safetensors.File(path)
  assert str(caught.value).startswith(str(path))
  assert len(str(caught.value)) < 1000


def test_a_length_that_lies(path):
  data = path.read_bytes()
  path.write_bytes(struct.pack('<Q', 2**63) + data[8:])
  with pytest.raises(errors.SafetensorsError, match='9223372036854775808'):
    safetensors.File(path)


def test_what_is_no_file(tmp_path):
  with pytest.raises(errors.SafetensorsError, match='not a regular file'):
    safetensors.File(tmp_path)
  with pytest.raises(errors.SafetensorsError, match='cannot be opened'):
    safetensors.File(tmp_path / 'none')


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_flipped_byte_of_the_head_never_harms(tmp_path_factory, data):
  path = tmp_path_factory.mktemp('flip') / 'x'
  reference.save_file(ARRAYS, path)
  content = bytearray(path.read_bytes())
  (length,) = struct.unpack_from('<Q', content)
  at = data.draw(st.integers(0, 8 + length - 1))
  content[at] ^= data.draw(st.integers(1, 255))
  path.write_bytes(content)
  with contextlib.suppress(errors.SafetensorsError):
    file = safetensors.File(path)
    for name in file.tensors:
      file.view(name).tobytes()
