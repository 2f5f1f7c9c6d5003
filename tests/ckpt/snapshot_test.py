"""Whole repositories from a hub that runs inside the test."""

import hashlib
import http.server
import json
import threading

from huggingface_hub import constants
import pytest

from chatjax.ckpt import errors
from chatjax.ckpt import hub

COMMIT, TOKEN = 'c' * 40, 'hf_secret'
FILES = {
  'config.json': b'{}',
  'model.safetensors': bytes(range(256)) * 400,
  'chat_template.jinja': b'x',
  'README.md': b'words',
  'pytorch_model.bin': b'cos\nsystem\n',
  'modeling_evil.py': b'raise SystemExit',
  'consolidated.safetensors': b'again',
  'onnx/config.json': b'{}',
}
WANTED = {'config.json', 'model.safetensors', 'chat_template.jinja'}


class _Store(http.server.BaseHTTPRequestHandler):
  """Where the hub sends its guests for large files."""

  def do_GET(self):
    self.server.seen.append((self.path, self.headers.get('Authorization')))
    _answer(self, FILES['model.safetensors'])

  def log_message(self, *unused):
    """Says nothing."""


class _Hub(_Store):
  """Answers as the hub does."""

  def do_GET(self):
    self.server.seen.append((self.path, self.headers.get('Authorization')))
    path = self.path.split('?')[0]
    if path.startswith('/api/models/owner/name/revision/'):
      _answer(self, json.dumps({'id': 'owner/name', 'sha': COMMIT}).encode())
    elif path.startswith('/api/models/owner/name/tree/'):
      entries = [
        {'type': 'file', 'path': name, 'size': len(data), 'oid': _sha(data)}
        for name, data in FILES.items()
      ]
      _answer(self, json.dumps(entries).encode())
    else:
      self.do_HEAD()

  def do_HEAD(self):
    name = self.path.split(f'/resolve/{COMMIT}/')[-1]
    if not self.path.startswith('/owner/name/') or name not in FILES:
      self.send_error(404)
    elif name == 'model.safetensors':
      self.send_response(302)
      self.send_header('Location', f'{self.server.store}/blob')
      self.send_header('X-Linked-Etag', f'"{_sha(FILES[name])}"')
      self.send_header('X-Linked-Size', str(len(FILES[name])))
      self.send_header('X-Repo-Commit', COMMIT)
      self.send_header('Content-Length', '0')
      self.end_headers()
    else:
      _answer(self, FILES[name], with_body=self.command == 'GET')


def _sha(data):
  return hashlib.sha256(data).hexdigest()


def _answer(handler, data, with_body=True):
  handler.send_response(200)
  handler.send_header('ETag', f'"{_sha(data)}"')
  handler.send_header('X-Repo-Commit', COMMIT)
  handler.send_header('Content-Length', str(len(data)))
  handler.end_headers()
  if with_body:
    handler.wfile.write(data)


def _start(handler):
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
  server.seen = []
  threading.Thread(target=server.serve_forever).start()
  return server


@pytest.fixture(name='server')
def _server(monkeypatch, tmp_path):
  store, server = _start(_Store), _start(_Hub)
  # Another name of this machine: a token must not go there.
  server.store = f'http://localhost:{store.server_port}'
  server.behind = store
  address = f'http://127.0.0.1:{server.server_port}'
  for name, value in (
    ('HF_HUB_CACHE', str(tmp_path / 'cache')), ('HF_HUB_OFFLINE', False),
    ('ENDPOINT', address), ('HF_HUB_DISABLE_XET', True),
    ('HUGGINGFACE_CO_URL_TEMPLATE',
     address + '/{repo_id}/resolve/{revision}/{filename}'),
  ):  # fmt: skip
    monkeypatch.setattr(constants, name, value)
  monkeypatch.setenv('HF_TOKEN', TOKEN)
  yield server
  for each in (store, server):
    each.shutdown()
    each.server_close()


def snapshot(revision='main'):
  seen = []
  path = hub.snapshot(
    'owner/name', revision, tick=lambda *amount: seen.append(amount)
  )
  return path, seen


def test_only_safe_files_come(server, capfd):
  path, seen = snapshot()
  assert {x.name for x in path.iterdir()} == WANTED
  for name in WANTED:
    assert (path / name).read_bytes() == FILES[name]
  assert seen[-1][0] == seen[-1][1] >= len(FILES['model.safetensors'])
  assert path in hub.cached_folders()
  asked = ' '.join(where for where, _ in server.seen)
  assert not any(name in asked for name in set(FILES) - WANTED)
  assert capfd.readouterr() == ('', '')


def test_the_token_goes_to_the_hub_alone(server):
  snapshot()
  assert {sent for _, sent in server.seen} == {f'Bearer {TOKEN}'}
  assert [sent for _, sent in server.behind.seen] == [None]


def test_the_cache_serves_without_the_hub(server, monkeypatch):
  path, _ = snapshot()
  server.seen.clear()
  monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
  assert snapshot() == (path, [])
  assert snapshot(COMMIT) == (path, [])
  assert not server.seen


def test_offline_without_the_model(server, monkeypatch):
  monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
  with pytest.raises(errors.FetchError, match=r'owner/name@main is not in the'):
    snapshot()
  assert not server.seen


def test_a_model_that_the_hub_does_not_have(server):
  with pytest.raises(
    errors.FetchError, match=r'answered 404 for owner/none@v1'
  ):
    hub.snapshot('owner/none', 'v1', tick=lambda *amount: None)


def test_the_hub_vouches_for_large_files(server):
  path, _ = snapshot()
  data = FILES['model.safetensors']
  assert hub.published_sha256(path / 'model.safetensors') == _sha(data)
  assert hub.published_sha256(path) is None
