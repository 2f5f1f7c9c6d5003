"""Log-probabilities of the prompt itself."""

import dataclasses

import numpy as np
import pytest

from chatjax.engine import engine as engine_lib
from chatjax.testing import tiny
from tests.engine.asking import PROMPTS
from tests.engine.asking import request
from tests.engine.asking import run
from tests.engine.asking import start


@pytest.fixture(scope='module', params=['int8', 'float32'])
def engine(request):
  engine = engine_lib.Engine(tiny.weights('qwen2', request.param), tiny.ENGINE)
  yield engine
  assert engine.num_pages_used == 0
  engine.close()


def ask(prompt, num_top=3, **fields):
  return dataclasses.replace(request(prompt, **fields), prompt_logprobs=num_top)


def test_they_are_what_sampling_from_each_prefix_reports(engine):
  prompt = PROMPTS[33]
  (got,) = run(engine, ask(prompt, max_tokens=1))
  assert [token.id for token in got.prompt_tokens] == list(prompt[1:])
  for end in (1, 8, 16, 17, 32):
    # Forced by its bias, the next token is reported as the model has it.
    (want,) = run(
      engine, request(prompt[:end], max_tokens=1, logit_bias={prompt[end]: 100})
    )
    (token,) = want.choices[0]
    assert token.id == prompt[end]
    scored = got.prompt_tokens[end - 1]
    np.testing.assert_allclose(scored.logprob, token.logprob, atol=1e-4)
    assert [i for i, _ in scored.top] == [i for i, _ in token.top]
    assert len(scored.top) == 3


def test_ranks_count_the_likelier_tokens(engine):
  (got,) = run(engine, ask(PROMPTS[50], num_top=20, max_tokens=1))
  for token in got.prompt_tokens:
    ids = [i for i, _ in token.top]
    if token.rank <= 20:
      assert ids[token.rank - 1] == token.id
    else:
      assert token.id not in ids


def test_the_same_bits_warm_and_in_a_crowd_and_the_answer_too(engine):
  plain = run(engine, request(PROMPTS[50]))[0]
  cold = run(engine, ask(PROMPTS[50]))[0]
  mates = [start(engine, request(PROMPTS[33], seed=s)) for s in range(3)]
  warm = run(engine, ask(PROMPTS[50]))[0]
  assert cold.prompt_tokens == warm.prompt_tokens
  assert plain.bits() == cold.bits() == warm.bits()
  assert cold.num_cached == warm.num_cached == 0
  for mate in mates:
    mate.wait()


def test_only_who_asks_is_told(engine):
  (got,) = run(engine, request(PROMPTS[33]))
  assert got.prompt_tokens is None
  (got,) = run(engine, ask(PROMPTS[1], num_top=0, max_tokens=2))
  assert got.prompt_tokens == ()
