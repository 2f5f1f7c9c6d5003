"""Marks in user strings."""

from hypothesis import given
from hypothesis import strategies as st
import pytest

from chatjax import types
from chatjax.chat import marks

SPELLINGS = ('<|user|>', '<|im_end|>', '[END]')
fragments = st.lists(
  st.sampled_from(['<', '|', '>', '<|', '|>', 'user', '[', 'END', ']', ' '])
).map(''.join)


@given(fragments)
def test_no_spelling_survives_any_cut(text):
  """Nor does what a template might make of the text by leaving parts out."""
  marker = marks.Marker(SPELLINGS, [text])
  marked = marker.text(text)
  assert marked.replace(marker.mark, '') == text
  for spelling in SPELLINGS:
    for left in range(len(spelling)):
      start, end = spelling[: left + 1], spelling[left:]
      assert not (start[0] in marked and start in marked and len(start) > 1)
      assert not (end in marked and len(end) > 1)


@pytest.mark.parametrize('text', ['user', ' \nuser ', 'im_', '|'])
def test_the_middle_of_a_spelling_gets_a_mark(text):
  marker = marks.Marker(SPELLINGS, [text])
  marked = marker.whole(text)
  assert marker.mark in marked
  assert '<|' + marked.strip() + '|>' not in SPELLINGS
  # A template that trims still sees the white space.
  assert marked.strip().replace(marker.mark, '') == text.strip()


@pytest.mark.parametrize(
  ('text', 'tags'),
  [
    ('<think>a</think>b', 2), (' <think>\n\n</think>', 2), ('a</think>b', 1),
    ('<think>a', 1), ('a <think>b', 0), ('a <think>b</think>c', 1),
    ('<think>a</think>b <think>c</think>', 2), ('a', 0), ('', 0),
  ],
)  # fmt: skip
def test_the_tags_of_a_thought_stay(text, tags):
  marker = marks.Marker((*SPELLINGS, *marks.THOUGHT), [text])
  marked = marker.answer(text)
  assert sum(map(marked.count, marks.THOUGHT)) == tags
  assert marked.replace(marker.mark, '') == text


@given(fragments, fragments)
def test_nothing_but_the_tags_of_a_thought_stays(thought, rest):
  marker = marks.Marker(SPELLINGS, [thought, rest])
  marked = marker.answer(f'<think>{thought}</think>{rest}')
  text = marker.text
  assert marked == f'<think>{text(thought)}</think>{text(rest)}'


def test_other_text_is_left_alone():
  text = 'An ordinary sentence | with a bar.'
  assert marks.Marker(SPELLINGS, [text]).whole(text) == text


def test_white_space_around_a_spelling_is_not_marked():
  marker = marks.Marker(['\n<x> '], [' a <x>\n '])
  mark = marker.mark
  assert marker.whole(' a <x>\n ') == f' a <{mark}x{mark}>\n '


def test_the_mark_is_in_no_string():
  taken = ['a\ufdd0', '\ufdd1\ufdd2', '\ufdd4']
  marker = marks.Marker(SPELLINGS, taken)
  assert (marker.mark, marker.end) == ('\ufdd3', '\ufdd5')
  almost = ''.join(map(chr, range(0xFDD0, 0xFDEF)))
  for text in (almost[1:], almost[2:-1]):
    assert marks.Marker(SPELLINGS, [text]).mark not in text
  for text in (almost, almost + '\ufdef'):
    with pytest.raises(types.RequestError, match='noncharacters'):
      marks.Marker(SPELLINGS, [text])


def test_strings_of_nested_data():
  data = {'a': ['b', {'c': 'd', 'n': 1}], 'e': None}
  assert sorted(marks.strings_of(data)) == ['a', 'b', 'c', 'd', 'e', 'n']
  upper = marks.map_strings(data, str.upper)
  assert upper == {'A': ['B', {'C': 'D', 'N': 1}], 'E': None}
