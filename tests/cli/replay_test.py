"""`chatjax replay ID`: which model it asks."""

import pytest

from chatjax import types
from chatjax.cli import loading
from chatjax.cli import main
from chatjax.store import opening
from chatjax.store import store as store_lib
from tests.store import store_test


@pytest.fixture
def replayed(monkeypatch, tmp_path):
  """(model id, *flags) -> the path or id that is loaded; None if none is."""
  monkeypatch.setenv('CHATJAX_HOME', str(tmp_path))
  found = []

  def load(config, *, accept_license):
    del accept_license
    found.append(config.model)
    raise types.ChatjaxError('It is only looked at.')

  monkeypatch.setattr(loading, 'load', load)

  def call(model, *flags):
    found.clear()
    store = store_lib.Store.in_file(tmp_path / opening.FILE)
    store.delete('chatcmpl-1')
    store.add(store_test.answer('chatcmpl-1', model=model))
    store.close()
    assert main.main(['replay', 'chatcmpl-1', *flags]) == 1
    return found[0] if found else None

  return call


def test_the_model_that_wrote_it_is_asked(replayed):
  assert replayed('smollm2-135m-instruct') == 'smollm2-135m-instruct'
  assert replayed('owner/name') == 'owner/name'


def test_a_model_that_was_loaded_from_a_path(replayed, tmp_path, capsys):
  assert replayed('my-folder') is None
  told = capsys.readouterr().err
  assert "of the model 'my-folder', which was loaded from a path" in told
  assert '--model' in told
  folder = tmp_path / 'my-folder'
  folder.mkdir()
  assert replayed('my-folder', f'--model={folder}') == str(folder)
  assert replayed('my-folder', f'--set=model={folder}') == str(folder)
