"""Files are hashed once, and what has changed is named."""

import os

import numpy as np
import pytest

from chatjax.ckpt import digest
from chatjax.testing import hub_folder

ARRAYS = {
  'first': np.arange(3_000_000, dtype=np.uint8).astype(np.float16)[:600_000],
  'second': np.arange(300_000, dtype=np.float32),
}
NAMES = ('config.json', 'model.safetensors')


@pytest.fixture(name='folder')
def _folder(tmp_path):
  hub_folder.write(tmp_path / 'model', ARRAYS)
  return tmp_path / 'model'


def flip(path, at):
  data = bytearray(path.read_bytes())
  data[at] ^= 1
  path.write_bytes(data)


def test_a_second_time_nothing_is_hashed(folder, tmp_path, monkeypatch):
  first = digest.of_files(folder, NAMES, tmp_path)
  monkeypatch.setattr(digest, 'hash_files', pytest.fail)
  assert digest.of_files(folder, NAMES, tmp_path) == first


def test_what_was_touched_is_hashed_again(folder, tmp_path, monkeypatch):
  first = digest.of_files(folder, NAMES, tmp_path)
  path, hashed = folder / 'model.safetensors', []
  real = digest.hash_files
  monkeypatch.setattr(
    digest,
    'hash_files',
    lambda paths, *more: hashed.extend(paths) or real(paths),
  )
  flip(path, -1)
  second = digest.of_files(folder, NAMES, tmp_path)
  assert hashed == [path]
  assert digest.total(first) != digest.total(second)
  os.utime(path, ns=(0, 0))
  assert digest.total(digest.of_files(folder, NAMES, tmp_path)) == digest.total(
    second
  )
  assert hashed == [path, path]


def test_a_torn_record_counts_as_none(folder, tmp_path):
  first = digest.of_files(folder, NAMES, tmp_path)
  for text in ('', '{}', '[]', '{"format": 1, "files": {"a": {}}}'):
    digest.record(folder, NAMES, tmp_path).write_text(text)
    assert digest.of_files(folder, NAMES, tmp_path) == first


@pytest.mark.parametrize(
  ('at', 'where'),
  [
    (-1, 'in tensor first:'),
    (-1_199_999, 'in tensor first:'),
    (-1_200_001, 'in tensor second:'),
    (3, 'in its head'),
    (12, 'in its head'),
  ],
)
def test_a_flipped_byte_is_named(folder, at, where):
  path = folder / 'model.safetensors'
  was = digest.hash_files([path])[path]
  assert digest.changed(path, was, was) is None
  flip(path, at)
  told = digest.changed(path, was, digest.hash_files([path])[path])
  assert told.startswith(str(path))
  assert where in told


def test_a_cut_file_is_named(folder):
  path = folder / 'model.safetensors'
  was = digest.hash_files([path])[path]
  path.write_bytes(path.read_bytes()[:-1])
  told = digest.changed(path, was, digest.hash_files([path])[path])
  assert f'{was.size - 1} bytes, {was.size} are expected' in told
