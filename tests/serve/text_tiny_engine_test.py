"""Plain texts on the real engine with a tiny model."""

import json

import pytest

from chatjax.engine import engine as engine_lib
from chatjax.testing import tiny
from tests.serve import harness

PROMPTS = ['once upon', 'a time', 'there was']
DRAWN = {'seed': 11, 'max_tokens': 12, 'logprobs': 3}


@pytest.fixture(scope='module')
def served():
  engine = engine_lib.Engine(tiny.weights('llama', 'int8'), tiny.ENGINE)
  with harness.Served(None, engine=engine) as one:
    yield one
  assert engine.error is None
  engine.close()


def ask(one, prompt, **fields):
  body = {'model': 'tiny', 'prompt': prompt, **fields}
  status, _, data = one.post(body, path='/v1/completions')
  assert status == 200, data
  return json.loads(data)


def without_index(choice):
  return {name: value for name, value in choice.items() if name != 'index'}


def test_d1_a_prompt_alone_and_among_others(served):
  """Text and log-probabilities are the same, bit for bit."""
  many = ask(served, PROMPTS, n=2, **DRAWN)['choices']
  for which, prompt in enumerate(PROMPTS):
    alone = ask(served, prompt, n=2, **DRAWN)['choices']
    ours = many[2 * which : 2 * which + 2]
    assert list(map(without_index, ours)) == list(map(without_index, alone))
  assert len({choice['text'] for choice in many}) == 6
  other = ask(served, PROMPTS, n=2, **{**DRAWN, 'seed': 12})['choices']
  assert [c['text'] for c in other] != [c['text'] for c in many]


def test_token_prompts_are_the_same_prompts(served):
  texts = ask(served, PROMPTS, **DRAWN)
  ids = ask(served, [[256, *text.encode()] for text in PROMPTS], **DRAWN)
  assert texts['choices'] == ids['choices']
  bare = ask(served, PROMPTS, add_special_tokens=False, **DRAWN)
  assert texts['choices'] != bare['choices']


def test_a_stream_gains_the_same(served):
  whole = ask(served, PROMPTS, n=2, echo=True, **DRAWN)
  body = {
    'model': 'tiny', 'prompt': PROMPTS, 'n': 2, 'echo': True, 'stream': True,
    **DRAWN,
  }  # fmt: skip
  _, _, data = served.post(body, path='/v1/completions')
  *events, done, _ = data.decode().split('\n\n')
  assert done == 'data: [DONE]'
  gained = [[] for _ in whole['choices']]
  for event in events:
    (choice,) = json.loads(event.removeprefix('data: '))['choices']
    gained[choice['index']].append(choice)
  for choice, parts in zip(whole['choices'], gained, strict=True):
    assert ''.join(part['text'] for part in parts) == choice['text']
    for name, wanted in choice['logprobs'].items():
      lists = (p['logprobs'][name] for p in parts if p['logprobs'])
      assert [one for some in lists for one in some] == wanted


def test_l1_scores_do_not_depend_on_what_is_asked_besides(served):
  """The harness's question, a report of the prompt, and one more token."""
  ids = [256, *b'the quick brown fox jumps']
  fields = {'temperature': 0, 'echo': True, 'logprobs': 1}
  told = ask(served, ids, max_tokens=1, **fields)['choices'][0]['logprobs']
  assert len(told['tokens']) == len(ids) + 1
  assert told['token_logprobs'][0] is None
  for logprob, top in zip(
    told['token_logprobs'][1:], told['top_logprobs'][1:], strict=True
  ):
    assert logprob <= max(top.values())
  # What is drawn at temperature 0 is the likeliest.
  assert told['token_logprobs'][-1] == max(told['top_logprobs'][-1].values())
  scored = ask(served, ids, max_tokens=0, **fields)['choices'][0]['logprobs']
  assert scored['token_logprobs'] == told['token_logprobs'][:-1]
  report = ask(served, ids, max_tokens=1, prompt_logprobs=0)['choices'][0]
  assert [one and next(iter(one.values()))['logprob'] for one in (
    report['prompt_logprobs']
  )] == scored['token_logprobs']  # fmt: skip


def test_greedy_tokens_are_scored_as_greedy(served):
  """What the harness calls greedy: a continuation that the model would give."""
  ids = [256, *b'once']
  drawn = ask(
    served, ids, temperature=0, max_tokens=6, return_token_ids=True,
    ignore_eos=True,
  )['choices'][0]  # fmt: skip
  whole = [*ids, *drawn['token_ids']]
  told = ask(served, whole, temperature=0, max_tokens=1, echo=True, logprobs=1)[
    'choices'
  ][0]['logprobs']
  pairs = list(zip(told['token_logprobs'], told['top_logprobs'], strict=True))
  assert len(pairs[len(ids) : -1]) == 6
  assert all(own == max(top.values()) for own, top in pairs[len(ids) : -1])
  assert not all(own == max(top.values()) for own, top in pairs[1 : len(ids)])


@pytest.mark.parametrize('prompt', [[65], ''])
def test_a_prompt_of_one_token(served, prompt):
  answer = ask(
    served, prompt, echo=True, logprobs=1, max_tokens=1, ignore_eos=True
  )
  told = answer['choices'][0]['logprobs']
  assert told['token_logprobs'][0] is None
  assert len(told['tokens']) == 2


def test_a_prompt_that_leaves_one_token(served):
  room = tiny.ENGINE.context
  ids = [97] * (room - 1)
  answer = ask(served, ids, echo=True, max_tokens=0, logprobs=0)
  assert len(answer['choices'][0]['logprobs']['tokens']) == room - 1
  body = {'model': 'tiny', 'prompt': [*ids, 97], 'echo': True, 'max_tokens': 0}
  status, _, data = served.post(body, path='/v1/completions')
  assert status == 400
  assert harness.error_of(data)['code'] == 'context_length_exceeded'


def test_s1_a_text_is_what_its_grammar_says(served):
  answer = ask(
    served, PROMPTS, structured_outputs={'choice': ['yes', 'no']}, **DRAWN
  )
  assert {choice['text'] for choice in answer['choices']} <= {'yes', 'no'}
  assert {c['finish_reason'] for c in answer['choices']} == {'stop'}
