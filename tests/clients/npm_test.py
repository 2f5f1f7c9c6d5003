"""The openai package and the Vercel AI SDK of npm against a live server."""

import json
import pathlib
import shutil
import subprocess

import pytest

from tests.clients import page
from tests.clients import scripted

pytestmark = pytest.mark.slow
PROGRAM = pathlib.Path(__file__).parent / 'npm_clients.mjs'
PACKAGES = (
  'openai@7.57.0', 'ai@6.0.326', '@ai-sdk/openai-compatible@2.0.92', 'zod@4.6.7'
)  # fmt: skip
SUM = 'The tool: 3 it is.'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Where the packages are installed."""
  if shutil.which('node') is None or shutil.which('npm') is None:
    pytest.skip('node or npm is not installed')
  path = tmp_path_factory.mktemp('npm')
  (path / 'package.json').write_text('{"private": true}')
  flags = ['--no-audit', '--no-fund', '--ignore-scripts']
  try:
    subprocess.run(
      ['npm', 'install', *flags, *PACKAGES],
      cwd=path,
      check=True,
      capture_output=True,
      timeout=180,
    )
  except subprocess.SubprocessError as error:
    pytest.skip(f'npm cannot install the packages: {error}')
  return path


@pytest.fixture(scope='module')
def served():
  with scripted.serve(
    ('Ada', '{"name": "Ada", "age": 36}'), *page.REPLIES
  ) as one:
    yield one


def run_node(folder, code, *args):
  (folder / 'program.mjs').write_text(code)
  run = subprocess.run(
    ['node', 'program.mjs', *args],
    cwd=folder,
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert run.returncode == 0, run.stderr
  return run.stdout


def test_both_clients(folder, served):
  base_url = served.client_args['base_url']
  told = json.loads(
    run_node(folder, PROGRAM.read_text(), base_url, scripted.MODEL_ID)
  )
  ada = {'name': 'Ada', 'age': 36}
  assert told['openai'] == {
    'parsed': ada,
    'hasRequestId': True,
    'streamed': json.dumps(ada),
    'streamedTokens': len(json.dumps(ada)) + 1,
    'loops': [SUM, SUM],
    'called': [[1, 2], [1, 2]],
    'error': [404, 'model_not_found'],
  }
  num_tokens = len(scripted.call('add', a=1, b=2)) + 1 + len(SUM) + 1
  assert told['vercel'] == {
    'loops': [SUM, SUM],
    'steps': [2, 2],
    'tokens': [num_tokens, num_tokens],
    'warnings': [],
    'called': [[1, 2], [1, 2]],
    'typed': ada,
  }


def test_the_snippet_of_the_page(folder, served):
  ((_, code),) = page.snippets('js')
  assert run_node(folder, page.aimed(code, served)) == f'{SUM}\n'
