"""`chatjax models ...` and `chatjax convert` on tiny models."""

import dataclasses
import hashlib
import sys

import gguf
import numpy as np
import pytest

from chatjax.ckpt import hub
from chatjax.ckpt import manifest as manifest_lib
from chatjax.cli import main
from chatjax.models import load
from chatjax.models import locate
from chatjax.models import registry
from chatjax.testing import hub_folder


@pytest.fixture(name='home')
def _home(monkeypatch, tmp_path):
  monkeypatch.setenv('CHATJAX_HOME', str(tmp_path / 'home'))
  monkeypatch.setattr(hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
  return tmp_path / 'home'


@pytest.fixture(name='folder')
def _folder(tmp_path, home):
  """A tiny model that was loaded once in float32."""
  hub_folder.write(tmp_path / 'tiny', num_shards=2)
  found = locate.locate(str(tmp_path / 'tiny'))
  load.load(
    found.path, found.digest, dtype='float32', checkpoints=home / 'checkpoints'
  )
  return tmp_path / 'tiny'


@pytest.fixture(name='run')
def _run(capfd):
  def call(*arguments):
    capfd.readouterr()
    code = main.main(list(arguments))
    return code, *capfd.readouterr()

  return call


def flip(path, at):
  data = bytearray(path.read_bytes())
  data[at] ^= 1
  path.write_bytes(data)


def test_the_list_has_what_was_loaded(folder, run):
  code, out, _ = run('models')
  (line,) = [x for x in out.splitlines() if x.startswith('tiny ')]
  assert code == 0
  assert line.split()[1] == 'Qwen2ForCausalLM'
  assert line.endswith('float32')
  assert all(name in out for name in registry.REGISTRY)


def test_show(folder, run):
  code, out, _ = run('models', 'show', 'tiny')
  rows = [line.split(None, 1) for line in out.splitlines()]
  assert code == 0
  assert ['id', 'tiny'] in rows
  assert ['num_layers', '2'] in rows
  assert ['layer_kinds', '2 global'] in rows
  assert ['path', str(folder)] in rows
  files = [value.split()[0] for name, value in rows if name == 'file']
  assert 'model-00002-of-00002.safetensors' in files
  assert any(name == 'converted' for name, _ in rows)


def test_show_what_is_not_fetched(run, home):
  code, out, _ = run('models', 'show', registry.DEFAULT)
  assert code == 0
  assert 'not fetched yet' in out
  assert registry.get(registry.DEFAULT).source.sha256 in out


def test_show_what_cannot_be_run(tmp_path, run, home):
  config = hub_folder.CONFIG | {'architectures': ['NoSuch']}
  hub_folder.write(tmp_path / 'odd', {}, config=config)
  code, out, _ = run('models', 'show', str(tmp_path / 'odd'))
  assert code == 0
  assert 'holds a NoSuch model' in out


def test_all_is_well(folder, run):
  code, out, _ = run('models', 'verify', 'tiny')
  assert code == 0
  assert out.count('ok ') == 7 + 1  # files, and a converted form
  assert 'every byte' in out


@pytest.mark.parametrize('times', [1, 2])
def test_a_flipped_byte_is_named(folder, run, times):
  path = folder / 'model-00001-of-00002.safetensors'
  flip(path, -1)
  for _ in range(times):  # it is not taken for right the second time
    code, out, _ = run('models', 'verify', 'tiny')
    (line,) = [x for x in out.splitlines() if x.startswith('DAMAGED')]
    assert code == 1
    assert str(path) in line
    assert 'in tensor model.' in line
  assert 'tiny: 1 damaged' in out


def test_a_flipped_byte_of_a_converted_form_is_named(folder, run, home):
  (converted,) = (home / 'checkpoints').iterdir()
  data = max(
    manifest_lib.params(converted).rglob('d/*'), key=lambda x: x.stat().st_size
  )
  flip(data, data.stat().st_size // 2)
  code, out, _ = run('models', 'verify', 'tiny')
  (line,) = [x for x in out.splitlines() if x.startswith('DAMAGED')]
  assert code == 1
  assert str(data) in line
  assert 'in parameter ' in line


def test_a_flipped_byte_of_a_model_by_name_is_named(run, home, monkeypatch):
  entry = registry.get(registry.DEFAULT)
  path = home / 'weights' / 'm.gguf'
  path.parent.mkdir(parents=True)
  writer = gguf.GGUFWriter(path, 'llama')
  writer.add_tensor('first', np.ones(64, np.float32))
  writer.add_tensor('last', np.ones(64, np.float32))
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  source = dataclasses.replace(
    entry.source, filename=path.name, size=path.stat().st_size,
    sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
  )  # fmt: skip
  entry = dataclasses.replace(entry, source=source)
  monkeypatch.setattr(registry, 'REGISTRY', {entry.id: entry})
  locate.locate(entry.id)
  assert run('models', 'verify', entry.id)[0] == 0
  flip(path, -1)
  code, out, _ = run('models', 'verify', entry.id)
  assert code == 1
  assert f'{path} was changed or damaged in tensor last' in out


def test_what_the_hub_gave_is_to_be_deleted(run, home, tmp_path):
  """Its library would not look into it again."""
  repo = tmp_path / 'cache/models--owner--name'
  snapshot = repo / 'snapshots' / ('a' * 40)
  hub_folder.write(snapshot)
  (repo / 'refs').mkdir()
  (repo / 'refs/main').write_text('a' * 40)
  (repo / 'blobs').mkdir()
  data = (snapshot / 'model.safetensors').read_bytes()
  blob = repo / 'blobs' / hashlib.sha256(data).hexdigest()
  (snapshot / 'model.safetensors').rename(blob)
  (snapshot / 'model.safetensors').symlink_to(blob)
  assert run('models', 'verify', 'owner/name')[0] == 0
  flip(blob, -1)
  code, out, _ = run('models', 'verify', 'owner/name')
  assert code == 1
  assert f'Delete {blob}; the next start fetches it again.' in out


def test_a_missing_shard_is_named(folder, run):
  (folder / 'model-00002-of-00002.safetensors').unlink()
  code, _, err = run('models', 'verify', 'tiny')
  assert code == 1
  assert 'model-00002-of-00002.safetensors is missing' in err


def test_remove_asks(folder, run, home, monkeypatch):
  code, _, err = run('models', 'remove', 'tiny')
  assert code == 2
  assert 'pass --yes' in err
  for answer, is_removed in (('n\n', False), ('y\n', True)):
    monkeypatch.setattr(sys, 'stdin', _Terminal(answer))
    code, out, _ = run('models', 'remove', 'tiny')
    assert code == (0 if is_removed else 1)
    assert f'The weights in {folder} stay.' in out
    assert (not list((home / 'checkpoints').iterdir())) == is_removed
  assert (folder / 'config.json').exists()
  assert 'tiny ' not in run('models')[1]


def test_remove_of_the_registry(run, home):
  entry = registry.get('smollm2-135m-instruct')
  path = home / 'weights' / entry.source.filename
  path.parent.mkdir(parents=True)
  path.write_bytes(b'x')
  path.with_name(f'{path.name}.verified.json').write_text('{}')
  code, out, _ = run('models', 'remove', '--yes', entry.id)
  assert code == 0
  assert str(path) in out
  assert not list(path.parent.iterdir())
  code, out, _ = run('models', 'remove', '--yes', entry.id)
  assert (code, out) == (0, f'Nothing of {entry.id} is kept in {home}.\n')


class _Terminal:
  def __init__(self, answer):
    self._answer = answer

  def isatty(self):
    return True

  def readline(self):
    return self._answer


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (('models', 'shwo'), 'Did you mean show?'),
    (('models', 'show'), 'Give one model'),
    (('models', 'show', 'a', 'b'), 'Give one model'),
    (('models', 'verify', 'smollm2-135m'), "mean 'smollm2-135m-instruct'"),
    (('models', 'remove', 'zzzz'), "no model 'zzzz' here"),
    (('models', 'show', '/no/such'), "no file or folder '/no/such'"),
    (('convert',), '--model is missing'),
    (('convert', '--model=x/y'), '--output is missing'),
    (('convert', '--model=smollm2', '--output=x'), 'Did you mean'),
    (('convert', '--model=x/y', '--output=x', '--to=pickle'), 'not one of'),
    (
      ('convert', '--model=x/y', '--output=x', '--to=safetensors',
       '--dtype=int8'), 'bfloat16 or float32',
    ),
    (
      ('convert', '--model=x/y', '--output=x', '--to=safetensors',
       '--dtype=int4_weight'), '--dtype=int4_weight is kept by --to=orbax',
    ),
    (('convert', 'x'), "Unexpected argument 'x'"),
  ],
)  # fmt: skip
def test_usage_errors(run, home, arguments, message):
  code, out, err = run(*arguments)
  assert (code, out) == (2, '')
  assert message in err
  assert err.count('\n') == 1
  assert not home.exists()


def test_convert(folder, run, tmp_path):
  there, back = str(tmp_path / 'there'), str(tmp_path / 'back')
  code, out, err = run('convert', f'--model={folder}', f'--output={there}')
  assert (code, err) == (0, 'Converting the weights ...\n')
  assert out == f'{there} is written; chatjax chat --model={there} takes it.\n'
  code, _, _ = run(
    'convert', f'--model={there}', f'--output={back}', '--to=safetensors'
  )
  assert code == 0
  code, out, _ = run('models', 'verify', there)
  assert code == 0, out
  listed = run('models')[1]
  assert 'there ' in listed
  assert run('convert', f'--model={folder}', f'--output={back}')[0] == 1


def test_a_damaged_folder_of_parameters_is_named(folder, run, tmp_path):
  there = tmp_path / 'there'
  run('convert', f'--model={folder}', f'--output={there}')
  data = max((there / 'params').rglob('d/*'), key=lambda x: x.stat().st_size)
  flip(data, data.stat().st_size // 2)
  code, out, _ = run('models', 'verify', str(there))
  assert code == 1
  assert 'in parameter ' in out
