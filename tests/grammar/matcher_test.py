"""Masks over several positions, and what is allowed at the end."""

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

from chatjax import types
from chatjax.grammar import bits
from tests.grammar import walks

TOKENIZER = walks.merging()
WORDS = bits.num_words(TOKENIZER.vocab_size)
EOS = min(TOKENIZER.eos_ids)


def pet():
  return walks.compiled(
    {
      'type': 'object',
      'properties': {'kind': {'enum': ['cat', 'cow']}, 'n': {'maximum': 9}},
      'required': ['kind', 'n'],
      'additionalProperties': False,
    },
    TOKENIZER,
  )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_masks_ahead_are_those_of_steps(data):
  """As if each guess had been drawn, and then nothing had."""
  grammar, tokens = pet(), []
  matcher = grammar.matcher()
  for _ in range(data.draw(st.integers(0, 25))):
    tokens.append(data.draw(st.sampled_from(walks.allowed(matcher, TOKENIZER))))
    matcher.advance(tokens[-1:])
  before = walks.mask_of(matcher, WORDS).copy()
  guesses = _guesses(grammar, tokens, data)
  masks_GW = np.full((len(guesses) + 1, WORDS), 7, np.uint32)
  num = matcher.masks(guesses, masks_GW)
  one = grammar.matcher()
  one.advance(tokens)
  for i in range(num + 1):
    np.testing.assert_array_equal(masks_GW[i], walks.mask_of(one, WORDS))
    if i < num:
      one.advance(guesses[i : i + 1])
  if num < len(guesses):
    assert not bits.has(masks_GW[num], guesses[num])
    with pytest.raises(types.ChatjaxError, match='not allowed'):
      one.advance(guesses[num : num + 1])
  np.testing.assert_array_equal(before, walks.mask_of(matcher, WORDS))


def _guesses(grammar, tokens, data):
  """Some that may come, then one that may not."""
  matcher, guesses = grammar.matcher(), []
  matcher.advance(tokens)
  for _ in range(data.draw(st.integers(0, 5))):
    guesses.append(
      data.draw(st.sampled_from(walks.allowed(matcher, TOKENIZER)))
    )
    matcher.advance(guesses[-1:])
  return [*guesses, *data.draw(st.lists(st.integers(0, 300), max_size=2))]


def test_after_the_end_only_ends_may_come():
  matcher = walks.compiled(('yes', 'no'), TOKENIZER, kind='choice').matcher()
  assert not matcher.is_complete
  matcher.advance(TOKENIZER.encode('yes'))
  assert matcher.is_complete
  assert matcher.is_over
  for _ in range(3):  # for ever
    assert set(walks.allowed(matcher, TOKENIZER)) == TOKENIZER.eos_ids
    assert matcher.forced(4) == ()
    matcher.advance([EOS])


def test_a_text_that_may_go_on_may_also_end():
  matcher = walks.compiled('a*', TOKENIZER, kind='regex').matcher()
  matcher.advance(TOKENIZER.encode('aa'))
  assert matcher.is_complete
  assert not matcher.is_over
  assert EOS in walks.allowed(matcher, TOKENIZER)
  masks_GW = np.zeros((3, WORDS), np.uint32)
  a = TOKENIZER.encode('a')[0]
  assert matcher.masks([EOS, a], masks_GW) == 1  # nothing follows an end
  assert set(walks.ids_of(masks_GW[1])) == TOKENIZER.eos_ids
  assert matcher.masks([a, a], masks_GW) == 2
  matcher.advance([EOS])
  assert matcher.is_over


def test_an_end_is_refused_before_the_text_is_whole():
  matcher = pet().matcher()
  assert EOS not in walks.allowed(matcher, TOKENIZER)
  for token in (EOS, -1, TOKENIZER.vocab_size, 10**9):
    with pytest.raises(types.ChatjaxError, match=str(token)):
      matcher.advance([token])
  # An error changes nothing.
  matcher.advance(TOKENIZER.encode('{"kind": "cat", "n": 3}'))
  assert matcher.is_over


def test_no_special_token_is_text():
  matcher = walks.compiled('(?s:.*)', TOKENIZER, kind='regex').matcher()
  allowed = set(walks.allowed(matcher, TOKENIZER))
  special = TOKENIZER.control_ids | set(TOKENIZER.special_ids.values())
  assert allowed & special == TOKENIZER.eos_ids


def test_forced_runs_are_what_must_come():
  matcher = pet().matcher()
  forced = matcher.forced(8)
  assert TOKENIZER.decode(forced) == '{"kind": "c'[: len(forced)]
  assert len(forced) > 2
  assert matcher.forced(2) == forced[:2]
  assert matcher.masks(forced, np.zeros((9, WORDS), np.uint32)) == len(forced)


def test_a_wider_mask_allows_no_more():
  matcher = pet().matcher()
  narrow_W = walks.mask_of(matcher, WORDS)
  wide_GW = np.full((1, WORDS + 40), 5, np.uint32)
  matcher.masks((), wide_GW)
  np.testing.assert_array_equal(wide_GW[0, :WORDS], narrow_W)
  assert not wide_GW[0, WORDS:].any()


def test_matchers_of_one_grammar_are_apart():
  grammar = pet()
  one, other = grammar.matcher(), grammar.matcher()
  one.advance(TOKENIZER.encode('{"kind": "cat'))
  assert TOKENIZER.decode(other.forced(99)).startswith('{"')
