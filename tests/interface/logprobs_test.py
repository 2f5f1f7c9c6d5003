"""Log-probabilities are those of the model, however a token came about."""

import dataclasses
import struct

import numpy as np
import pytest

from tests.engine import asking
from tests.interface import tiny_chat


class Exactly:
  """Nothing but these tokens, one after the other.

  Args:
    token_ids: all of them.
    is_told: whether they may be guessed, and verified together.
  """

  def __init__(self, token_ids, *, is_told):
    self._left, self._is_told = list(token_ids), is_told

  def masks(self, guesses, out_GW):
    for ahead in range(len(guesses) + 1):
      allowed = np.zeros(out_GW.shape[1] * 32, bool)
      if ahead < len(self._left):
        allowed[self._left[ahead]] = True
      else:
        allowed[:] = True  # after the last that is reported
      out_GW[ahead] = np.packbits(allowed, bitorder='little').view(np.uint32)
      if [*guesses[ahead : ahead + 1]] != self._left[ahead : ahead + 1]:
        return ahead
    return len(guesses)

  def forced(self, limit):
    return self._left[:limit] if self._is_told else ()

  def advance(self, tokens):
    assert list(tokens) == self._left[: len(tokens)]
    del self._left[: len(tokens)]


@pytest.fixture(scope='module')
def engine():
  with tiny_chat.running() as one:
    yield one


DRAWN = [
  {'temperature': 1.0},
  {'temperature': 0.0},
  {'temperature': 1.7, 'top_k': 40, 'presence_penalty': 1.5},
  {'temperature': 0.8, 'top_p': 0.7, 'logit_bias': {65: 5.0}},
]


@pytest.mark.parametrize('fields', DRAWN)
@pytest.mark.parametrize('is_told', [False, True])
@pytest.mark.parametrize('length', [7, 16, 33])
def test_l1_of_a_drawn_answer_and_of_the_same_forced(
  engine, fields, is_told, length
):
  """Bit for bit, although they are drawn and forced in other ways."""
  prompt = asking.PROMPTS[length]
  (drawn,) = asking.run(engine, asking.request(prompt, **fields))
  ids = drawn.ids()
  forced = dataclasses.replace(
    asking.request(prompt, seed=99),
    constraint=lambda: Exactly(ids, is_told=is_told),
    max_tokens=len(ids),
  )
  mates = [asking.request(seed=i, max_tokens=30) for i in range(3)]
  (_, got, *_) = asking.run(engine, mates[0], forced, *mates[1:])
  assert got.ids() == ids
  assert got.bits() == drawn.bits()


@pytest.mark.parametrize('length', [7, 16, 33])
def test_l1_of_an_answer_and_of_the_same_in_a_prompt(engine, length):
  """Whole chunks are other programs: close, and of the same ranks."""
  prompt = asking.PROMPTS[length]
  (drawn,) = asking.run(engine, asking.request(prompt))
  scored = dataclasses.replace(
    asking.request((*prompt, *drawn.ids()), max_tokens=1), prompt_logprobs=3
  )
  (got,) = asking.run(engine, scored)
  told = got.prompt_tokens[length - 1 :]
  assert [token.id for token in told] == drawn.ids()
  np.testing.assert_allclose(
    [token.logprob for token in told],
    [token.logprob for token in drawn.choices[0]],
    atol=0.02,
  )


def test_l1_scoring_twice_is_the_same(engine):
  """A prompt's own scores are bits, too, from a cold and a warm cache."""
  prompt = asking.PROMPTS[50]
  seen = set()
  for _ in range(2):
    ask = dataclasses.replace(asking.request(prompt), prompt_logprobs=2)
    (got,) = asking.run(engine, ask)
    told = [token.logprob for token in got.prompt_tokens]
    seen.add(struct.pack(f'<{len(told)}f', *told))
  assert len(seen) == 1
