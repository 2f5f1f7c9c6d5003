"""The GGUF reader against the format's own writer, and against its enemies."""

import contextlib
import os
import pathlib
import struct
import time
import tracemalloc

import gguf as reference
from gguf import quants
import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from chatjax.ckpt import gguf

_TYPES = reference.GGMLQuantizationType
_NOT_DEQUANTIZED = {'Q8_1', 'Q8_K', 'Q1_0'}
_PLAIN = ('F32', 'F16', 'F64', 'I8', 'I16', 'I32', 'I64')
_BLOCKS = [
    t for t in reference.GGML_QUANT_SIZES
    if t.name not in {*_NOT_DEQUANTIZED, *_PLAIN}
]  # fmt: skip
_U32, _STRING, _ARRAY = 4, 8, 9


def _text(text: str | bytes) -> bytes:
  data = text.encode() if isinstance(text, str) else text
  return struct.pack('<Q', len(data)) + data


def _entry(key: str | bytes, kind: int, value: bytes) -> bytes:
  return _text(key) + struct.pack('<I', kind) + value


def _tensor(name='t', dims=(4,), kind=0, offset=0) -> bytes:
  return (
    _text(name)
    + struct.pack('<I', len(dims))
    + struct.pack(f'<{len(dims)}Q', *dims)
    + struct.pack('<IQ', kind, offset)
  )


def _file(
  tmp_path: pathlib.Path,
  *,
  entries=(),
  tensors=(),
  data=b'',
  magic=b'GGUF',
  version=3,
  num_entries=None,
  num_tensors=None,
) -> pathlib.Path:
  """A file with exactly the given, possibly wrong, pieces."""
  counts = (
    len(tensors) if num_tensors is None else num_tensors,
    len(entries) if num_entries is None else num_entries,
  )
  head = magic + struct.pack('<IQQ', version, *counts)
  head += b''.join(entries) + b''.join(tensors)
  path = tmp_path / 'model.gguf'
  path.write_bytes(head + b'\0' * (-len(head) % 32) + data)
  return path


def _refused(path: pathlib.Path, *words: str) -> None:
  """The file is refused by an error that names it and says the words."""
  with pytest.raises(gguf.GGUFError) as caught:
    gguf.GGUF.open(path)
  for word in (str(path), *words):
    assert word in str(caught.value)


def _written(path: pathlib.Path, tensors, types=None) -> pathlib.Path:
  writer = reference.GGUFWriter(path, 'llama')
  writer.add_array('words', ['a', 'ü', '', '\n'])
  writer.add_array('scores', [1.5, -2.0])
  writer.add_array('flags', [True, False])
  writer.add_uint64('large', 2**63 + 1)
  writer.add_int32('negative', -5)
  writer.add_float32('eps', 0.5)
  writer.add_bool('yes', True)
  writer.add_string('word', 'grüße')
  for name, array in tensors.items():
    writer.add_tensor(name, array, raw_dtype=(types or {}).get(name))
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return path


def test_metadata_of_every_kind(tmp_path):
  path = _written(tmp_path / 'a.gguf', {})
  with gguf.GGUF.open(path) as file:
    got = dict(file.metadata)
  assert got['words'] == ['a', 'ü', '', '\n']
  np.testing.assert_array_equal(got['scores'], np.float32([1.5, -2.0]))
  np.testing.assert_array_equal(got['flags'], [True, False])
  plain = {k: v for k, v in got.items() if k not in ('scores', 'flags')}
  assert plain == {
    'general.architecture': 'llama',
    'words': ['a', 'ü', '', '\n'],
    'large': 2**63 + 1,
    'negative': -5,
    'eps': 0.5,
    'yes': True,
    'word': 'grüße',
  }
  assert plain['yes'] is True


@pytest.mark.parametrize('version', [2, 3])
def test_versions_two_and_three_are_read(tmp_path, version):
  path = _file(
    tmp_path,
    version=version,
    tensors=[_tensor(dims=(3, 2))],
    data=np.arange(6, dtype='<f4').tobytes(),
  )
  with gguf.GGUF.open(path) as file:
    np.testing.assert_array_equal(file.read('t'), [[0, 1, 2], [3, 4, 5]])


def _random_blocks(kind: _TYPES, rows: int, row_blocks: int) -> np.ndarray:
  """Stored bytes of a format that decode to finite values."""
  _, block_bytes = reference.GGML_QUANT_SIZES[kind]
  rng = np.random.default_rng(int(kind))
  # Bytes below 0x70 keep every half-precision scale finite.
  return rng.integers(0, 0x70, (rows, row_blocks * block_bytes), np.uint8)


@pytest.mark.parametrize('kind', _BLOCKS, ids=lambda kind: kind.name)
def test_every_block_format_equals_the_reference(tmp_path, monkeypatch, kind):
  monkeypatch.setattr(gguf, 'CHUNK', 512)  # Several chunks, the last one short.
  data = _random_blocks(kind, rows=7, row_blocks=3)
  path = _written(tmp_path / 'a.gguf', {'w': data}, {'w': kind})
  want = quants.dequantize(data, kind)
  assert np.isfinite(want).all()
  assert want.any()
  with gguf.GGUF.open(path) as file:
    assert file.tensors['w'].ggml_type == kind
    assert file.tensors['w'].shape == want.shape
    assert file.tensors['w'].nbytes == data.size
    got = file.read('w')
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(file.read('w', rows=slice(2, 5)), want[2:5])


@pytest.mark.parametrize('kind', _PLAIN)
def test_every_plain_format_equals_numpy(tmp_path, monkeypatch, kind):
  monkeypatch.setattr(gguf, 'CHUNK', 512)
  dtype = {'F': 'float', 'I': 'int'}[kind[0]] + kind[1:]
  want = (np.arange(-1500, 1500).reshape(2, 3, 500) % 127).astype(dtype)
  path = _written(tmp_path / 'a.gguf', {'first': want[0, 0], 'w': want})
  with gguf.GGUF.open(path) as file:
    assert file.tensors['w'].shape == want.shape
    got = file.read('w')
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want.astype(np.float32))
    np.testing.assert_array_equal(file.read('first'), got[0, 0])


@pytest.mark.parametrize('kind', sorted(_NOT_DEQUANTIZED))
def test_formats_without_a_dequantizer_say_so(tmp_path, kind):
  block_size, block_bytes = reference.GGML_QUANT_SIZES[_TYPES[kind]]
  path = _file(
    tmp_path,
    tensors=[_tensor(dims=(block_size,), kind=int(_TYPES[kind]))],
    data=bytes(block_bytes),
  )
  with (
    gguf.GGUF.open(path) as file,
    pytest.raises(gguf.GGUFError, match=f"'t': is stored as {kind}"),
  ):
    file.read('t')


@hypothesis.given(start=st.integers(-8, 8), stop=st.integers(-8, 8))
def test_row_ranges_are_slices(row_file, start, stop):
  file, want = row_file
  got = file.read('w', rows=slice(start, stop))
  np.testing.assert_array_equal(got, want[start:stop])


@pytest.fixture(scope='module')
def row_file(tmp_path_factory):
  want = np.arange(70, dtype=np.float32).reshape(7, 2, 5)
  path = tmp_path_factory.mktemp('rows') / 'a.gguf'
  with gguf.GGUF.open(_written(path, {'w': want, 'v': want[0, 0]})) as file:
    yield file, want


def test_rows_are_of_step_one_and_of_matrices(row_file):
  file, _ = row_file
  with pytest.raises(gguf.GGUFError, match=r"'w': rows with step 2"):
    file.read('w', rows=slice(0, 4, 2))
  with pytest.raises(gguf.GGUFError, match=r"'v': .* no rows"):
    file.read('v', rows=slice(0, 1))
  with pytest.raises(gguf.GGUFError, match='has no tensor'):
    file.read('x')


def test_a_closed_file_says_so(tmp_path):
  file = gguf.GGUF.open(_written(tmp_path / 'a.gguf', {'w': np.ones(4, 'f4')}))
  file.close()
  file.close()
  with pytest.raises(gguf.GGUFError, match='is closed'):
    file.read('w')


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_the_tensor(tmp_path, value):
  array = np.ones((600, 300), np.float32)
  array[500, 7] = value
  path = _written(tmp_path / 'a.gguf', {'ok': np.ones(3, 'f4'), 'bad': array})
  with gguf.GGUF.open(path) as file:
    file.read('ok')
    file.read('bad', rows=slice(0, 500))
    with pytest.raises(gguf.GGUFError, match=r"a\.gguf: tensor 'bad': .*NaN"):
      file.read('bad')


def test_a_value_too_large_for_float32_names_the_tensor(tmp_path):
  path = _written(tmp_path / 'a.gguf', {'bad': np.array([1.0, 1e300])})
  with (
    gguf.GGUF.open(path) as file,
    pytest.raises(gguf.GGUFError, match="tensor 'bad'"),
  ):
    file.read('bad')


def test_a_quantized_scale_that_is_nan_names_the_tensor(tmp_path):
  data = _random_blocks(_TYPES.Q4_K, rows=2, row_blocks=1)
  data[1, :2] = 0xFF
  path = _written(tmp_path / 'a.gguf', {'bad': data}, {'bad': _TYPES.Q4_K})
  with (
    gguf.GGUF.open(path) as file,
    pytest.raises(gguf.GGUFError, match="tensor 'bad'"),
  ):
    file.read('bad')


def test_a_file_cut_while_open_is_an_error_not_a_crash(tmp_path):
  path = _written(tmp_path / 'a.gguf', {'w': np.ones((64, 1024), 'f4')})
  with gguf.GGUF.open(path) as file:
    os.truncate(path, 4096)
    with pytest.raises(gguf.GGUFError, match=r"tensor 'w': .* cut since"):
      file.read('w')


def test_reading_needs_little_memory_beyond_the_result(tmp_path):
  data = _random_blocks(_TYPES.Q8_0, rows=2048, row_blocks=64)
  path = _written(tmp_path / 'a.gguf', {'w': data}, {'w': _TYPES.Q8_0})
  with gguf.GGUF.open(path) as file:
    tracemalloc.start()
    got = file.read('w')
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
  assert peak < 1.5 * got.nbytes


def test_a_large_vocabulary_opens_quickly(tmp_path):
  words = [f'word{i}' for i in range(262_144)]
  entry = _entry(
    'words',
    _ARRAY,
    struct.pack('<IQ', _STRING, len(words)) + b''.join(map(_text, words)),
  )
  path = _file(tmp_path, entries=[entry])
  start = time.perf_counter()
  with gguf.GGUF.open(path) as file:
    seconds = time.perf_counter() - start
    assert file.metadata['words'] == words
  # A reader with an object per string needs 20 s; a busy machine gets slack.
  assert seconds < 3


# What the enemy sends.


def test_other_files_are_refused(tmp_path):
  _refused(_file(tmp_path, magic=b'PK\3\4'), 'header', 'GGUF')
  _refused(_file(tmp_path, version=1), 'version 1')
  _refused(_file(tmp_path, version=4), 'version 4')
  _refused(_file(tmp_path, version=3 << 24), 'big-endian')
  (tmp_path / 'short').write_bytes(b'GGUF')
  _refused(tmp_path / 'short', 'too short')
  (tmp_path / 'empty').touch()
  _refused(tmp_path / 'empty', 'too short')
  _refused(tmp_path / 'absent', 'cannot be opened')
  _refused(tmp_path, 'regular file')


def test_a_pipe_does_not_hang(tmp_path):
  os.mkfifo(tmp_path / 'pipe')
  _refused(tmp_path / 'pipe', 'regular file')


@pytest.mark.parametrize('count', [2, 2**32, 2**63, 2**64 - 1])
def test_cve_2026_27940_counts_past_the_end(tmp_path, count):
  _refused(_file(tmp_path, num_tensors=count), 'header', str(count))
  _refused(_file(tmp_path, num_entries=count), 'header', str(count))


@pytest.mark.parametrize('kind', [0, _U32, 12, _STRING])
@pytest.mark.parametrize('count', [100, 2**61, 2**64 - 1])
def test_cve_2026_27940_array_counts_past_the_end(tmp_path, kind, count):
  entry = _entry('words', _ARRAY, struct.pack('<IQ', kind, count))
  _refused(_file(tmp_path, entries=[entry]), "key 'words'", str(count))


@pytest.mark.parametrize('size', [2**16, 2**40, 2**64 - 1])
def test_cve_2026_27940_string_lengths_past_the_end(tmp_path, size):
  length = struct.pack('<Q', size)
  _refused(_file(tmp_path, entries=[length + bytes(8)]), 'key 0', str(size))
  entry = _entry('word', _STRING, length)
  _refused(_file(tmp_path, entries=[entry]), "key 'word'", str(size))
  entry = _entry('words', _ARRAY, struct.pack('<IQ', _STRING, 1) + length)
  _refused(_file(tmp_path, entries=[entry]), "'words'", 'string 0', str(size))
  _refused(_file(tmp_path, tensors=[length + bytes(16)]), 'tensor 0', str(size))


def test_a_file_cut_inside_a_string_array(tmp_path):
  strings = struct.pack('<IQ', _STRING, 3) + _text('x' * 40) + _text('y' * 40)
  entry = _entry('words', _ARRAY, strings)
  path = _file(tmp_path, entries=[entry])
  path.write_bytes(path.read_bytes()[: 24 + len(entry)])
  _refused(path, "key 'words'", 'string 2')


@pytest.mark.parametrize(
  'dims',
  [
    (2**63, 2),  # 2**64 elements: zero in 64 bits.
    (2**32, 2**32),
    (2**62,),  # 2**64 bytes.
    (2**64 - 1, 2**64 - 1, 2**64 - 1, 2**64 - 1),
    (2**33, 2**31, 1, 1),
  ],
)
def test_cve_2025_53630_products_that_overflow(tmp_path, dims):
  path = _file(tmp_path, tensors=[_tensor(dims=dims)], data=bytes(64))
  _refused(path, "tensor 't'", 'cut short or damaged')


@pytest.mark.parametrize('num_dims', [5, 2**16, 2**32 - 1])
def test_too_many_axes(tmp_path, num_dims):
  tensor = _text('t') + struct.pack('<I', num_dims) + bytes(64)
  _refused(_file(tmp_path, tensors=[tensor]), "tensor 't'", f'{num_dims} axes')


@pytest.mark.parametrize('offset', [32, 2**40, 2**63, 2**64 - 32])
def test_cve_2026_7482_tensor_data_past_the_end(tmp_path, offset):
  tensors = [_tensor(dims=(8,), offset=offset)]
  path = _file(tmp_path, tensors=tensors, data=bytes(63))
  _refused(path, "tensor 't'", f'32 bytes at offset {offset}')


def test_cve_2026_7482_tensor_data_that_just_fits(tmp_path):
  tensors = [_tensor(dims=(8,), offset=32)]
  path = _file(tmp_path, tensors=tensors, data=bytes(64))
  with gguf.GGUF.open(path) as file:
    np.testing.assert_array_equal(file.read('t'), np.zeros(8, np.float32))


def test_cve_2026_7482_no_data_at_all(tmp_path):
  path = _file(tmp_path, tensors=[_tensor()])
  path.write_bytes(path.read_bytes()[:61])  # Ends before the padding does.
  _refused(path, "tensor 't'", 'which has 0')


def test_offsets_are_aligned(tmp_path):
  path = _file(tmp_path, tensors=[_tensor(offset=4)], data=bytes(64))
  _refused(path, "tensor 't'", 'offset 4', '32')


@pytest.mark.parametrize('value', [0, 3, 33, 48, 2**32 - 1])
def test_an_alignment_that_is_no_power_of_two(tmp_path, value):
  entry = _entry('general.alignment', _U32, struct.pack('<I', value))
  _refused(_file(tmp_path, entries=[entry]), 'general.alignment', str(value))


def test_an_alignment_below_zero(tmp_path):
  entry = _entry('general.alignment', 5, struct.pack('<i', -32))
  _refused(_file(tmp_path, entries=[entry]), 'general.alignment', '-32')


def test_an_alignment_that_is_no_number(tmp_path):
  entry = _entry('general.alignment', _STRING, _text('32'))
  _refused(_file(tmp_path, entries=[entry]), 'general.alignment')


def test_the_alignment_of_the_file_counts(tmp_path):
  entry = _entry('general.alignment', _U32, struct.pack('<I', 8))
  tensors = [_tensor('a', (2,)), _tensor('b', (2,), offset=8)]
  path = _file(tmp_path, entries=[entry], tensors=tensors)
  head = 24 + len(entry) + sum(map(len, tensors))
  data = np.arange(4, dtype='<f4').tobytes()
  path.write_bytes(path.read_bytes()[:head] + bytes(-head % 8) + data)
  with gguf.GGUF.open(path) as file:
    np.testing.assert_array_equal(file.read('b'), [2, 3])


@pytest.mark.parametrize(
  'tensors',
  [
    [_tensor('a', (16,), offset=0), _tensor('b', (8,), offset=32)],
    [_tensor('b', (8,), offset=32), _tensor('a', (16,), offset=0)],
    [_tensor('b', (8,), offset=32), _tensor('a', (8,), offset=32)],
  ],
)
def test_tensors_do_not_overlap(tmp_path, tensors):
  _refused(_file(tmp_path, tensors=tensors, data=bytes(128)), 'overlaps tensor')


def test_names_are_unique(tmp_path):
  entry = _entry('key', _U32, bytes(4))
  _refused(_file(tmp_path, entries=[entry] * 2), "key 'key'", 'twice')
  tensors = [_tensor('t'), _tensor('t', offset=32)]
  path = _file(tmp_path, tensors=tensors, data=bytes(64))
  _refused(path, "tensor 't'", 'twice')


def test_text_is_utf_8(tmp_path):
  bad = b'a\xff'
  _refused(_file(tmp_path, entries=[_entry(bad, _U32, bytes(4))]), 'key 0')
  _refused(_file(tmp_path, tensors=[_tensor(bad)], data=bytes(64)), 'tensor 0')
  entry = _entry('word', _STRING, _text(bad))
  _refused(_file(tmp_path, entries=[entry]), "key 'word'", 'UTF-8')
  strings = struct.pack('<IQ', _STRING, 2) + _text('ok') + _text(bad)
  entry = _entry('words', _ARRAY, strings)
  _refused(_file(tmp_path, entries=[entry]), "key 'words'", 'string 1', 'UTF-8')


def test_names_are_not_empty(tmp_path):
  _refused(_file(tmp_path, entries=[_entry('', _U32, bytes(4))]), 'key 0')
  _refused(_file(tmp_path, tensors=[_tensor('')], data=bytes(64)), 'tensor 0')


def test_arrays_in_arrays_are_refused(tmp_path):
  nested = struct.pack('<IQ', _ARRAY, 1) + struct.pack('<IQ', _U32, 0)
  entry = _entry('deep', _ARRAY, nested)
  _refused(_file(tmp_path, entries=[entry]), "key 'deep'", 'type 9')


@pytest.mark.parametrize('kind', [13, 2**31, 2**32 - 1])
def test_unknown_types_are_refused(tmp_path, kind):
  entry = _entry('key', kind, bytes(8))
  _refused(_file(tmp_path, entries=[entry]), "key 'key'", f'type {kind}')
  entry = _entry('key', _ARRAY, struct.pack('<IQ', kind, 0))
  _refused(_file(tmp_path, entries=[entry]), "key 'key'", f'type {kind}')


@pytest.mark.parametrize('kind', [4, 5, 31, 999, 2**31, 2**32 - 1])
def test_unknown_storage_formats_are_refused(tmp_path, kind):
  path = _file(tmp_path, tensors=[_tensor(kind=kind)], data=bytes(64))
  _refused(path, "tensor 't'", f'format {kind}')


@pytest.mark.parametrize('dims', [(0,), (4, 0), (0, 2**63)])
def test_empty_axes_are_refused(tmp_path, dims):
  path = _file(tmp_path, tensors=[_tensor(dims=dims)], data=bytes(64))
  _refused(path, "tensor 't'", 'empty axis')


def test_rows_are_whole_blocks(tmp_path):
  tensors = [_tensor(dims=(16, 2), kind=int(_TYPES.Q8_0))]
  path = _file(tmp_path, tensors=tensors, data=bytes(64))
  _refused(path, "tensor 't'", 'blocks of 32')


def test_booleans_are_zero_or_one(tmp_path):
  _refused(_file(tmp_path, entries=[_entry('yes', 7, b'\2')]), "key 'yes'")


@pytest.fixture(scope='module')
def sound_file(tmp_path_factory) -> bytes:
  path = tmp_path_factory.mktemp('sound') / 'a.gguf'
  tensors = {
    'first': np.ones((3, 8), np.float32),
    'second': _random_blocks(_TYPES.Q4_K, rows=2, row_blocks=1),
  }
  return _written(path, tensors, {'second': _TYPES.Q4_K}).read_bytes()


@hypothesis.settings(
  max_examples=400,
  deadline=2000,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(data=st.data())
def test_damaged_files_raise_nothing_but_gguf_error(sound_file, tmp_path, data):
  damaged = bytearray(sound_file)
  number = st.sampled_from(
    [0, 1, 5, 255, 2**16, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]
  )
  for _ in range(data.draw(st.integers(1, 3))):
    position = data.draw(st.integers(0, 600))
    if data.draw(st.booleans()):
      damaged[position] = data.draw(st.integers(0, 255))
    else:
      damaged[position : position + 8] = struct.pack('<Q', data.draw(number))
  if data.draw(st.booleans()):
    del damaged[data.draw(st.integers(0, len(damaged))) :]
  path = tmp_path / 'damaged.gguf'
  path.write_bytes(damaged)
  with contextlib.suppress(gguf.GGUFError), gguf.GGUF.open(path) as file:
    for name in file.tensors:
      file.read(name)
