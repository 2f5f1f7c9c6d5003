"""Writes docs/cases.md: hard cases of the interface, and the tests of each.

python scripts/make_case_table.py

A test covers a case if its name begins with the case's id: `test_d1_...`, or
`test_t1_l3_...` for two of them.
"""

from __future__ import annotations

import ast
import collections
from collections.abc import Iterator
from collections.abc import Mapping
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
PATH = ROOT / 'docs' / 'cases.md'
HEAD = """\
# Hard cases, and where they are tested

Made by `scripts/make_case_table.py` from the names of the tests; a case without
a test fails the suite.

| id | what must hold | tests |
|---|---|---|
"""
CASES = {
  'd1': (
    'a seeded request alone, in any row, beside any others: the same ids and'
    ' log-probability bits'
  ),
  'd2': 'up to 16 at once, arriving at random, repeated: the same',
  'd3': 'prefix cache cold, warm, partly warm; every chunk border: the same',
  'd4': (
    'the fingerprint changes with what moves bits: weights, dtype, template'
  ),
  'd5': 'every bit of a seed counts; the seed that was used is told',
  'd6': 'experts that neighbours share: the same',
  'd7': 'after a restart: the same',
  'n1': 'choice i is the same for every n above i',
  'n2': 'choices of neighbouring seeds share nothing',
  'n3': 'every choice ends once; usage adds up the choices, the prompt once',
  's1': 'answers are of their schema; what cannot be enforced is 400',
  's2': 'white space is bounded',
  's3': 'a grammar begins after the reasoning',
  's4': 'what is cut off ends with `length`',
  's5': 'schema, n, stream and seed together',
  't1': 'however a stream is cut, its calls are those of the whole answer',
  't2': 'a malformed call comes out as content',
  't3': 'the same tool twice: two ids, two indices',
  't4': 'every tool_choice with and without tools: finish reason and shape',
  't5': 'arguments with unicode, escapes, nested objects',
  'l1': 'log-probabilities of an answer that is drawn and of the same forced',
  'l2': '`logprobs_mode`: raw, tempered and sampled are what they say',
  'l3': 'the joined `bytes` are the UTF-8 of the content',
  'l4': 'as many entries as tokens that show',
  'p1': 'no part of a stop string leaks, however it is cut',
  'p2': 'of stop strings that overlap the earliest end wins',
  'p3': 'a stop string inside reasoning does nothing',
  'p4': 'only what may become a stop string is held back',
  'u1': 'streamed text equals the text decoded at once, for any token ids',
  'u2': 'a stream that ends inside a character',
  'u3': 'bytes that are no UTF-8 are an answer, not an error',
  'u4': 'characters of several tokens come whole',
  'r1': 'what the prompt ends with decides where reasoning begins',
  'r2': 'reasoning that is cut, or never ends; its tokens are counted',
  'g1': 'every parameter that is said to do something changes an outcome',
  'g2': 'who leaves frees rows and pages',
  'g3': 'usage adds up whatever is combined',
}


def tests_by_case() -> Mapping[str, list[str]]:
  """Case -> `file::test`, in the order of the files."""
  found = collections.defaultdict(list)
  for path in sorted((ROOT / 'tests').rglob('*_test.py')):
    for name in _tests(path):
      for case in _ids(name):
        found[case].append(f'{path.relative_to(ROOT / "tests")}::{name}')
  return found


def _tests(path: pathlib.Path) -> Iterator[str]:
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.FunctionDef) and node.name.startswith('test_'):
      yield node.name


def _ids(name: str) -> list[str]:
  ids = re.match(r'test_((?:[a-z]\d_)*)', name)[1]
  return [case for case in ids.split('_') if case]


def render() -> str:
  """The page."""
  tests = tests_by_case()
  lines = [
    f'| {case} | {what} | {", ".join(f"`{test}`" for test in tests[case])} |'
    for case, what in CASES.items()
  ]
  return HEAD + '\n'.join(lines) + '\n'


if __name__ == '__main__':
  PATH.write_text(render())
