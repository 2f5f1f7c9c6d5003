"""The files of the chat page: what is served, how, and to whom."""

import configparser
import fnmatch
import html.parser
from importlib import resources
import json
import pathlib
import re

import pytest

from chatjax.serve import page
from chatjax.testing import fake_engine
from tests.serve import harness

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / 'chatjax' / 'serve' / 'page'
KEY = 'sesame'


@pytest.fixture(scope='module')
def served():
  script = fake_engine.text_script('answer')
  with harness.Served(script, api_keys=[KEY]) as one:
    yield one


@pytest.mark.parametrize('path', sorted(page.PATHS))
def test_files_are_open_and_fenced_in(served, path):
  status, headers, data = served.raw('GET', path)
  name = path.rsplit('/', 1)[1] or 'index.html'
  assert (status, data) == (200, (FOLDER / name).read_bytes())
  types = {'html': 'text/html', 'css': 'text/css', 'js': 'text/javascript'}
  got = headers['Content-Type'].split(';')[0]
  assert got == types.get(name.split('.')[1], 'image/svg+xml')
  assert headers['X-Content-Type-Options'] == 'nosniff'
  assert headers['Cache-Control'] == 'no-store'
  rules = headers['Content-Security-Policy'].split('; ')
  policy = dict(rule.split(' ', 1) for rule in rules)
  assert policy['default-src'] == "'none'"
  assert policy['frame-ancestors'] == "'none'"
  for kind in ('script', 'style', 'connect', 'img'):
    assert policy[f'{kind}-src'] == "'self'", kind
  assert served.raw('HEAD', path)[::2] == (200, b'')


@pytest.mark.parametrize(
  'path',
  [
    '/page', '/page/', '/page/index.html', '/page/nothing.js',
    '/page/../page.py', '/page/%2e%2e/page.py', '//', '/page/main.js/',
    '/v1/models', '/metrics', '/v1/chat/completions',
  ],
)  # fmt: skip
def test_nothing_else_is_open(served, path):
  status, _, data = served.raw('GET', path)
  assert status == 401
  assert harness.error_of(data)['code'] == 'invalid_api_key'


def test_no_other_file_is_served(served):
  headers = {'Authorization': f'Bearer {KEY}'}
  for path in ('/page/../page.py', '/page/nothing.js', '/page/index.html'):
    assert served.raw('GET', path, headers=headers)[0] == 404
  status, _, data = served.raw('POST', '/', json.dumps({}))
  assert status == 405
  assert harness.error_of(data)['code'] == 'method_not_allowed'


def test_foreign_names_get_no_page(served):
  status, _, data = served.raw('GET', '/', headers={'Host': 'evil.example'})
  assert status == 400
  assert harness.error_of(data)['code'] == 'invalid_host'


def test_the_package_has_the_files():
  inside = resources.files('chatjax.serve') / 'page'
  names = {one.name for one in inside.iterdir() if not one.name.startswith('.')}
  assert names == set(page.FILES)
  parser = configparser.ConfigParser(interpolation=None)
  parser.read(ROOT / 'setup.cfg')
  patterns = parser['options.package_data']['chatjax.serve'].split()
  for name in page.FILES:
    assert any(fnmatch.fnmatch(f'page/{name}', one) for one in patterns), name


class Links(html.parser.HTMLParser):
  """What a page loads, and what its policy would not let run."""

  def __init__(self):
    super().__init__()
    self.loaded, self.inline, self.ids = set(), [], []

  def handle_starttag(self, tag, attrs):
    given = dict(attrs)
    if given.get('id'):
      self.ids.append(given['id'])
    if url := given.get('src') or (tag == 'link' and given['href']):
      self.loaded.add(url)
    self.inline += [
      (tag, name)
      for name in given
      if name.startswith('on') or name == 'style' or tag == 'style'
    ]
    if tag == 'script' and 'src' not in given:
      self.inline.append((tag, 'text'))


def test_the_page_loads_only_its_files():
  links = Links()
  links.feed(page.read('index.html').decode())
  assert not links.inline
  assert len(set(links.ids)) == len(links.ids)
  assert links.loaded == {'page/style.css', 'page/icon.svg', 'page/main.js'}
  scripts = [name for name in page.FILES if name.endswith('.js')]
  for name in scripts:
    text = page.read(name).decode()
    imported = re.findall(r"from '\./([^']+)'", text)
    assert set(imported) <= set(scripts), name
    assert not re.search(r'(inner|outer)HTML|insertAdjacentHTML|eval\(', text)
    assert not set(re.findall(r"find\('([^']+)'\)", text)) - set(links.ids)
