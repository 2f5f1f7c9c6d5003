"""What --model may name, and what clients then call it."""

import json
import pathlib

import pytest

from chatjax.ckpt import errors
from chatjax.ckpt import hub
from chatjax.models import known
from chatjax.models import local
from chatjax.models import locate
from chatjax.models import registry
from chatjax.testing import hub_folder

COMMIT = 'a' * 40


@pytest.fixture(name='home')
def _home(monkeypatch, tmp_path):
  monkeypatch.setenv('CHATJAX_HOME', str(tmp_path / 'home'))
  monkeypatch.setattr(hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
  return tmp_path / 'home'


@pytest.fixture(name='folder')
def _folder(tmp_path):
  hub_folder.write(tmp_path / 'My-Model.5B')
  return tmp_path / 'My-Model.5B'


def cached(tmp_path):
  """A model in the hub's cache, as its library lays it out."""
  repo = tmp_path / 'cache/models--owner--name.v1'
  snapshot = repo / 'snapshots' / COMMIT
  hub_folder.write(snapshot)
  (repo / 'refs').mkdir()
  (repo / 'refs/main').write_text(COMMIT)
  return snapshot


def test_a_folder(home, folder):
  found = locate.locate(str(folder))
  assert (found.id, found.path) == ('My-Model.5B', folder)
  assert len(found.digest) == 64
  assert locate.served_id(str(folder)) == found.id
  assert [(x.id, x.path) for x in known.models(home)] == [(found.id, folder)]


def test_a_folder_by_a_relative_path(home, folder, monkeypatch):
  monkeypatch.chdir(folder.parent)
  for name in ('My-Model.5B', './My-Model.5B', './My-Model.5B/'):
    assert locate.locate(name).path == folder
    assert locate.served_id(name) == 'My-Model.5B'
  monkeypatch.chdir(folder)
  assert locate.served_id('.') == 'My-Model.5B'


def test_a_snapshot_in_the_hubs_cache(home, tmp_path, monkeypatch):
  snapshot = cached(tmp_path)
  assert locate.locate(str(snapshot)).id == 'owner/name.v1'
  monkeypatch.setattr(hub.constants, 'HF_HUB_OFFLINE', True)
  for name in ('owner/name.v1', f'owner/name.v1@{COMMIT}'):
    found = locate.locate(name)
    assert (found.id, found.path) == (name, snapshot)
    assert locate.served_id(name) == name


def test_an_id_of_the_registry():
  for name in registry.REGISTRY:
    locate.check(name)
    assert locate.served_id(name) == name


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('/no/such', "no file or folder '/no/such'"),
    ('./no.gguf', "no file or folder './no.gguf'"),
    ('~/no/such', 'no file or folder'),
    ('smollm', 'Did you mean'),
    ('', 'Unknown model'),
    ('a/b/c', 'Unknown model'),
    ('owner/na me', 'Unknown model'),
    ('owner/name@', 'Unknown model'),
    ('http://host/x', 'Unknown model'),
    ('owner/..', 'Unknown model'),
  ],
)
def test_what_names_no_model(name, message):
  with pytest.raises(registry.UnknownModelError, match=message):
    locate.check(name)


def test_files_that_are_no_model(home, tmp_path):
  (tmp_path / 'x.bin').write_text('x')
  with pytest.raises(errors.FolderError, match=r'x\.bin is no GGUF file'):
    locate.locate(str(tmp_path / 'x.bin'))
  (tmp_path / 'empty').mkdir()
  with pytest.raises(errors.FolderError, match=r'has no config\.json'):
    locate.locate(str(tmp_path / 'empty'))


def test_all_models_of_this_machine(home, folder, tmp_path):
  snapshot = cached(tmp_path)
  locate.locate(str(folder))
  ids = [item.id for item in local.items(home)]
  assert ids == [*registry.REGISTRY, 'My-Model.5B', 'owner/name.v1']
  for name in ('My-Model.5B', str(folder)):
    assert local.find(name, home).path == folder
  assert local.find('owner/name.v1', home).path == snapshot
  with pytest.raises(registry.UnknownModelError, match=r"mean 'My-Model\.5B'"):
    local.find('My-Model.6B', home)
  folder.rename(tmp_path / 'gone')
  assert 'My-Model.5B' not in [item.id for item in local.items(home)]


def test_a_torn_note_is_passed_over(home, folder):
  locate.locate(str(folder))
  for record in (home / 'models').iterdir():
    record.write_text('{')
  assert known.models(home) == []
  for record in (home / 'models').iterdir():
    record.write_text(json.dumps({'id': 'x'}))
  assert known.models(home) == []


def test_a_home_that_cannot_be_written(home, folder):
  pathlib.Path(home).write_text('a file')
  assert locate.locate(str(folder)).id == 'My-Model.5B'
