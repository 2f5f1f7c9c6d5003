"""Files from a hub that runs inside the test."""

import hashlib
import http.server
import threading

import huggingface_hub
from huggingface_hub import constants
import pytest

from chatjax.ckpt import errors
from chatjax.ckpt import fetch
from chatjax.ckpt import hub
from chatjax.ckpt import licence

DATA = bytes(range(256)) * 4096
COMMIT = 'c' * 40
PLACE = fetch.HubFile(repo='owner/name', filename='a.gguf')
SOURCE = fetch.Source(
  filename='model.gguf',
  sha256=hashlib.sha256(DATA).hexdigest(),
  size=len(DATA),
  places=(PLACE,),
  licence=licence.APACHE_2,
)


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers for one file as the hub does."""

  def do_HEAD(self):
    found = self.path == '/owner/name/resolve/main/a.gguf'
    self.send_response(200 if found else 404)
    if found:
      self.send_header('ETag', f'"{SOURCE.sha256}"')
      self.send_header('X-Repo-Commit', COMMIT)
    self.send_header('Content-Length', str(len(DATA) if found else 0))
    self.end_headers()
    return found

  def do_GET(self):
    self.server.downloads.append(self.path)
    if self.do_HEAD():
      self.wfile.write(DATA)

  def log_message(self, *unused):
    """Says nothing."""


@pytest.fixture
def server(monkeypatch, tmp_path):
  monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub-cache'))
  monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler) as server:
    server.downloads = []
    address = f'http://127.0.0.1:{server.server_port}'
    monkeypatch.setattr(constants, 'ENDPOINT', address)
    monkeypatch.setattr(
      constants,
      'HUGGINGFACE_CO_URL_TEMPLATE',
      address + '/{repo_id}/resolve/{revision}/{filename}',
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def test_a_file_comes_from_the_hub(server, tmp_path, capfd):
  reports = []
  path = fetch.fetch(
    SOURCE, tmp_path / 'home', progress=lambda *r: reports.append(r)
  )
  assert path.read_bytes() == DATA
  labels = {label: done for done, _, label in reports}
  assert labels == {
    'Downloading model.gguf': len(DATA),
    'Joining model.gguf': len(DATA),
  }
  assert not (tmp_path / 'home/partial' / SOURCE.sha256).exists()
  assert capfd.readouterr() == ('', '')


def test_a_file_that_the_hub_does_not_have(server, tmp_path):
  with pytest.raises(errors.UnavailableError, match='the hub answered 404'):
    hub.download(
      'owner/name', 'b', 'main', folder=tmp_path, tick=lambda done: None
    )


def test_offline_is_respected(server, tmp_path, monkeypatch):
  monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
  with pytest.raises(errors.FetchError, match='HF_HUB_OFFLINE is set'):
    fetch.fetch(SOURCE, tmp_path / 'home')
  assert not server.downloads


def test_the_hubs_own_cache_serves_offline(server, tmp_path, monkeypatch):
  huggingface_hub.hf_hub_download('owner/name', 'a.gguf')
  server.downloads.clear()
  monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
  path = fetch.fetch(SOURCE, tmp_path / 'home')
  assert path.read_bytes() == DATA
  assert not server.downloads


def test_a_hub_that_cannot_be_reached_is_given_up_soon(
  server, tmp_path, monkeypatch
):
  monkeypatch.setattr(
    constants,
    'HUGGINGFACE_CO_URL_TEMPLATE',
    'http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}',
  )
  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', None)
  with pytest.raises(errors.FetchError, match=r'the hub failed: .*refused'):
    fetch.fetch(SOURCE, tmp_path / 'home')
