"""Answers of two models: each its own, all from one noise."""

import contextlib
import dataclasses

import numpy as np

from chatjax import api
from chatjax import coupled
from chatjax.engine import engine as engine_lib
from chatjax.sampling import keys
from chatjax.testing import tiny
from tests.interface import tiny_chat

MESSAGES = [{'role': 'user', 'content': 'Tell me of the sea and of ships.'}]


@contextlib.contextmanager
def other_models(change=lambda params: params):
  """Two models of different weights, both changed alike."""
  with contextlib.ExitStack() as stack:
    made = []
    for seed in (0, 1):
      weights = tiny.weights('llama', 'int8', seed)
      one = engine_lib.Engine(
        dataclasses.replace(
          weights,
          digest=f'{weights.digest} changed',
          restore=lambda placement=None, restore=weights.restore: change(
            restore(placement)
          ),
        ),
        tiny.ENGINE,
      )
      stack.callback(one.close)
      made.append(api.Chat(tiny_chat.session(one)))
    yield made


def by_inverse(top, number):
  """The token at which the running probability of some exceeds a number."""
  ids, logprobs = zip(*sorted(top), strict=True)
  running = np.cumsum(np.exp(np.float64(logprobs)))
  return ids[np.searchsorted(running, number * running[-1], side='right')]


def test_two_models_draw_from_their_own_distributions_with_one_noise():
  seeds, length = [3, 4, -5, 2**60], 10
  with other_models() as models:
    made = coupled.draw(
      models, [MESSAGES], seed=seeds, top_k=20, temperature=1.0,
      max_tokens=length,
    )  # fmt: skip
    assert made.answers.shape == (2, 1, len(seeds))
    for (which, _, column), answer in np.ndenumerate(made.answers):
      (choice,) = answer.choices
      noise = keys.noise(seeds[column], length)
      scored = models[which].score(MESSAGES, choice.token_ids, top_logprobs=20)
      assert choice.token_ids == [
        by_inverse(top, number)
        for top, number in zip(scored.top, noise, strict=False)
      ]
  partings = [coupled.parting(*pair) for pair in made.answers[:, 0].T]
  assert set(partings) != {None}  # they are two models


def test_two_models_of_equal_distributions_draw_the_same_tokens():
  def flat(params):
    """Whatever is computed before, all logits are 0."""
    norm = {'w': 0 * params['final_norm']['w']}
    return {**params, 'final_norm': norm}

  prompts = [MESSAGES, [{'role': 'user', 'content': 'Something else.'}]]
  with other_models(flat) as models:
    made = coupled.draw(models, prompts, seed=[3, 4, -5], max_tokens=10)
    fingerprints = {one.session.engine.fingerprint for one in models}
  assert len(fingerprints) == 2
  for column in range(3):
    first, *others = made.answers[..., column].ravel()
    assert [coupled.parting(first, one) for one in others] == [None] * 3
  assert coupled.parting(made.answers[0, 0, 0], made.answers[0, 0, 1]) == 0
