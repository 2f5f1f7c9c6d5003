"""Stop strings over streams: cases P1, P2, P4."""

import itertools
import time

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from chatjax.text import stop

texts = st.text('ab', max_size=30)
stop_lists = st.lists(st.text('ab', min_size=1, max_size=5), max_size=4)


def cut(text, stops):
  """The plain definition: earliest end, then longest. None: no stop."""
  for end in range(1, len(text) + 1):
    ending = [s for s in stops if text[:end].endswith(s)]
    if ending:
      return end - max(map(len, ending))
  return None


@st.composite
def pieces_of(draw, text):
  borders = draw(st.lists(st.integers(0, len(text)), max_size=6))
  borders = [0, *sorted(borders), len(text)]
  return [text[a:b] for a, b in itertools.pairwise(borders)]


@settings(max_examples=200)
@given(st.data(), texts, stop_lists)
def test_every_split_gives_the_definition(data, text, stops):
  matcher = stop.StopMatcher(stops)
  seen = ''
  for piece in data.draw(pieces_of(text)):
    visible, is_stopped = matcher.feed(piece)
    seen += visible
    assert matcher.visible_len == len(seen)
    assert is_stopped == matcher.is_stopped
  seen += matcher.flush()
  end = cut(text, stops)
  assert seen == text[:end]
  assert matcher.visible_len == len(seen)
  assert matcher.is_stopped == (end is not None)


@given(texts, stop_lists)
def test_p4_held_back_is_the_longest_viable_prefix(text, stops):
  if cut(text, stops) is not None:
    return
  matcher = stop.StopMatcher(stops)
  visible = ''.join(matcher.feed(character)[0] for character in text)
  prefixes = {s[:n] for s in stops for n in range(len(s))}
  longest = max(
    (n for n in range(len(text) + 1) if text[len(text) - n :] in prefixes),
    default=0,
  )
  assert len(text) - len(visible) == longest
  assert matcher.flush() == text[len(visible) :]


@pytest.mark.parametrize('border', range(1, 7))
def test_p1_no_part_leaks(border):
  text = 'xy<stop>tail'
  matcher = stop.StopMatcher(['<stop>'])
  first = matcher.feed(text[: 2 + border])
  assert first[0] == 'xy'
  assert matcher.feed(text[2 + border :]) == ('', True)
  assert matcher.feed('more') == ('', True)
  assert (matcher.flush(), matcher.visible_len) == ('', 2)


@pytest.mark.parametrize(
  ('stops', 'text', 'visible'),
  [
    (['abc', 'b'], 'xabc', 'xa'),  # the inner one ends first
    (['ab', 'abc'], 'xabc', 'x'),  # a prefix of the other ends first
    (['bc', 'abc'], 'xabc', 'x'),  # same end: the longest
    (['aab'], 'aaab', 'a'),  # overlaps itself
  ],
)
def test_p2_earliest_end_then_longest(stops, text, visible):
  for order in (stops, stops[::-1]):
    assert stop.StopMatcher(order).feed(text) == (visible, True)


def test_no_stops_holds_nothing():
  assert stop.StopMatcher([]).feed('any') == ('any', False)


def test_an_empty_stop_is_an_error():
  with pytest.raises(ValueError, match='is empty'):
    stop.StopMatcher(['a', ''])


def test_long_stops_take_linear_time():
  long_stop = 'a' * 4000 + 'b'
  start_s = time.process_time()
  matcher = stop.StopMatcher([long_stop, 'a' * 3999 + 'c'])
  for _ in range(50):
    matcher.feed('a' * 3999 + 'd')
  assert not matcher.is_stopped
  # Quadratic would be 800 million comparisons.
  assert time.process_time() - start_s < 5
