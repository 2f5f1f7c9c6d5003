"""Scoring: what a model says of given tokens, with generation's bits."""

import dataclasses

import numpy as np
import pytest

from chatjax import api
from chatjax import types
from tests.engine import asking
from tests.interface import tiny_chat

MESSAGES = [{'role': 'user', 'content': 'Tell me of the sea and of ships.'}]


@pytest.fixture(scope='module')
def engine():
  with tiny_chat.running() as one:
    yield one


@pytest.fixture(scope='module')
def model(engine):
  return api.Chat(tiny_chat.session(engine))


def bits(logprobs):
  return np.asarray(logprobs, np.float32).view(np.int32).tolist()


DRAWN = [
  {'temperature': 1.0},
  {'temperature': 0.0},
  {'temperature': 1.7, 'top_k': 40, 'presence_penalty': 1.5},
  {'temperature': 0.8, 'top_p': 0.7, 'logit_bias': {65: 5.0}},
]


@pytest.mark.parametrize('fields', DRAWN)
@pytest.mark.parametrize('length', [1, 15, 16, 17, 33])
def test_l1_a_drawn_answer_scores_with_its_bits(engine, model, fields, length):
  prompt = asking.PROMPTS[length]
  (drawn,) = asking.run(engine, asking.request(prompt, **fields))
  scored = model.score(prompt, drawn.ids(), top_logprobs=3)
  tokens = drawn.choices[0]
  assert scored.token_ids.tolist() == drawn.ids()
  assert bits(scored.logprobs) == bits([one.logprob for one in tokens])
  assert scored.top == tuple(one.top for one in tokens)
  assert scored.total == pytest.approx(sum(one.logprob for one in tokens))


@pytest.mark.parametrize('speculation', ['on', 'off'])
def test_l1_of_a_chat(model, speculation):
  answer = model.chat(
      MESSAGES, seed=3, max_tokens=20, logprobs=True, return_token_ids=True,
      speculation=speculation,
  )  # fmt: skip
  choice = answer.choices[0]
  scored = model.score(MESSAGES, choice.token_ids)
  told = {entry.token: entry.logprob for entry in choice.logprobs.content}
  assert told
  score_of = dict(zip(scored.tokens, scored.logprobs, strict=True))
  shared = sorted(told.keys() & score_of.keys())
  assert shared
  assert bits([score_of[x] for x in shared]) == bits([told[x] for x in shared])


def test_many_at_once_have_the_bits_of_each_alone(engine, model):
  pairs = [
    (asking.PROMPTS[length], [(length * 7 + i * 5) % 256 for i in range(count)])
    for length in (7, 33, 33, 50, 33)
    for count in (1, 9, 20)
  ]
  alone = [model.score(*pair) for pair in pairs]
  together = model.score_many(pairs)
  for one, other in zip(alone, together, strict=True):
    for name in ('token_ids', 'rank', 'greedy_ids'):
      assert getattr(one, name).tolist() == getattr(other, name).tolist()
    assert bits(one.logprobs) == bits(other.logprobs)
    assert bits(one.entropy) == bits(other.entropy)


def test_completions_of_one_prompt_share_its_prefill(engine, model):
  prompt = tuple(range(90, 90 + 39))  # 3 chunks of 16
  before = dataclasses.replace(engine.totals)
  model.score_many([(prompt, [first, 66]) for first in range(60, 70)])
  assert engine.totals.prefill_chunks - before.prefill_chunks == 3


def test_more_than_the_queue_takes(engine, model, monkeypatch):
  refused = []
  submit = engine.submit

  def submit_if_room(request, sink):
    if engine.num_open >= 2:
      refused.append(request)
      raise types.RequestError('Full.', code='server_overloaded', status=503)
    submit(request, sink)

  pairs = [((i, i + 1), [65, i]) for i in range(12)]
  calm = model.score_many(pairs)
  monkeypatch.setattr(engine, 'submit', submit_if_room)
  again = model.score_many(pairs)
  assert refused
  assert [x.total for x in again] == [x.total for x in calm]


def test_a_queue_smaller_than_the_completions_of_a_prompt(
  engine, model, monkeypatch
):
  pairs = [((1, 2), [65, i]) for i in range(engine.max_rows + 3)]
  calm = model.score_many(pairs)
  config = dataclasses.replace(engine._config, max_queue=1)
  monkeypatch.setattr(engine, '_config', config)
  again = model.score_many(pairs)
  assert [x.total for x in again] == [x.total for x in calm]


def test_entropy_and_rank_are_those_of_the_whole_distribution(engine, model):
  prompt = asking.PROMPTS[17]
  ids = [5, 200]
  scored = model.score(prompt, ids, top_logprobs=20)
  for i, token_id in enumerate(ids):
    # The whole row, one token at a time: 259 completions that differ last.
    row = model.score_many([(prompt, [*ids[:i], t]) for t in range(259)])
    logprobs = np.array([one.logprobs[-1] for one in row], np.float64)
    assert np.exp(logprobs).sum() == pytest.approx(1, abs=1e-5)
    entropy = -(np.exp(logprobs) * logprobs).sum()
    assert scored.entropy[i] == pytest.approx(entropy, abs=1e-4)
    order = sorted(range(259), key=lambda t: (-logprobs[t], t))
    assert scored.rank[i] == 1 + order.index(token_id)
    assert scored.greedy_ids[i] == order[0]
    assert [pair[0] for pair in scored.top[i]] == order[:20]


def test_a_text_is_scored_as_its_tokens(model):
  by_text = model.score('One two three', ' four.')
  ids = np.frombuffer(b'One two three', np.uint8).astype(np.int32)
  start = model.session.tokenizer.bos_id
  by_ids = model.score(np.array([start, *ids]), list(b' four.'))
  assert by_text.tokens == tuple(' four.')
  assert bits(by_text.logprobs) == bits(by_ids.logprobs)
  assert len(by_text) == 6


def test_a_stop_token_in_the_middle_ends_nothing(model):
  eos = next(iter(model.session.tokenizer.eos_ids))
  scored = model.score('ab', [65, eos, 66, eos])
  assert scored.token_ids.tolist() == [65, eos, 66, eos]


@pytest.mark.parametrize(
  ('prompt', 'completion', 'param', 'words'),
  [
    ('a', '', 'completion', 'empty'),
    ([], 'a', 'prompt', 'empty'),
    ('a', [1000], 'completion', 'names the token 1000'),
    ([-1], 'a', 'prompt', 'names the token -1'),
    ('a', 'b' * 200, 'completion', '202 tokens long together'),
    ('a', [0.5], 'completion', 'a text or token ids'),
    ('a', None, 'completion', 'a text or token ids'),
    (None, 'a', 'prompt', 'a text or token ids'),
  ],
)
def test_what_does_not_fit_is_refused(model, prompt, completion, param, words):
  with pytest.raises(types.RequestError, match=words) as caught:
    model.score(prompt, completion)
  assert caught.value.param == param


@pytest.mark.parametrize('count', [21, -1, 1.5, 'x'])
def test_too_many_alternatives_are_refused(model, count):
  with pytest.raises(types.RequestError, match='0 to 20'):
    model.score('a', 'b', top_logprobs=count)
