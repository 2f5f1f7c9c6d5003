"""Streamed markdown: the same as rendered whole, and nothing twice."""

import io
import re

from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
import pytest
from rich import console as console_lib
from rich import markdown

from chatjax.cli import view

TEXT = """\
# Title

A paragraph with `code`,
on two lines.
- one
- two
  1. inner

  still two

```python
def f(x):

  # no heading
  return x
```
| a | b |
|---|---|
| 1 | 2 |

> quoted
> text

Setext
======
Last words"""
CURSOR_UP = '\x1b[1A'


def console(**more):
  return console_lib.Console(
    file=io.StringIO(), width=60, height=12, color_system=None,
    legacy_windows=False, _environ={}, **more,
  )  # fmt: skip


def shown(text):
  """The markdown as a whole."""
  out = console()
  out.print(markdown.Markdown(text))
  return visible(out.file.getvalue().splitlines())


def visible(lines):
  """Without spaces at the ends; rich puts a list close to its paragraph."""
  return [line.rstrip() for line in lines if line.strip()]


def streamed(parts, monkeypatch):
  """What a terminal's scrollback holds in the end, and what was written."""
  monkeypatch.setattr(view, '_REFRESH_S', 0)
  out = console(force_terminal=True)
  with view.MarkdownView(out) as shown_live:
    for part in parts:
      shown_live.write(part)
  return out.file.getvalue()


def screen(written):
  """Plays what rich writes: text, newlines, cursor up, erase line."""
  lines, row, col = [''], 0, 0
  for token in re.findall(r'\x1b\[[?0-9;]*[A-Za-z]|[\s\S]', written):
    if token == '\n':
      row, col = row + 1, 0
      if row == len(lines):
        lines.append('')
    elif token == '\r':
      col = 0
    elif token == CURSOR_UP:
      row -= 1
    elif token == '\x1b[2K':
      lines[row] = ''
    elif token.startswith('\x1b'):
      assert token.endswith(('m', 'l', 'h')), token
    else:
      lines[row] = lines[row][:col].ljust(col) + token + lines[row][col + 1 :]
      col += 1
  return [line.rstrip() for line in lines]


@pytest.mark.parametrize('size', [1, 4, 17, 1000])
def test_streamed_equals_whole(size, monkeypatch):
  parts = [TEXT[i : i + size] for i in range(0, len(TEXT), size)]
  assert visible(screen(streamed(parts, monkeypatch))) == shown(TEXT)


def test_no_line_is_drawn_that_has_scrolled_off(monkeypatch):
  """A block higher than the screen is cut while it grows."""
  text = '```\n' + '\n'.join(f'line {i}' for i in range(40)) + '\n```\nEnd'
  written = streamed([text[i : i + 3] for i in range(0, len(text), 3)],
                     monkeypatch)  # fmt: skip
  ups = [len(run) // len(CURSOR_UP)
         for run in re.findall('(?:\x1b\\[1A(?:\x1b\\[2K)?)+',
                               written.replace('\x1b[2K', ''))]  # fmt: skip
  assert 1 < max(ups) < 12
  assert written.count('line 39') > 1  # seen as it came, not the top alone
  result = [line for line in screen(written) if line.strip()]
  assert [line.strip() for line in result] == [
    *(f'line {i}' for i in range(40)), 'End'
  ]  # fmt: skip


def test_what_is_finished_stays():
  for end in range(0, len(TEXT), 3):
    done = view.finished(TEXT[:end])
    assert TEXT[done:end] or not end
    blocks = shown(TEXT[:done])
    assert shown(TEXT)[: len(blocks)] == blocks
  assert view.finished(TEXT) > len(TEXT) / 2


@example('a\n#a', 3)
@given(st.text('a#->`*|1.\n =', max_size=60), st.integers(0, 60))
def test_finished_blocks_do_not_depend_on_what_follows(text, cut):
  """What is finished now is finished at the same places later."""
  early, late = view.finished(text[:cut]), view.finished(text)
  assert early <= late


def test_controls_do_not_reach_a_terminal():
  text = 'a\x1b]0;title\x07b\x9b2Jc\rd\te\n\x00\x7f'
  assert view.printable(text) == 'a�]0;title�b�2Jc�d\te\n��'
  out = io.StringIO()
  out.isatty = lambda: True
  with view.PlainView(out) as plain:
    plain.write(text)
  assert '\x1b' not in out.getvalue()


def test_plain_text_ends_with_one_newline():
  for text in ('a', 'a\n', 'a\n\n', '\x1b'):
    out = io.StringIO()
    with view.PlainView(out) as plain:
      for character in text:
        plain.write(character)
    assert out.getvalue() == (text if text.endswith('\n') else f'{text}\n')
  out = io.StringIO()
  with view.PlainView(out):
    pass
  assert out.getvalue() == ''
