"""Sweeps and counterfactuals: the same noise under other settings."""

import dataclasses

import numpy as np
import pytest

from chatjax import api
from chatjax import coupled
from chatjax import types
from chatjax.testing import byte_tokenizer
from tests.interface import tiny_chat

MESSAGES = [{'role': 'user', 'content': 'Tell me of the sea and of ships.'}]
EOS = byte_tokenizer.EOS


@pytest.fixture(scope='module')
def engine():
  with tiny_chat.running() as one:
    yield one


@pytest.fixture(scope='module')
def model(engine):
  return api.Chat(tiny_chat.session(engine))


def told(answer):
  """All that the contract covers."""
  (choice,) = answer.choices
  entries = choice.logprobs.content
  bits = np.array([one.logprob for one in entries], np.float32).view(np.int32)
  return choice.token_ids, choice.message.content, bits.tolist()


TOLD = {'logprobs': True, 'return_token_ids': True}


def test_a_sweep_is_its_separate_chats_with_one_prefill(engine, model):
  before = dataclasses.replace(engine.totals)
  sweep = model.sweep(
      MESSAGES, temperature=[0.0, 0.7, 1.5], seed=[[1], [2**60 + 1]],
      top_p=np.float32(0.9), max_tokens=[10, 20, 12], **TOLD,
  )  # fmt: skip
  num_prompt = sweep.answers[0].usage.prompt_tokens
  chunks = engine.totals.prefill_chunks - before.prefill_chunks
  assert chunks == -(-num_prompt // 16) > 1
  assert engine.totals.prompt_tokens - before.prompt_tokens == num_prompt
  assert sweep.shape == sweep.texts.shape == (2, 3)
  assert len({sweep.texts[i, j] for i in range(2) for j in (1, 2)}) == 4
  for setting, answer in zip(sweep.settings, sweep.answers, strict=True):
    alone = model.chat(MESSAGES, **setting)
    assert told(answer) == told(alone)
    assert answer.chatjax.seed == setting['seed']
    assert answer.chatjax.choice_keys == alone.chatjax.choice_keys
    assert answer.usage.completion_tokens == alone.usage.completion_tokens
  assert sweep.settings[5]['seed'] == 2**60 + 1
  assert [len(x.choices[0].token_ids) for x in sweep.answers[:3]] == [
    10,
    20,
    12,
  ]


def test_settings_of_every_kind_go_together(model):
  """Penalties, stop strings and grammars are each choice's own."""
  sweep = model.sweep(
      MESSAGES, frequency_penalty=[0.0, 2.0], top_k=[0, 5], seed=4,
      response_format={'type': 'json_object'}, stop='"', max_tokens=20, **TOLD,
  )  # fmt: skip
  for setting, answer in zip(sweep.settings, sweep.answers, strict=True):
    assert told(answer) == told(model.chat(MESSAGES, **setting))


def test_without_a_seed_one_is_drawn_for_all(model):
  sweep = model.sweep(MESSAGES, temperature=[1.0, 1.0], max_tokens=8, **TOLD)
  assert told(sweep.answers[0]) == told(sweep.answers[1])
  again = model.sweep(MESSAGES, temperature=[1.0], max_tokens=8, **TOLD)
  assert told(again.answers[0]) != told(sweep.answers[0])


def test_a_refused_setting_leaves_nothing_behind(engine, model):
  with pytest.raises(types.RequestError) as caught:
    model.sweep(MESSAGES, temperature=[1.0, -1.0])
  assert caught.value.param == 'temperature'
  assert engine.num_open == 0


def test_settings_that_the_queue_does_not_hold(engine, model):
  num = engine.max_open + 3
  sweep = model.sweep(MESSAGES, seed=range(num), max_tokens=1, **TOLD)
  assert len(sweep.answers) == num
  last = model.chat(MESSAGES, **sweep.settings[-1])
  assert told(sweep.answers[-1]) == told(last)


def test_sweeps_wait_for_each_other(engine, model):
  half = range(engine.max_open // 2 + 1)
  prompts = [MESSAGES] * 3
  made = coupled.draw([model], prompts, seed=half, max_tokens=2)
  assert made.answers.shape == (1, 3, len(half))


@pytest.mark.parametrize(
  ('params', 'param', 'words'),
  [
    ({'temperature': [1, 2], 'top_p': [1, 1, 1]}, 'temperature', 'broadcast'),
    ({'temperature': []}, 'temperature', 'at least one'),
    ({'n': 2}, 'n', 'leave it out'),
    ({'stream': True}, 'stream', 'leave it out'),
    ({'stop': ['a'], 'seed': [1.5]}, 'seed', 'integer'),
  ],
)
def test_what_is_no_sweep_is_refused(model, params, param, words):
  with pytest.raises(types.RequestError, match=words) as caught:
    model.sweep(MESSAGES, **params)
  assert caught.value.param == param


@pytest.fixture(scope='module')
def drawn(model):
  answer = model.chat(
      MESSAGES, seed=7, temperature=1.2, top_p=0.95, n=2, max_tokens=24,
      presence_penalty=0.5, frequency_penalty=0.5, **TOLD,
  )  # fmt: skip
  return [choice.token_ids for choice in answer.choices]


@pytest.mark.parametrize('choice', [0, 1])
def test_the_settings_of_an_answer_give_the_answer(model, drawn, choice):
  told = model.counterfactuals(
      MESSAGES, drawn[choice], seed=7, choice=choice, top_p=0.95,
      temperature=[1.2, 0.1, 2.0], presence_penalty=0.5, frequency_penalty=0.5,
  )  # fmt: skip
  assert told.token_ids.shape == (3, 24) == told.tokens.shape
  assert told.token_ids[0].tolist() == drawn[choice]
  assert not told.differs[0].any()
  assert told.differs[1].any()
  assert told.differs[2].any()
  assert told.settings[1]['temperature'] == 0.1


def test_without_a_temperature_they_are_the_likeliest(model, drawn):
  (ids, _) = drawn
  told = model.counterfactuals(MESSAGES, ids, seed=7, temperature=0)
  scored = model.score(MESSAGES, ids, top_logprobs=1)
  assert told.token_ids.tolist() == [top[0][0] for top in scored.top]
  assert told.token_ids.tolist() == scored.greedy_ids.tolist()


def test_each_step_is_what_a_chat_draws_after_the_same_tokens(model, drawn):
  """The first step where they differ is the same as running on from there."""
  (ids, _) = drawn
  setting = {'seed': 7, 'temperature': 2.0, 'min_tokens': 30}
  told = model.counterfactuals(MESSAGES, ids, **setting)
  other = model.chat(MESSAGES, **setting, max_tokens=30, **TOLD)
  parting = int(np.argmax(told.differs))
  assert told.differs[parting]
  assert other.choices[0].token_ids[:parting] == ids[:parting]
  assert other.choices[0].token_ids[parting] == told.token_ids[parting]


def test_min_tokens_holds_the_end_back(model):
  """With the end's logit raised, it is drawn wherever it may be."""
  ids = [65, 66, 67, 68]
  bias = {EOS: 50.0}
  free = model.counterfactuals('a', ids, seed=1, logit_bias=bias)
  held = model.counterfactuals(
    'a', ids, seed=1, logit_bias=bias, min_tokens=[2, 4]
  )
  assert free.token_ids.tolist() == [EOS] * 4
  assert (held.token_ids == EOS).tolist() == [
    [False, False, True, True],
    [False] * 4,
  ]
  with pytest.raises(types.RequestError, match='leave one of the two out'):
    model.counterfactuals('a', [65, EOS, 66], seed=1, min_tokens=2)


@pytest.mark.parametrize(
  ('params', 'param'),
  [
    ({}, 'seed'),
    ({'seed': 1, 'stop': 'x'}, 'stop'),
    ({'seed': 1, 'top_p': 2.0}, 'top_p'),
    ({'seed': 1, 'choice': -1}, 'choice'),
    ({'seed': 1, 'choice': 1.5}, 'choice'),
    ({'seed': 2**70}, 'seed'),
    ({'seed': [1, None]}, 'seed'),
    ({'seed': 1.5}, 'seed'),
    ({'seed': 1, 'top_k': 2.7}, 'top_k'),
    ({'seed': 1, 'temperature': 'abc'}, 'temperature'),
    ({'seed': 1, 'temperature': [[1], [1, 2]]}, 'temperature'),
    ({'seed': 1, 'logit_bias': [1, 2]}, 'logit_bias'),
    ({'seed': 1, 'allowed_token_ids': []}, 'allowed_token_ids'),
    ({'seed': 1, 'allowed_token_ids': 'ab'}, 'allowed_token_ids'),
    ({'seed': 1, 'allowed_token_ids': [10**6]}, 'allowed_token_ids'),
  ],
)
def test_settings_without_a_meaning_are_refused(model, params, param):
  with pytest.raises(types.RequestError) as caught:
    model.counterfactuals('a', 'b', **params)
  assert caught.value.param == param
  assert model.counterfactuals('a', 'b', seed=1).token_ids.shape == (1,)


def test_models_and_prompts_share_their_noise(model):
  """Two sessions of one engine, one of them with another prompt."""
  prompts = [MESSAGES, [{'role': 'user', 'content': 'Something else.'}]]
  made = coupled.draw(
    [model, model], prompts, seed=[3, 4], temperature=[[1.0], [0.4]],
    max_tokens=12,
  )  # fmt: skip
  assert made.answers.shape == (2, 2, 2, 2) == made.texts.shape
  for place, answer in np.ndenumerate(made.answers):
    _, prompt, *setting = place
    fields = made.settings[np.ravel_multi_index(setting, (2, 2))]
    alone = model.chat(prompts[prompt], **fields)
    assert alone.choices == answer.choices
    assert coupled.parting(alone, answer) is None
  assert made.settings[1]['seed'] == 4
  assert made.settings[2]['temperature'] == 0.4
  hot, cold = made.answers[0, 0, 0, 0], made.answers[0, 0, 1, 0]
  place = coupled.parting(hot, cold)
  ids, others = hot.choices[0].token_ids, cold.choices[0].token_ids
  assert ids[:place] == others[:place]
  assert ids[place] != others[place]


def test_a_noise_that_is_drawn_is_one_for_all(model):
  made = coupled.draw([model, model], [MESSAGES], max_tokens=8)
  one, other = made.answers[:, 0]
  assert one.chatjax.seed == other.chatjax.seed
  assert coupled.parting(one, other) is None
  shorter = model.chat(
    MESSAGES, seed=one.chatjax.seed, max_tokens=5, return_token_ids=True
  )
  assert coupled.parting(one, shorter) == 5
