"""Guesses against a plain search, and how they adapt."""

import hypothesis
from hypothesis import strategies as st
import pytest

from chatjax.engine import drafts

TEXT = st.lists(st.integers(0, 3), max_size=30)


def searched(text, shortest, length):
  """The guess, by looking everywhere."""
  for n in range(4, shortest - 1, -1):
    suffix = text[-n:]
    for start in range(len(text) - 1, n - 1, -1):
      if len(text) >= n and text[start - n : start] == suffix:
        period = text[start:]
        return tuple((period * length)[:length])
  return ()


@hypothesis.given(prompt=TEXT, answer=TEXT, most=st.integers(1, 8))
@hypothesis.settings(max_examples=300, deadline=None)
@pytest.mark.parametrize(('mode', 'shortest'), [('on', 2), ('auto', 3)])
def test_the_longest_latest_match_is_what_comes_next(
  prompt, answer, most, mode, shortest
):
  drafter = drafts.Drafter(prompt, mode=mode)
  for token in answer:
    drafter.extend([token])
  want = searched(prompt + answer, shortest, min(4, most))
  assert drafter.draft(most) == want
  at_once = drafts.Drafter(prompt, mode=mode)
  at_once.extend(answer)
  assert at_once.draft(most) == want


def follow(drafter, answer, most=16):
  """Has an answer guessed; returns (steps, accepted, rejected)."""
  at, steps, accepted, rejected = 0, 0, 0, 0
  while at < len(answer):
    guess = drafter.draft(most)
    right = 0
    while right < min(len(guess), len(answer) - at - 1):
      if guess[right] != answer[at + right]:
        break
      right += 1
    if guess:
      drafter.judge(len(guess), right)
    drafter.extend(answer[at : at + right + 1])
    at += right + 1
    steps += 1
    accepted += right
    rejected += len(guess) - right
  return steps, accepted, rejected


CODE = b"""def total(prices):
  result = 0
  for price in prices:
    if price is None:
      raise ValueError('a price is missing')
    result = result + price
  return result
"""
EDITED = CODE.replace(b'result', b'amount').replace(b'total', b'sum_of')
NEW = bytes(range(32, 127))


@pytest.mark.parametrize('mode', ['on', 'auto'])
def test_edited_code_takes_half_the_steps(mode):
  steps, accepted, _ = follow(drafts.Drafter(CODE, mode=mode), EDITED)
  assert steps < len(EDITED) / 2
  assert steps + accepted == len(EDITED)


def test_a_prediction_is_followed_through_its_edits():
  drafter = drafts.Drafter(b'Rename it.', CODE, mode='auto')
  assert drafter.is_eager
  steps, _, _ = follow(drafter, EDITED)
  without, _, _ = follow(drafts.Drafter(b'Rename it.', mode='auto'), EDITED)
  assert steps < without / 2


def test_a_whole_prediction_takes_one_step_per_longest_guess():
  steps, _, rejected = follow(drafts.Drafter((), CODE, mode='auto'), CODE)
  assert steps <= 3 + len(CODE) / 16
  assert rejected <= 16  # behind the end


def test_auto_rests_where_nothing_can_be_guessed():
  prompt = b'abcd' * 4

  def useless(mode):
    drafter = drafts.Drafter(prompt, mode=mode)
    drafted = 0
    for _ in range(100):
      drafter.extend(b'abcd')  # always looks as if it went on
      guess = drafter.draft(8)
      drafted += len(guess)
      if guess:
        drafter.judge(len(guess), 0)
    return drafted

  assert useless('auto') < 20
  assert useless('on') >= 100


def test_new_text_is_not_guessed():
  assert follow(drafts.Drafter(b'', mode='auto'), NEW)[1:] == (0, 0)


def test_lengths_adapt():
  drafter = drafts.Drafter(b'ab' * 50, mode='on')
  assert len(drafter.draft(64)) == 4
  drafter.judge(4, 4)
  assert len(drafter.draft(64)) == 8
  drafter.judge(8, 8)
  drafter.judge(16, 16)
  assert len(drafter.draft(64)) == 16
  for _ in range(9):
    drafter.judge(16, 0)
  assert len(drafter.draft(64)) == 1
  assert len(drafter.draft(0)) == 0
