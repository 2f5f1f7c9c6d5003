"""docs/completions.md does what it shows."""

import os
import pathlib
import re
import subprocess
import sys

from chatjax.protocol import limits as limits_lib
from chatjax.testing import byte_tokenizer
from tests.clients import page
from tests.clients import scripted
from tests.serve import harness

PATH = pathlib.Path(__file__).parents[2] / 'docs' / 'completions.md'


def test_the_page_runs():
  text = PATH.read_text()
  code = '\n'.join(
    re.findall(r'^```python\n(.*?)^```$', text, re.DOTALL | re.MULTILINE)
  )
  with scripted.serve(('def ', ' pass'), ('capital', '!')) as one:
    run = subprocess.run(
      [sys.executable, '-c', page.aimed(code, one)],
      capture_output=True,
      text=True,
      timeout=60,
      env={'PATH': os.environ['PATH']},
    )
  assert run.returncode == 0, run.stderr
  lines = run.stdout.splitlines()
  assert lines[:4] == [f"{index} ' pass' stop" for index in range(4)]
  assert lines[4] == "'<bos>' None"
  assert ''.join(line[1] for line in lines[5:]) == (
    'The capital of France is Paris'
  )


def test_the_numbers_of_the_page():
  text = PATH.read_text()
  assert f'up to {limits_lib.Limits().max_prompts} prompts' in text
  with harness.Served(lambda *_: [97] * 50 + [byte_tokenizer.EOS]) as one:
    body = {'model': 'tiny', 'prompt': 'x'}
    _, _, data = one.post(body, path='/v1/completions')
  assert b'"text":"%s"' % (b'a' * 16) in data
