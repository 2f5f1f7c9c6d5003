"""Reports: right figures, the same bytes, a page that stands for itself."""

import dataclasses
import html.parser
import re
import xml.etree.ElementTree

import pytest

from chatjax.evals import plots
from chatjax.evals import report
from chatjax.evals import summary
from chatjax.store import manifest as manifest_lib

MANIFEST = manifest_lib.Manifest(
  kind='eval', model='tiny<model>', fingerprint='fp_1', config={},
  parts={'engine': {'dtype': 'int8'}}, config_digest='b' * 64,
  inputs={'task.jsonl': {'sha256': 'a' * 64, 'bytes': 12}},
  settings={'seed': 0, 'n': 1}, code={'version': '1.2', 'sha256': 'c' * 64},
  versions={}, seed_rule='A rule.',
)  # fmt: skip
OTHER = dataclasses.replace(
  MANIFEST, fingerprint='fp_2', parts={'engine': {'dtype': 'float32'}}
)
NASTY = '<script>alert("x")</script> & <img src=http://example.com/x>'


def drawn(index, score, text='an answer', **more):
  sample = {
    'seed': index, 'choice': 0, 'text': text, 'num_tokens': 3 + index,
    'finish_reason': 'length' if index == 0 else 'stop', 'score': score,
    'detail': NASTY,
  }  # fmt: skip
  return {
    'id': f'i{index}', 'line': index, 'kind': 'exact', 'samples': [sample],
    'item': {'question': f'Question {index}? {NASTY}'},
    'scores': {'match': score}, **more,
  }  # fmt: skip


def chosen(index, acc):
  return {
    'id': f'c{index}', 'line': index, 'kind': 'choice',
    'item': {'prompt': 'One, two'}, 'scores': {'acc': acc, 'acc_norm': 1.0},
    'samples': [{'text': ' three', 'logprob': -1.5}],
  }  # fmt: skip


RECORDS = [
  drawn(0, 1.0), drawn(1, 0.0, NASTY), drawn(2, 0.5), drawn(3, 1.0),
  {**drawn(4, 0.0), 'error': 'too long', 'samples': []},
  chosen(0, 1.0), chosen(1, 0.0),
]  # fmt: skip


class Page(html.parser.HTMLParser):
  """What a page holds, and whether its tags are closed in order."""

  VOID = ('meta',)

  def __init__(self, text):
    super().__init__()
    self.tags, self.open, self.attributes, self.words = [], [], [], []
    self.feed(text)
    assert self.open == []

  def handle_starttag(self, tag, attributes):
    self.tags.append(tag)
    self.attributes += [name for name, _ in attributes]
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attributes):
    self.tags.append(tag)
    self.attributes += [name for name, _ in attributes]

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.words.append(data)


def compared():
  second = [drawn(i, 1.0) for i in range(5)] + [chosen(0, 1.0), chosen(1, 1.0)]
  second = [
    {**b, 'item': a['item']} for a, b in zip(RECORDS, second, strict=True)
  ]
  first = [
    {**a, 'samples': b['samples']} for a, b in zip(RECORDS, second, strict=True)
  ]
  return summary.compare(first, second, seed=0)


PAGES = {
  'page': lambda: report.page(RECORDS, MANIFEST),
  'comparison': lambda: report.comparison_page(
    compared(), (MANIFEST, OTHER), ('one <b>', 'two')
  ),
}


@pytest.mark.parametrize('name', PAGES)
def test_a_page_asks_nothing_of_anybody(name):
  text = PAGES[name]()
  page = Page(text)
  assert set(page.tags).isdisjoint({'script', 'img', 'link', 'iframe', 'b'})
  assert set(page.attributes).isdisjoint({'src', 'href', 'onload', 'style'})
  assert "default-src 'none'" in text
  style = re.search('<style>(.*?)</style>', text, re.DOTALL)[1]
  assert 'url(' not in style
  assert '@import' not in style
  assert 'prefers-color-scheme: dark' in style


@pytest.mark.parametrize('name', PAGES)
def test_the_same_run_has_the_same_page(name):
  assert PAGES[name]() == PAGES[name]()


def test_every_variable_of_the_style_has_two_colours():
  light, dark = report.STYLE.split('prefers-color-scheme: dark')
  named = set(re.findall(r'var\((--\w+)\)', report.STYLE))
  for part in (light, dark):
    assert named == set(re.findall(r'(--\w+):', part))


def test_what_a_page_says():
  text = PAGES['page']()
  words = ' '.join(Page(text).words)
  for told in (
    'Evaluation of tiny<model>', '7 items of task.jsonl', '(int8)', 'fp_1',
    'chatjax 1.2', '50.0 %', 'bootstrap', 'Wilson', 'Refused, and counted as',
    'Not right: 4 of 7', 'too long', NASTY, 'a' * 64, 'A rule.', '-1.500',
    'Answers: 4, of 4.5 tokens on average; cut at the limit: 1.',
  ):  # fmt: skip
    assert told in words, told
  assert text.count('class="right"') == 3
  assert text.count('class="part"') == 1
  assert text.count('class="bad"') == 1


def test_markdown():
  text = report.markdown(RECORDS, MANIFEST)
  assert '| choice | acc | 50.0 % | 9.5 to 90.5 | Wilson | 2 |' in text
  assert '| exact | match | 50.0 % |' in text
  assert f'* task.jsonl: 12 bytes, sha256 `{"a" * 64}`' in text
  assert '* seeds: A rule.' in text


@pytest.mark.parametrize('name', PAGES)
def test_markdown_shows_the_pictures_of_the_page(name):
  if name == 'page':
    text = report.markdown(RECORDS, MANIFEST)
    files = report.pictures(RECORDS, MANIFEST)
  else:
    given = compared(), (MANIFEST, OTHER), ('one', 'two')
    text = report.comparison_markdown(*given)
    files = report.comparison_pictures(compared())
  assert re.findall(r'^!\[.+\]\((.+)\)$', text, re.MULTILINE) == list(files)
  page = PAGES[name]()
  assert page.count('<svg') == len(files) == {'page': 3, 'comparison': 3}[name]
  for file in files.values():
    root = xml.etree.ElementTree.fromstring(file)
    assert root.tag == '{http://www.w3.org/2000/svg}svg'
    size = [root.get('width'), root.get('height')]
    assert root.get('viewBox').split() == ['0', '0', *size]
    style, *parts = root
    # It stands for itself, in the colours of the page.
    assert set(re.findall(r'var\((--\w+)\)', style.text)) <= set(
      re.findall(r'(--\w+):', style.text)
    )
    assert 'prefers-color-scheme: dark' in style.text
    for word in ('url(', '@import', 'href', '<script'):
      assert word not in file
    inside = file.partition('</style>\n')[2].removesuffix('\n')
    assert parts
    assert inside in page


def test_a_comparison_says_what_differs():
  text = report.comparison_markdown(
    compared(), (MANIFEST, OTHER), ('one', 'two')
  )
  assert '| choice | acc | 50.0 % | 100.0 % | +50.0 |' in text
  assert '* fingerprint: `fp_1` and `fp_2`' in text
  assert '`{"dtype": "int8"}` and `{"dtype": "float32"}`' in text
  page = PAGES['comparison']()
  assert 'only the second: 1' in page
  assert 'both right: 1' in page
  same = report.comparison_markdown(
    compared(), (MANIFEST, MANIFEST), ('one', 'two')
  )
  assert 'Nothing: it is the same run twice.' in same


def test_choices_are_alike_where_the_same_ones_were_taken():
  def picked(*totals):
    samples = [
      {'text': text, 'logprob': total}
      for text, total in zip((' one', ' two', ' three'), totals, strict=True)
    ]
    scores = {'acc': 0.0, 'acc_norm': 0.0}
    return {**chosen(0, 0.0), 'samples': samples, 'scores': scores}

  alike = lambda one, other: (
    summary.compare([one], [other], seed=0).equal_answers
  )
  first = picked(-1.0, -2.0, -9.0)
  assert alike(first, picked(-1.5, -2.0, -8.0)) == 1
  assert alike(first, picked(-2.0, -1.0, -9.0)) == 0  # wrong, but another one
  assert alike(picked(-2.0, -3.0, -2.5), picked(-2.0, -3.0, -9.0)) == 0
  refused = {**first, 'samples': [], 'error': 'too long'}
  assert (alike(first, refused), alike(refused, refused)) == (0, 1)


def test_long_reports_stay_small():
  many = [drawn(i, 0.0, 'x' * 10_000) for i in range(5000)]
  text = report.page(many, MANIFEST)
  assert len(text) < 1_500_000
  assert '4950 more in results.jsonl' in text
  assert '1000 more.' in text


@pytest.mark.parametrize(
  'picture',
  [
    plots.intervals([plots.Bar(label='<a>', mean=0.5, low=0.25, high=0.75)]),
    plots.intervals(
      [plots.Bar(label='a', mean=0.0, low=-0.07, high=0.02)],
      is_difference=True,
    ),
    plots.grid([('a"<', 1.0), ('b', None), ('c', 0.3)], title='"t"'),
    plots.histogram([1], unit='tokens'),
    plots.histogram([5, 5, 900, 31], unit='tokens'),
    plots.pairs(1, 0, 2, 3),
  ],
)
def test_pictures_are_xml_within_their_frame(picture):
  root = xml.etree.ElementTree.fromstring(picture)
  _, _, width, height = map(float, root.get('viewBox').split())
  for one in root.iter():
    for name, bound in (('x', width), ('cx', width), ('y', height)):
      assert 0 <= float(one.get(name, 0)) <= bound
    right = float(one.get('x', 0)) + float(one.get('width', 0))
    assert right <= width


def test_points_lie_where_their_values_are():
  picture = plots.intervals([plots.Bar(label='a', mean=0.5, low=0.0, high=1.0)])
  root = xml.etree.ElementTree.fromstring(picture)
  (point,) = [one for one in root if one.get('class') == 'point']
  (bar,) = [one for one in root if one.get('class') == 'whisker']
  middle = (float(bar.get('x1')) + float(bar.get('x2'))) / 2
  assert float(point.get('cx')) == middle
  grid = [float(one.get('x1')) for one in root if one.get('class') == 'grid']
  assert (grid[0], grid[-1]) == (float(bar.get('x1')), float(bar.get('x2')))


def test_bars_are_as_high_as_their_counts():
  root = xml.etree.ElementTree.fromstring(
    plots.histogram([1, 1, 1, 1, 2, 3, 3], unit='tokens')
  )
  heights = [float(x.get('height')) for x in root if x.get('class') == 'bar']
  assert [round(4 * height / heights[0]) for height in heights] == [4, 1, 2]


def test_a_picture_is_xml_whatever_an_id_holds():
  picture = plots.grid([('a\x00\x1b\uffffb', 1.0)], title='Items\x08')
  root = xml.etree.ElementTree.fromstring(plots.standalone(picture))
  assert 'ab: 1' in ''.join(root.itertext())
