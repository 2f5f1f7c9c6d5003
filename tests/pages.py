"""What the pages of the documentation show: code, commands, links."""

import importlib
import pathlib
import re
import shlex

from chatjax.cli import flagset
from chatjax.cli import main

ROOT = pathlib.Path(__file__).parents[1]
ADDRESS = 'http://127.0.0.1:8000'


def code(path, language):
  """All blocks of a language as one text, at the line numbers of the page."""
  text = path.read_text()
  parts = []
  for found in re.finditer(
    rf'^```{language}\n(.*?)^```$', text, re.DOTALL | re.MULTILINE
  ):
    start = text[: found.start(1)].count('\n')
    parts.append('\n' * (start - sum(part.count('\n') for part in parts)))
    parts.append(found[1])
  return ''.join(parts)


def languages(path):
  """Of every block, '' where none is named."""
  return re.findall(r'^```(\w*)$', path.read_text(), re.MULTILINE)[::2]


def commands(path):
  """Lists of words, as a shell would read the page; pipes are cut off."""
  lines = code(path, 'sh').replace('\\\n', '').splitlines()
  for line in lines:
    lexer = shlex.shlex(line, posix=True, punctuation_chars='|&;<>')
    lexer.whitespace_split = True
    words = _until(list(lexer), {'|', '>', '<', '&', ';'})
    while words and re.fullmatch(r'[A-Z_]+=.*', words[0]):
      words = words[1:]
    if words:
      yield words


def check_chatjax(words):
  """Raises `flagset.UsageError` for a command or a flag that there is not."""
  name = ' '.join(words[:2])
  if name not in main.COMMANDS:
    name = words[0]
  if name not in main.COMMANDS:
    raise flagset.UsageError(f'There is no chatjax {name}.')
  command = importlib.import_module(f'chatjax.cli.{name.replace(" ", "_")}')
  values = flagset.new()
  command.define(values)
  flagset.parse(values, words[len(name.split()) :], command=name)


def links(path):
  """(file, anchor) of every link to another page; pictures too."""
  for target in re.findall(r'\]\(([^)\s]+)\)', path.read_text()):
    if not target.startswith('http'):
      file, _, anchor = target.partition('#')
      yield (path.parent / file if file else path), anchor


def anchors(path):
  """What the headings of a page are called in links."""
  for heading in re.findall(r'^#+ (.*)$', path.read_text(), re.MULTILINE):
    yield re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-')


def _until(words, ends):
  for index, word in enumerate(words):
    if word in ends:
      return words[:index]
  return words
