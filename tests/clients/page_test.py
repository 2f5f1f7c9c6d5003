"""Every Python snippet of docs/clients.md runs, and says what it should."""

import os
import subprocess
import sys

import pytest

from tests.clients import page
from tests.clients import scripted

SAID = {
  'openai': "name='Paris' country='France'\nfp_fake chatcmpl-",
  'LangChain': 'The tool: 3 it is.',
  'pydantic-ai': 'The tool: 3 it is.',
}
SNIPPETS = page.snippets('python')


@pytest.fixture(scope='module')
def served():
  with scripted.serve(*page.REPLIES) as one:
    yield one


def test_the_page_has_all_clients():
  assert [heading for heading, _ in SNIPPETS] == list(SAID)
  blocks = SNIPPETS + page.snippets('js')
  assert 2 * len(blocks) == page.PATH.read_text().count('```')


@pytest.mark.parametrize(
  ('heading', 'code'), SNIPPETS, ids=lambda text: text[:9]
)
def test_snippet(served, heading, code):
  """In a process of its own: it leaves its client open, as scripts do."""
  run = subprocess.run(
    [sys.executable, '-c', page.aimed(code, served)],
    capture_output=True,
    text=True,
    timeout=60,
    env={'PATH': os.environ['PATH']},  # no keys, no tracing of the caller's
  )
  assert run.returncode == 0, run.stderr
  assert run.stdout.startswith(SAID[heading])
