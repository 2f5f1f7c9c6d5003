"""Answers for plain texts: offsets, alternatives, chunks of a stream."""

import json

from openai.types import completion as openai_completion

from chatjax import types
from chatjax.protocol import response
from chatjax.protocol import text_answer

STOP, LENGTH = types.FinishReason.STOP, types.FinishReason.LENGTH
INF = float('inf')


def meta(num_prompts=1, n=1, num_prompt_top=None, **fields):
  shared = {
    'id': 'unused', 'created': 5, 'model': 'm', 'system_fingerprint': 'fp',
    'seed': 7, 'choice_keys': tuple('ab'[:n]), 'sampler_version': 1, 'n': n,
    'has_logprobs': True, 'has_token_ids': False, 'include_usage': False,
    **fields,
  }  # fmt: skip
  return text_answer.Meta(
    id='cmpl-x',
    prompts=tuple(
      response.Meta(prompt_ids=(10 * p, *range(p)), **shared)
      for p in range(1, num_prompts + 1)
    ),
    num_prompt_top=num_prompt_top,
  )


def entry(text, logprob=-1.0, top=(), data=None):
  return types.TokenLogprob(
    id=1, token=text, logprob=logprob, top=tuple(top),
    bytes=text.encode() if data is None else data,
  )  # fmt: skip


def choice(text='', entries=(), reason=STOP, ids=(1,)):
  return types.ChoiceResult(
    text=text, token_ids=ids, logprobs=tuple(entries), finish_reason=reason
  )


def result(*choices, **fields):
  return types.Completion(
    choices=choices, prompt_ids=(), num_cached=1, seed=7, **fields
  )


def written(answer):
  return json.loads(answer.model_dump_json(exclude_unset=True))


def whole(shared, *results):
  plain = written(text_answer.completion(shared, results))
  openai_completion.Completion.model_validate(plain)
  return plain


def streamed(shared, *deltas):
  chunks = text_answer.ChunkBuilder(shared)
  made = [*chunks.start()]
  for delta in deltas:
    made += chunks.add(delta)
  return [written(one) for one in (*made, *chunks.end(3, types.Drafted()))]


def test_the_exact_object():
  assert whole(meta(), result(choice('hi', [entry('h'), entry('i')]))) == {
    'id': 'cmpl-x',
    'object': 'text_completion',
    'created': 5,
    'model': 'm',
    'system_fingerprint': 'fp',
    'choices': [
      {
        'index': 0,
        'text': 'hi',
        'logprobs': {
          'tokens': ['h', 'i'],
          'token_logprobs': [-1.0, -1.0],
          'top_logprobs': [{'h': -1.0}, {'i': -1.0}],
          'text_offset': [0, 1],
        },
        'finish_reason': 'stop',
      }
    ],
    'usage': {
      'prompt_tokens': 2,
      'completion_tokens': 1,
      'total_tokens': 3,
      'prompt_tokens_details': {
        'cached_tokens': 1,
        'audio_tokens': 0,
        'image_tokens': 0,
      },
      'completion_tokens_details': {
        'reasoning_tokens': 0,
        'audio_tokens': 0,
        'accepted_prediction_tokens': 0,
        'rejected_prediction_tokens': 0,
      },
    },
    'chatjax': {'seed': 7, 'choice_keys': ['a'], 'sampler_version': 1},
  }


def test_choices_of_prompts():
  drafted = types.Drafted(accepted=2, rejected=1)
  plain = whole(
    meta(num_prompts=2, n=2, has_token_ids=True),
    result(choice('a', ids=(1, 2)), choice('b'), drafted=drafted),
    result(choice('c'), choice('d', reason=LENGTH, ids=()), drafted=drafted),
  )
  assert [(c['index'], c['text']) for c in plain['choices']] == (
    list(enumerate('abcd'))
  )
  assert [c['token_ids'] for c in plain['choices']] == [[1, 2], [1], [1], []]
  assert [c['prompt_token_ids'] for c in plain['choices']] == (
    [[10, 0]] * 2 + [[20, 0, 1]] * 2
  )
  assert plain['choices'][3]['finish_reason'] == 'length'
  assert plain['chatjax']['choice_keys'] == ['a', 'b', 'a', 'b']
  usage = plain['usage']
  assert (usage['prompt_tokens'], usage['completion_tokens']) == (5, 4)
  assert usage['prompt_tokens_details']['cached_tokens'] == 2
  details = usage['completion_tokens_details']
  assert details['accepted_prediction_tokens'] == 4
  assert details['rejected_prediction_tokens'] == 2


def test_offsets_count_characters():
  entries = [
    entry('<bos>', data=b''), entry('é'), entry('?', data=b'\xe2\x82'),
    entry('?', data=b'\xac!'), entry('𝄞'), entry('?', data=b'\xc3'),
    entry('x'), entry('<e>', data=b''),
  ]  # fmt: skip
  got = whole(meta(), result(choice('é€!𝄞\ufffdx', entries)))['choices'][0]
  assert got['logprobs']['text_offset'] == [0, 0, 1, 1, 3, 4, 5, 6]
  chunks = streamed(
    meta(),
    types.Delta(choice=0, text='é', logprobs=tuple(entries[:3])),
    types.Delta(choice=0, text='€!𝄞\ufffdx', logprobs=tuple(entries[3:])),
  )
  offsets = [one['choices'][0]['logprobs']['text_offset'] for one in chunks]
  assert offsets == [[0, 0, 1], [1, 3, 4, 5, 6]]


def test_alternatives():
  """The token itself is among them; of equal spellings the likelier counts."""
  top = [entry('?', -0.5), entry('b', -0.7), entry('?', -0.9), entry('z', -INF)]
  entries = [entry('a', None), entry('?', -2.0, top), entry('x', -INF)]
  # Not through the client's types: those know no null, which a text begins
  # with in OpenAI's answers, too.
  answer = text_answer.completion(meta(), [result(choice('x', entries))])
  got = written(answer)['choices'][0]['logprobs']
  assert got['top_logprobs'] == [
    None, {'?': -0.5, 'b': -0.7, 'z': -9999.0}, {'x': -9999.0},
  ]  # fmt: skip
  assert got['token_logprobs'] == [None, -2.0, -9999.0]


def test_prompt_logprobs_have_as_many_alternatives_as_asked_for():
  alternatives = tuple(
    types.PromptLogprob(id=k, token=str(k), logprob=-k, rank=k)
    for k in range(1, 4)
  )
  scored = types.PromptLogprob(
    id=9, token='9', logprob=-9.0, rank=9, top=alternatives
  )
  one = result(choice('x'), prompt_logprobs=(None, scored))
  told = whole(meta(num_prompt_top=2), one)['choices'][0]['prompt_logprobs']
  assert told[0] is None
  assert list(told[1]) == ['9', '1', '2']
  assert 'prompt_logprobs' not in whole(meta(), one)['choices'][0]


def test_what_is_not_asked_for():
  plain = whole(meta(has_logprobs=False), result(choice('x')))['choices'][0]
  assert plain == {
    'index': 0, 'text': 'x', 'logprobs': None, 'finish_reason': 'stop',
  }  # fmt: skip


def test_chunks():
  shared = meta(num_prompts=2, include_usage=True, has_token_ids=True)
  chunks = streamed(
    shared,
    types.Delta(choice=1, text='b', token_ids=(4, 5)),
    types.Delta(choice=0),
    types.Delta(choice=0, token_ids=(6,)),
    types.Delta(choice=1, finish_reason=STOP),
    types.Delta(choice=0, text='a', token_ids=(7,), finish_reason=LENGTH),
  )
  *texts, usage = chunks
  told = [one['choices'][0] for one in texts]
  assert [
    (c['index'], c['text'], c['finish_reason'], c['token_ids']) for c in told
  ] == [
    (1, 'b', None, [4, 5]), (0, '', None, [6]), (1, '', 'stop', []),
    (0, 'a', 'length', [7]),
  ]  # fmt: skip
  assert [c.get('prompt_token_ids') for c in told] == (
    [[20, 0, 1], [10, 0], None, None]
  )
  assert [one['usage'] for one in texts] == [None] * 4
  assert ['chatjax' in one for one in chunks] == [True] + [False] * 4
  assert texts[0]['chatjax']['choice_keys'] == ['a', 'a']
  assert usage['choices'] == []
  assert usage['usage']['completion_tokens'] == 4
  assert usage['usage']['prompt_tokens'] == 5
  assert usage['usage']['prompt_tokens_details']['cached_tokens'] == 3
  assert {one['id'] for one in chunks} == {'cmpl-x'}


def test_chunks_without_usage():
  chunks = streamed(meta(), types.Delta(choice=0, text='a'))
  assert len(chunks) == 1
  assert 'usage' not in chunks[0]
