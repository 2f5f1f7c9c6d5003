"""Bars: shown for what takes long, silent for what is here already."""

import io
import time

from rich import console as console_lib

from chatjax.cli import progress


def bars():
  """Bars on something that is no terminal."""
  out = io.StringIO()
  return out, progress.Bars(console_lib.Console(file=out, width=80))


def test_nothing_is_shown_when_all_is_here(monkeypatch):
  monkeypatch.setattr(progress, '_PATIENCE_S', 0.04)
  out, shown = bars()
  with shown:
    shown._watch._count(progress._REQUESTS)
    shown._watch._count(progress._HITS)
    time.sleep(0.2)
    shown.report('compiling', 1, 1)
  assert out.getvalue() == ''
  assert shown._watch.is_warm


def test_a_slow_compilation_is_shown_while_it_runs(monkeypatch):
  monkeypatch.setattr(progress, '_PATIENCE_S', 0.04)
  out, shown = bars()
  with shown:
    shown._watch._count(progress._REQUESTS)
    until_s = time.monotonic() + 5
    while not out.getvalue() and time.monotonic() < until_s:
      time.sleep(0.01)
    assert out.getvalue() == 'Compiling ...\n'
    shown._watch._count(progress._MISSES)
    shown.report('compiling', 1, 1)
  assert not shown._watch.is_warm


def test_stages_are_named_once_with_their_bytes():
  out, shown = bars()
  with shown:
    for done in (1, 98_362_432, 5):
      shown.report('fetching', done, 98_362_432)
    shown.report('converting', 1, 2)
  assert out.getvalue() == (
    'Fetching the weights (98.4 MB) ...\nConverting the weights ...\n'
  )


def test_bars_on_a_terminal():
  out = io.StringIO()
  console = console_lib.Console(file=out, width=100, force_terminal=True)
  with progress.Bars(console) as shown:
    shown.report('fetching', 49_181_216, 98_362_432)
    shown.report('converting', 3, 9)
  assert '49.2 MB/98.4 MB' in out.getvalue()
  assert '3/9' in out.getvalue()
