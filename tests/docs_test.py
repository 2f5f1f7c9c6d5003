"""The pages of docs/ and the README: every example runs, every link leads.

A page's examples share one namespace, from top to bottom. `chatjax.load` gives
a tiny model of random weights, whose server stands at the pages' address.
"""

import contextlib
import dataclasses
import runpy

import pytest

from chatjax import api
from chatjax.chat import session as session_lib
from chatjax.chat.parsers import formats
from chatjax.cli import flagset
from chatjax.engine import engine as engine_lib
from chatjax.sampling import keys
from chatjax.store import opening
from chatjax.testing import byte_tokenizer
from chatjax.testing import tiny
from tests import pages
from tests.interface import tiny_chat
from tests.models import folders
from tests.serve import harness

README = pages.ROOT / 'README.md'
DOCS = sorted((pages.ROOT / 'docs').glob('*.md'))
ALL = [README, pages.ROOT / 'WORKSPACE.md', *DOCS]
# Run elsewhere, with what they need: tests/clients, tests/serve, tests/cli.
ELSEWHERE = {'clients', 'completions', 'processes'}
RUN = [
  path
  for path in [README, *DOCS]
  if 'python' in pages.languages(path) and path.stem not in ELSEWHERE
]
CONFIG = dataclasses.replace(tiny.ENGINE, context=512, cache_tokens=2048)


class Chat(api.Chat):
  """All pages share one engine."""

  def close(self):
    pass


@pytest.fixture(scope='module')
def engine():
  one = engine_lib.Engine(tiny.weights('llama', 'int8'), CONFIG)
  yield one
  assert one.num_pages_used == 0
  one.close()


@pytest.fixture(scope='module')
def floats():
  """The engine of pages that want float weights."""
  config = dataclasses.replace(tiny.ENGINE, dtype='float32')
  made = []

  def engine():
    if not made:
      weights = tiny.weights('llama', 'float32')
      made.append(engine_lib.Engine(weights, config))
    return made[0]

  yield engine
  for one in made:
    one.close()


@pytest.fixture
def session(engine, tmp_path, request):
  path = request.getfixturevalue('path')
  thinks = path.stem == 'reasoning'
  tokenizer = byte_tokenizer.ByteTokenizer()
  return session_lib.Session(
    engine,
    tokenizer,
    tiny_chat.chat_format(tokenizer, thinks=thinks),
    model_id='qwen2.5-coder-0.5b-instruct',
    sampler_version=keys.SAMPLER_VERSION,
    output_format=formats.get('hermes'),
    open_store=lambda: opening.open_store(None, tmp_path),
  )


@pytest.fixture
def loads(session, floats, monkeypatch):
  """The arguments that `chatjax.load` was called with."""
  calls = []

  def load(model='qwen2.5-coder-0.5b-instruct', **fields):
    engine_fields = {field.name for field in dataclasses.fields(CONFIG)}
    assert model == session.model_id
    assert set(fields) <= engine_fields | {'store', 'output_format', 'progress'}
    calls.append(fields)
    if fields.get('dtype') == 'float32':
      return Chat(session.on(floats()))
    return Chat(session)

  monkeypatch.setattr(api, 'load', load)
  return calls


@pytest.mark.parametrize('path', RUN, ids=lambda path: path.stem)
def test_the_examples_run(path, session, loads, monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  monkeypatch.delenv('OPENAI_API_KEY', raising=False)
  source = pages.code(path, 'python')
  names = {'__name__': 'page'}
  with contextlib.ExitStack() as stack:
    if pages.ADDRESS in source:
      served = stack.enter_context(
        harness.Served(session=session, batches=tmp_path / 'batches')
      )
      here = f'http://127.0.0.1:{served.port}'
      source = source.replace(pages.ADDRESS, here)
    try:
      exec(compile(source, path, 'exec'), names)
    finally:
      if 'client' in names:
        names['client'].close()
  assert loads or pages.ADDRESS in pages.code(path, 'python')


@pytest.mark.parametrize('path', ALL, ids=lambda path: path.stem)
def test_the_commands_exist(path):
  for words in pages.commands(path):
    if words[0] == 'chatjax':
      pages.check_chatjax(words[1:])
    elif words[0] in ('python', 'bash') and words[1].startswith('scripts/'):
      assert (pages.ROOT / words[1]).is_file(), words


def test_commands_that_do_not_exist_are_found(tmp_path):
  page = tmp_path / 'page.md'
  page.write_text('```sh\nA=1 chatjax serve --prot=8000 > x\n```\n')
  (words,) = pages.commands(page)
  assert words == ['chatjax', 'serve', '--prot=8000']
  for wrong in (words[1:], ['sing'], ['replay', 'ID', '--temperature=1']):
    with pytest.raises(flagset.UsageError):
      pages.check_chatjax(wrong)


@pytest.mark.parametrize('path', ALL, ids=lambda path: path.stem)
def test_the_links_lead_somewhere(path):
  for file, anchor in pages.links(path):
    assert file.exists(), file
    assert not anchor or anchor in pages.anchors(file), (file, anchor)


def test_the_index_has_every_page():
  index = pages.ROOT / 'docs' / 'README.md'
  found = {file for file, _ in pages.links(index)}
  assert set(DOCS) - {index} <= found


@pytest.mark.parametrize('path', DOCS, ids=lambda path: path.stem)
def test_pages_name_the_languages_of_their_blocks(path):
  assert set(pages.languages(path)) <= {'python', 'sh', 'js', 'json', 'text'}


def test_the_table_of_the_readme_is_up_to_date():
  made = script('make_readme_table')['render'](README.read_text())
  assert made == README.read_text(), 'run python scripts/make_readme_table.py'


def test_every_case_has_a_test():
  tests = script('make_case_table')
  found = tests['tests_by_case']()
  assert set(found) == set(tests['CASES'])
  page = pages.ROOT / 'docs' / 'cases.md'
  assert page.read_text() == tests['render'](), (
    'run python scripts/make_case_table.py'
  )


def test_every_family_is_in_the_table():
  made = script('make_family_table')
  page = (pages.ROOT / 'docs' / 'models.md').read_text()
  rows = [line[2:-2].split(' | ') for line in page.splitlines()]
  rows = [row for row in rows if len(row) == 8 and 'of 16' in row[5]]
  names = [row[1].strip('`') for row in rows]
  assert len(names) == len(set(names))
  assert set(names) == set(made['MODELS']) == set(folders.ALL)
  for name, row in zip(names, rows, strict=True):
    assert max(float(row[3]), float(row[4])) < 1e-5, row
    assert row[5:7] == ['16 of 16', '6 of 6'], row
    same, _, count = row[7].partition(' of ')
    # Without a real template it is in the table of those that do not count.
    assert same == (count if name in made['RENDERS'] else 'none'), row
    assert (names.index(name) < len(made['RENDERS'])) == (same != 'none')


def script(name):
  return runpy.run_path(str(pages.ROOT / 'scripts' / f'{name}.py'))
