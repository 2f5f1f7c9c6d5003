"""Conversion there and back: bit for bit, and through kill -9."""

import json
import pathlib
import signal
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest

from chatjax.ckpt import errors
from chatjax.ckpt import orbax
from chatjax.ckpt import safetensors
from chatjax.models import convert
from chatjax.models import export
from chatjax.models import load
from chatjax.models import locate
from chatjax.testing import hub_folder
from tests.models import folders

# Dies after so many parts or shards; several are made of a tiny model.
DYING = """
import os, pathlib, signal, sys
from chatjax.ckpt import orbax
from chatjax.models import convert, export, load, locate
folder, output, home, to, count = sys.argv[1:]
orbax.PART_BYTES = export.SHARD_BYTES = 20_000
left = int(count)
def dies(real):
  def call(*args):
    global left
    if left == 0:
      os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return real(*args)
  return call
orbax._save_part = dies(orbax._save_part)
export._write_shard = dies(export._write_shard)
found = locate.of_path(pathlib.Path(folder), pathlib.Path(home))
with load.open_source(found.path, found.digest) as source:
  convert.convert(source, pathlib.Path(output), to=to, home=pathlib.Path(home))
"""


@pytest.fixture(name='folder')
def _folder(tmp_path):
  return tmp_path / 'model'


def run(model, output, tmp_path, **more):
  found = locate.of_path(model, tmp_path / 'home')
  with load.open_source(found.path, found.digest) as source:
    convert.convert(source, output, home=tmp_path / 'home', **more)
  return output


def tensors(folder):
  """Name -> dtype, shape and bytes, of all files of a folder."""
  found = {}
  for path in sorted(folder.glob('*.safetensors')):
    file = safetensors.File(path)
    for name, info in file.tensors.items():
      found[name] = (info.dtype, info.shape, file.view(name).tobytes())
  return found


def params(folder, tmp_path, dtype='float32'):
  found = locate.of_path(folder, tmp_path / 'home')
  return load.load(
    found.path, found.digest, dtype=dtype, checkpoints=tmp_path / 'checkpoints'
  ).restore()


def files(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob('*') if path.is_file()
  }  # fmt: skip


# Of these other tensors are written than there were: experts are dequantized,
# and what sees is left out.
CHANGED = {'gemma3_multimodal', 'gpt_oss'}
DTYPES = {
  'bfloat16': ml_dtypes.bfloat16, 'float16': np.float16, 'float32': np.float32,
}  # fmt: skip


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('is_tied', [True, False])
def test_there_and_back_is_the_same(folder, tmp_path, dtype, is_tied):
  config = {**hub_folder.CONFIG, 'tie_word_embeddings': is_tied}
  arrays = hub_folder.tensors(config, DTYPES[dtype])
  # Files often have their norms in more bits than the rest.
  arrays['model.norm.weight'] = np.linspace(0, 1, 32, dtype=np.float32)
  hub_folder.write(folder, arrays, config=config)
  there = run(folder, tmp_path / 'there', tmp_path, to='orbax')
  back = run(there, tmp_path / 'back', tmp_path, to='safetensors')
  assert tensors(back) == tensors(folder)
  texts = [name for name in files(folder) if not name.endswith('.safetensors')]
  assert len(texts) == 4
  for name in texts:
    for made in (there, back):
      assert (made / name).read_bytes() == (folder / name).read_bytes()
  for other in (there, back):
    jax.tree.map(
      np.testing.assert_array_equal,
      params(other, tmp_path), params(folder, tmp_path),
    )  # fmt: skip


def test_a_table_that_is_stored_twice_is_written_once(folder, tmp_path):
  arrays = hub_folder.tensors()
  table = arrays['model.embed_tokens.weight']
  hub_folder.write(folder, arrays | {'lm_head.weight': table})
  made = run(folder, tmp_path / 'made', tmp_path, to='safetensors')
  assert tensors(made).keys() == arrays.keys()
  hub_folder.write(folder, arrays | {'lm_head.weight': -table})
  with pytest.raises(load.LoadError, match='tie_word_embeddings'):
    run(folder, tmp_path / 'other', tmp_path, to='safetensors')


def test_several_shards_and_parts(folder, tmp_path, monkeypatch):
  monkeypatch.setattr(orbax, 'PART_BYTES', 20_000)
  monkeypatch.setattr(export, 'SHARD_BYTES', 20_000)
  hub_folder.write(folder, num_shards=2)
  there = run(folder, tmp_path / 'there', tmp_path, to='orbax')
  assert len(orbax.places(there)) > 2
  back = run(there, tmp_path / 'back', tmp_path, to='safetensors')
  index = json.loads((back / 'model.safetensors.index.json').read_text())
  shards = {path.name for path in back.glob('*.safetensors')}
  assert len(shards) > 2
  assert set(index['weight_map'].values()) == shards
  assert tensors(back) == tensors(folder)
  jax.tree.map(
    np.testing.assert_array_equal,
    params(there, tmp_path), params(back, tmp_path),
  )  # fmt: skip


@pytest.mark.parametrize('to', convert.FORMATS)
@pytest.mark.parametrize('count', [0, 2])
def test_kill_9_and_again(folder, tmp_path, to, count, monkeypatch):
  hub_folder.write(folder)
  output = tmp_path / 'out'
  done = subprocess.run(
    [sys.executable, '-c', DYING, folder, output, tmp_path / 'home', to,
     str(count)],
    stderr=subprocess.PIPE, timeout=60, check=False,
  )  # fmt: skip
  assert done.returncode == -signal.SIGKILL, done.stderr
  assert not output.exists()
  monkeypatch.setattr(orbax, 'PART_BYTES', 20_000)
  monkeypatch.setattr(export, 'SHARD_BYTES', 20_000)
  name = '_save_part' if to == 'orbax' else '_write_shard'
  owner, again = (orbax if to == 'orbax' else export), []
  real = getattr(owner, name)
  monkeypatch.setattr(owner, name, lambda *args: again.append(1) or real(*args))
  run(folder, output, tmp_path, to=to)
  parts = len(again) + count
  again.clear()
  undisturbed = run(folder, tmp_path / 'undisturbed', tmp_path, to=to)
  assert len(again) == parts > 3
  assert not list(tmp_path.glob('*.partial'))
  if to == 'safetensors':
    assert files(output) == files(undisturbed)
  else:
    assert orbax.sums(output) == orbax.sums(undisturbed)
    jax.tree.map(
      np.testing.assert_array_equal,
      params(output, tmp_path), params(undisturbed, tmp_path),
    )  # fmt: skip


def test_another_dtype(folder, tmp_path):
  hub_folder.write(folder)
  wide = run(
    folder, tmp_path / 'w', tmp_path, to='safetensors', dtype='float32'
  )
  found, wanted = tensors(wide), tensors(folder)
  assert {dtype for dtype, _, _ in found.values()} == {np.dtype('f4')}
  for name, (dtype, _, data) in wanted.items():
    exact = np.frombuffer(data, dtype).astype(np.float32)
    assert found[name][2] == exact.tobytes()


def test_int8_is_kept_by_orbax(folder, tmp_path):
  hub_folder.write(folder)
  made = run(folder, tmp_path / 'made', tmp_path, to='orbax', dtype='int8')
  jax.tree.map(
    np.testing.assert_array_equal,
    params(made, tmp_path, 'int8'), params(folder, tmp_path, 'int8'),
  )  # fmt: skip
  assert len(list((tmp_path / 'checkpoints').iterdir())) == 1  # the folder's
  with pytest.raises(load.LoadError, match='from the original checkpoint'):
    params(made, tmp_path, 'float32')
  with pytest.raises(load.LoadError, match='from the original checkpoint'):
    run(made, tmp_path / 'back', tmp_path, to='safetensors')


def test_float_parameters_can_be_quantized(folder, tmp_path):
  hub_folder.write(folder)
  made = run(folder, tmp_path / 'made', tmp_path, to='orbax')
  jax.tree.map(
    np.testing.assert_array_equal,
    params(made, tmp_path, 'int8'), params(folder, tmp_path, 'int8'),
  )  # fmt: skip


@pytest.mark.parametrize('to', convert.FORMATS)
def test_nothing_is_written_over(folder, tmp_path, to):
  hub_folder.write(folder)
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out/mine').write_text('x')
  with pytest.raises(errors.FolderError, match='is there already'):
    run(folder, tmp_path / 'out', tmp_path, to=to)
  assert files(tmp_path / 'out') == {'mine': b'x'}


@pytest.mark.parametrize('to', convert.FORMATS)
def test_numbers_that_are_not_finite(folder, tmp_path, to):
  arrays = hub_folder.tensors()
  arrays['model.norm.weight'][3] = np.nan
  hub_folder.write(folder, arrays)
  with pytest.raises(errors.DataError, match='not finite'):
    run(folder, tmp_path / 'out', tmp_path, to=to)


@pytest.mark.parametrize('to', convert.FORMATS)
def test_a_place_that_cannot_be_written(folder, tmp_path, to):
  hub_folder.write(folder)
  (tmp_path / 'file').write_text('x')
  with pytest.raises(errors.FolderError, match='cannot be written'):
    run(folder, tmp_path / 'file/out', tmp_path, to=to)


def test_progress_goes_to_its_end(folder, tmp_path):
  hub_folder.write(folder)
  for to in convert.FORMATS:
    seen = []
    run(
      folder, tmp_path / to, tmp_path, to=to,
      progress=lambda *amount, seen=seen: seen.append(amount),
    )  # fmt: skip
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 10


def test_a_conversion_that_was_of_something_else(folder, tmp_path):
  """What is left of it is not taken for a part of this one."""
  partial = tmp_path / 'out.partial'
  for to in convert.FORMATS:
    hub_folder.write(folder)
    partial.mkdir()
    (partial / 'begun.json').write_text('{"sha256": "x"}')
    (partial / 'model.safetensors').write_text('torn')
    made = run(folder, tmp_path / 'out', tmp_path, to=to)
    assert pathlib.Path(made / 'config.json').exists()
    assert 'model.safetensors' not in files(made) or tensors(made)
    made.rename(tmp_path / f'done-{to}')


@pytest.mark.parametrize('to', convert.FORMATS)
def test_a_text_that_was_cut_off_is_written_again(
  folder, tmp_path, to, monkeypatch
):
  hub_folder.write(folder)
  output = tmp_path / 'out'

  def cut(folder, texts):
    folder.joinpath('tokenizer.json').write_text('{"torn')
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(convert, '_write_texts', cut)
    with pytest.raises(KeyboardInterrupt):
      run(folder, output, tmp_path, to=to)
  assert not output.exists()
  run(folder, output, tmp_path, to=to)
  undisturbed = run(folder, tmp_path / 'undisturbed', tmp_path, to=to)
  for name in ('config.json', 'tokenizer.json', 'tokenizer_config.json'):
    assert (output / name).read_bytes() == (undisturbed / name).read_bytes()
  assert (output / 'tensors.json').exists() == (to == 'orbax')


@pytest.mark.parametrize('to', convert.FORMATS)
def test_numbers_are_not_said_to_be_quantized(tmp_path, to):
  folder = tmp_path / 'model'
  folder.mkdir()
  folders.copy_of('gpt_oss', folder)
  assert 'quantization_config' in read_config(folder)
  made = run(folder, tmp_path / 'made', tmp_path, to=to)
  assert 'quantization_config' not in read_config(made)
  jax.tree.map(
    np.testing.assert_array_equal,
    params(made, tmp_path), params(folder, tmp_path),
  )  # fmt: skip


def test_config_says_the_dtype(folder, tmp_path):
  config = {**hub_folder.CONFIG, 'torch_dtype': 'bfloat16'}
  hub_folder.write(folder, config=config)
  wide = run(
    folder, tmp_path / 'w', tmp_path, to='safetensors', dtype='float32'
  )
  assert read_config(wide) == {**config, 'torch_dtype': 'float32'}


def read_config(folder):
  return json.loads((folder / 'config.json').read_text())


@pytest.mark.parametrize('to', convert.FORMATS)
@pytest.mark.parametrize('name', sorted(folders.ALL))
def test_every_family_there_and_back(name, to, tmp_path, monkeypatch):
  """Of the files, or of what they were converted to."""
  monkeypatch.setattr(export, 'SHARD_BYTES', 40_000)
  folder = tmp_path / 'model'
  folder.mkdir()
  folders.copy_of(name, folder)
  made = folder
  if to == 'orbax':
    made = run(folder, tmp_path / 'there', tmp_path, to='orbax')
  back = run(made, tmp_path / 'back', tmp_path, to='safetensors')
  assert len(list(back.glob('*.safetensors'))) > 1
  if name not in CHANGED:
    assert tensors(back) == tensors(folder)
    assert read_config(back) == read_config(folder)
  jax.tree.map(
    np.testing.assert_array_equal,
    params(back, tmp_path), params(folder, tmp_path),
  )  # fmt: skip


def test_the_text_half_is_written_as_a_model_of_its_own(tmp_path):
  folder = tmp_path / 'model'
  folder.mkdir()
  folders.copy_of('gemma3_multimodal', folder, eos_token_id=[1, 106])
  made = run(folder, tmp_path / 'made', tmp_path, to='safetensors')
  assert tensors(made).keys() == tensors(folders.ALL['gemma3']).keys()
  told, whole = read_config(made), read_config(folder)
  assert told == whole['text_config'] | {
    'architectures': ['Gemma3ForCausalLM'],
    'dtype': 'bfloat16',
    'eos_token_id': [1, 106],
  }


def test_what_is_fused_keeps_its_dtype(tmp_path):
  folder = tmp_path / 'model'
  folder.mkdir()
  folders.copy_of('phi3', folder)
  arrays = {
    name: np.frombuffer(data, dtype).astype(np.float32).reshape(shape)
    for name, (dtype, shape, data) in tensors(folder).items()
  }
  arrays['model.layers.0.self_attn.qkv_proj.weight'] += np.float32(2**-20)
  hub_folder.write_file(folder / 'model.safetensors', arrays)
  back = run(folder, tmp_path / 'back', tmp_path, to='safetensors')
  assert tensors(back) == tensors(folder)
