"""Runs the command in this process, with or without a scripted engine."""

import io
import pathlib
import runpy
import sys

import pytest

FAKE = pathlib.Path(__file__).with_name('fake_chatjax.py')


@pytest.fixture
def fake(monkeypatch, capfd):
  """(text, *arguments, stdin=, pause_s=) -> (exit code, stdout, stderr)."""
  run = runpy.run_path(str(FAKE))['run']

  def call(text, *arguments, stdin=b'', pause_s=0.0):
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(stdin)))
    capfd.readouterr()
    code = run(text, pause_s, list(arguments))
    return code, *capfd.readouterr()

  return call
