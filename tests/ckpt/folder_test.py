"""Hub folders: one file or shards, and what is refused."""

import json

import ml_dtypes
import numpy as np
import pytest

from chatjax.ckpt import errors
from chatjax.ckpt import folder as folder_lib
from chatjax.testing import hub_folder

INDEX = 'model.safetensors.index.json'
ARRAYS = {
  'a': np.arange(12, dtype=np.float32).reshape(4, 3),
  'b': np.arange(4).astype(ml_dtypes.bfloat16),
  'c': np.arange(4).astype(np.float16),
}


def write(folder, num_shards=2):
  hub_folder.write(folder, ARRAYS, num_shards=num_shards)


def reindex(folder, change):
  index = json.loads((folder / INDEX).read_text())
  change(index['weight_map'])
  (folder / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize('num_shards', [1, 2, 3])
def test_tensors_of_all_files(tmp_path, num_shards):
  write(tmp_path, num_shards)
  tensors = folder_lib.Tensors(tmp_path)
  assert len(tensors.files) == num_shards
  assert tensors.shapes == {name: x.shape for name, x in ARRAYS.items()}
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(tensors.rows(name, 1, 3), array[1:3])
    file = tensors.where(name).split(':')[0].rsplit('/', 1)[1]
    assert file in tensors.files


@pytest.mark.parametrize('kind', ['bin', 'pt', 'pth', 'pkl', 'ckpt'])
def test_pickled_weights_are_never_opened(tmp_path, kind):
  (tmp_path / f'pytorch_model.{kind}').write_bytes(b'cos\nsystem\n')
  with pytest.raises(errors.FolderError, match=r'only in .* can run code'):
    folder_lib.Tensors(tmp_path)


def test_a_folder_without_weights(tmp_path):
  with pytest.raises(errors.FolderError, match=r'has no weights'):
    folder_lib.Tensors(tmp_path)


def test_a_shard_without_its_index(tmp_path):
  write(tmp_path)
  (tmp_path / INDEX).unlink()
  with pytest.raises(errors.FolderError, match=r'fetch the rest'):
    folder_lib.Tensors(tmp_path)


def test_a_shard_that_is_missing_is_named(tmp_path):
  write(tmp_path)
  (tmp_path / 'model-00002-of-00002.safetensors').unlink()
  with pytest.raises(errors.FolderError, match=r'model-00002.* is missing'):
    folder_lib.Tensors(tmp_path)


@pytest.mark.parametrize('name', ['../x', '/etc/passwd', '', 'a/b', 3, None])
def test_an_index_does_not_lead_out_of_its_folder(tmp_path, name):
  write(tmp_path)
  reindex(tmp_path, lambda files: files.update(a=name))
  with pytest.raises(errors.FolderError, match=r'not one of its own folder'):
    folder_lib.Tensors(tmp_path)


def test_an_index_and_files_that_do_not_agree(tmp_path):
  write(tmp_path)
  first, second = (f'model-0000{i}-of-00002.safetensors' for i in (1, 2))

  def change(files):
    del files['a']
    files['b'] = first
    files['d'] = second

  reindex(tmp_path, change)
  with pytest.raises(errors.FolderError) as caught:
    folder_lib.Tensors(tmp_path)
  for told in (
    f'b is not in {first}', f'd is not in {second}',
    f'a is in {first}, unnamed', f'b is in {second}, unnamed',
  ):  # fmt: skip
    assert told in str(caught.value)


@pytest.mark.parametrize('text', ['', '{', '[]', '{"weight_map": {}}', '\xff'])
def test_a_damaged_index(tmp_path, text):
  write(tmp_path)
  (tmp_path / INDEX).write_bytes(text.encode('latin-1'))
  with pytest.raises(errors.FolderError, match=r'index\.json'):
    folder_lib.Tensors(tmp_path)


def test_numbers_that_are_no_weights(tmp_path):
  hub_folder.write(tmp_path, {'a': np.zeros((2, 2), np.int32)})
  with pytest.raises(errors.FolderError, match=r"'a' is stored as int32"):
    folder_lib.Tensors(tmp_path).rows('a', 0, 1)


@pytest.mark.parametrize('shape', [(256, 128), (200, 300), (64, 64)])
@pytest.mark.parametrize('block', [(128, 128), (48, 32), (1, 300)])
def test_factors_of_8_bit_blocks(tmp_path, shape, block):
  rng = np.random.default_rng(0)
  values = rng.normal(size=shape).astype(ml_dtypes.float8_e4m3fn)
  blocks = [-(-n // size) for n, size in zip(shape, block, strict=True)]
  factors = rng.uniform(0.5, 2, blocks).astype(np.float32)
  hub_folder.write(
    tmp_path, {'w.weight': values, 'w.weight_scale_inv': factors}
  )
  tensors = folder_lib.Tensors(tmp_path, block=block)
  tensors.check_factors()
  assert tensors.shapes == {'w.weight': shape}
  wanted = values.astype(np.float32)
  for i in range(shape[0]):
    for j in range(shape[1]):
      wanted[i, j] *= factors[i // block[0], j // block[1]]
  np.testing.assert_array_equal(tensors.rows('w.weight', 0, shape[0]), wanted)
  np.testing.assert_array_equal(tensors.rows('w.weight', 50, 64), wanted[50:64])


@pytest.mark.parametrize('shape', [(3,), (), (2, 2), (1, 1), (3, 1), (8, 4)])
def test_factors_of_another_shape(tmp_path, shape):
  hub_folder.write(tmp_path, {
    'w.weight': np.zeros((256, 128), ml_dtypes.float8_e4m3fn),
    'w.weight_scale_inv': np.zeros(shape, np.float32),
  })  # fmt: skip
  tensors = folder_lib.Tensors(tmp_path)
  told = r"'w.weight_scale_inv' .* one factor per block of \(128, 128\)"
  with pytest.raises(errors.FolderError, match=told):
    tensors.check_factors()


def test_json_that_nobody_vouched_for(tmp_path):
  path = tmp_path / 'config.json'
  with pytest.raises(errors.FolderError, match=r'has no config\.json'):
    folder_lib.read_json(path)
  path.write_text('[' * 100_000)
  with pytest.raises(errors.FolderError, match=r'no sound JSON'):
    folder_lib.read_json(path)


def test_a_mark_of_the_byte_order_is_left_out(tmp_path):
  path = tmp_path / 'config.json'
  path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
  assert folder_lib.read_json(path) == {'a': 1}
