"""What each family's own chat template writes is read back (DATA: goldens)."""

import json
import pathlib

import pytest

from chatjax.chat.parsers import formats
from tests.chat.parsers import streams

_DATA = pathlib.Path(__file__).parent / 'data'
_GOLDENS = {
  path.stem: json.loads(path.read_text(encoding='utf-8'))
  for path in sorted(_DATA.glob('*.json'))
}
_CASES = [
  pytest.param(golden, case, id=f'{stem}-{i}')
  for stem, golden in _GOLDENS.items()
  for i, case in enumerate(golden['cases'])
]
# Formats for which no template is known to write calls.
_UNRENDERED = {'plain', 'think'}


@pytest.mark.parametrize(('golden', 'case'), _CASES)
def test_t1_rendered_calls_are_read_back(golden, case):
  parsed = streams.parse(
    golden['format'],
    case['rendered'],
    streams.tools(*golden['tools']),
    prompt_tail=case['prompt_tail'],
  )
  calls = [
    {'name': call.name, 'arguments': json.loads(call.arguments)}
    for call in parsed.calls
  ]
  assert calls == case['calls']
  assert parsed.content == case['content']
  assert parsed.reasoning == case['reasoning']


@pytest.mark.parametrize(('golden', 'case'), _CASES)
def test_t1_rendered_turns_do_not_depend_on_cuts(golden, case):
  text = case['rendered']
  given = streams.tools(*golden['tools'])
  whole, single = (
    streams.parse(
      golden['format'],
      text,
      given,
      prompt_tail=case['prompt_tail'],
      cuts=cuts,
    )
    for cuts in ((), range(len(text)))
  )
  assert whole == single


def test_every_format_with_calls_has_a_rendered_turn():
  rendered = {golden['format'] for golden in _GOLDENS.values()}
  assert rendered == set(formats.FORMATS) - _UNRENDERED
