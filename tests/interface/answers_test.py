"""What goes together in one request: shapes, ends, counts."""

import concurrent.futures
import itertools
import json

import jsonschema
import pytest

from chatjax import api
from chatjax import types
from chatjax.testing import fake_engine
from chatjax.testing import tiny
from tests.interface import tiny_chat

HI = [{'role': 'user', 'content': 'hi'}]
LONG = [{'role': 'user', 'content': 'once upon a time ' * 2}]
SCHEMA = {
  'type': 'object',
  'properties': {
    'ok': {'type': 'boolean'},
    'kind': {'enum': ['a', 'b', 'c', 'd']},
    'code': {'type': 'string', 'pattern': '^[0-9]{4}$'},
  },
  'required': ['ok', 'kind', 'code'],
  'additionalProperties': False,
}
FORMAT = {
  'type': 'json_schema',
  'json_schema': {'name': 'x', 'strict': True, 'schema': SCHEMA},
}


def tool(name):
  parameters = {
    'type': 'object', 'properties': {'a': {'type': 'boolean'}},
    'required': ['a'], 'additionalProperties': False,
  }  # fmt: skip
  return {
    'type': 'function',
    'function': {'name': name, 'parameters': parameters, 'strict': True},
  }


@pytest.fixture(scope='module')
def chats():
  """One that answers at once, one that thinks; on the same engine."""
  with tiny_chat.running() as running:
    yield [
      api.Chat(tiny_chat.session(running, thinks=thinks))
      for thinks in (False, True)
    ]


@pytest.fixture(scope='module')
def chat(chats):
  return chats[0]


def joined(chunks):
  """Per choice what the chunks come to, in the words of a whole answer."""
  usage, choices = None, {}
  for chunk in chunks:
    assert usage is None, 'something follows the usage'
    if not chunk.choices:
      usage = chunk.usage
    for gain in chunk.choices:
      one = choices.setdefault(
        gain.index, {'text': '', 'ids': [], 'calls': [], 'ends': []}
      )
      assert not one['ends'], 'something follows the end'
      one['text'] += gain.delta.content or ''
      one['ids'] += gain.token_ids or []
      for call in gain.delta.tool_calls or []:
        assert call.index == len(one['calls'])
        one['calls'].append((call.function.name, call.function.arguments))
      if gain.finish_reason:
        one['ends'].append(gain.finish_reason)
  assert list(choices) == sorted(choices)
  return list(choices.values()), usage


def whole(answer):
  """As `joined`."""
  return [
    {
      'text': choice.message.content or '',
      'ids': list(choice.token_ids),
      'calls': [
        (call.function.name, call.function.arguments)
        for call in choice.message.tool_calls or []
      ],
      'ends': [choice.finish_reason],
    }
    for choice in answer.choices
  ], answer.usage


def both(chat, messages=HI, **fields):
  """An answer as a whole, which its stream comes to as well."""
  fields = {'return_token_ids': True, **fields}
  answer = chat.chat(messages, **fields)
  chunks = chat.stream(
    messages, **fields, stream_options={'include_usage': True}
  )
  choices, usage = joined(chunks)
  expected, told = whole(answer)
  assert choices == expected
  assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (
    told.prompt_tokens, told.completion_tokens, told.total_tokens,
  )  # fmt: skip
  assert usage.completion_tokens_details == told.completion_tokens_details
  return answer


@pytest.mark.parametrize('n', [1, 2, 3, 8])
def test_n3_every_choice_ends_and_all_are_counted(chat, n):
  answer = both(chat, n=n, seed=3, max_tokens=7)
  assert [choice.index for choice in answer.choices] == list(range(n))
  assert answer.usage.completion_tokens == 7 * n
  assert answer.usage.prompt_tokens == len(answer.prompt_token_ids)


COMBINATIONS = list(
  itertools.product([1, 3], [None, 'e'], [False, True], [False, True])
)


@pytest.mark.parametrize(('n', 'stop', 'calls', 'is_warm'), COMBINATIONS)
def test_g3_usage_adds_up(chat, n, stop, calls, is_warm):
  """Of whole answers and of streams, as `both` compares them."""
  fields = {'n': n, 'seed': 5, 'max_tokens': 70, 'return_token_ids': True}
  if stop:
    fields['stop'] = stop
  if calls:
    fields |= {'tools': [tool('f')], 'tool_choice': 'required'}
  else:
    fields['structured_outputs'] = {'regex': '[a-z]{9,}'}
  for way in ('whole', 'streamed'):
    salt = f'{n}{stop}{calls}{is_warm}{way}'
    if is_warm:
      chat.chat(LONG, **fields | {'max_tokens': 1}, cache_salt=salt)
    if way == 'whole':
      choices, usage = whole(chat.chat(LONG, **fields, cache_salt=salt))
    else:
      options = {'include_usage': True}
      choices, usage = joined(
        chat.stream(LONG, **fields, cache_salt=salt, stream_options=options)
      )
    assert len(choices) == n
    drawn = sum(len(choice['ids']) for choice in choices)
    assert usage.completion_tokens == drawn
    assert usage.total_tokens == usage.prompt_tokens + drawn
    prompt = 'f \n' * calls + f'user: {LONG[0]["content"]}\nassistant: '
    assert usage.prompt_tokens == 1 + len(prompt)
    cacheable = usage.prompt_tokens - 1
    cacheable -= cacheable % tiny.ENGINE.chunk
    cached = usage.prompt_tokens_details.cached_tokens
    assert cached == (cacheable if is_warm else 0)
    for choice in choices:
      assert bool(choice['calls']) == calls
      if stop and not calls:
        assert choice['ids'].count(ord('e')) <= 1
        assert 'e' not in choice['text']


@pytest.mark.parametrize('budget', [0, 1, 5])
def test_g3_thoughts_are_counted(chats, budget):
  answer = both(
    chats[1], seed=1, n=2, max_tokens=40, thinking_token_budget=budget
  )
  details = answer.usage.completion_tokens_details
  assert 2 * budget <= details.reasoning_tokens < answer.usage.completion_tokens
  assert answer.usage.completion_tokens == sum(
    len(choice.token_ids) for choice in answer.choices
  )


CUT = {
  'a schema': {'response_format': FORMAT},
  'a string': {
    'structured_outputs': {'json': {'type': 'string', 'minLength': 20}}
  },
  'a pattern': {'structured_outputs': {'regex': '[a-z]{50}'}},
  'a call': {'tools': [tool('f')], 'tool_choice': 'required'},
  'a named call': {
    'tools': [tool('f')],
    'tool_choice': {'type': 'function', 'function': {'name': 'f'}},
  },
}


@pytest.mark.parametrize('name', CUT)
@pytest.mark.parametrize('max_tokens', [1, 2, 9])
def test_s4_truncation_gives_length(chat, name, max_tokens):
  answer = both(chat, **CUT[name], seed=2, n=2, max_tokens=max_tokens)
  for choice in answer.choices:
    assert choice.finish_reason == 'length'
    assert len(choice.token_ids) == max_tokens
    assert not choice.message.tool_calls


def test_s4_thoughts_that_are_cut(chats):
  answer = both(chats[1], response_format=FORMAT, seed=2, max_tokens=9)
  assert answer.choices[0].finish_reason == 'length'
  assert answer.choices[0].message.content == ''


def bits(answer):
  return [
    (choice.token_ids, [entry.logprob for entry in choice.logprobs.content])
    for choice in answer.choices
  ]


def test_s5_a_schema_with_n_stream_and_seed_together(chat):
  fields = {
    'response_format': FORMAT, 'n': 3, 'seed': 7, 'max_tokens': 90,
    'logprobs': True, 'return_token_ids': True,
  }  # fmt: skip
  alone = both(chat, **fields)
  for choice in alone.choices:
    assert choice.finish_reason == 'stop'
    jsonschema.validate(json.loads(choice.message.content), SCHEMA)
  assert len({choice.message.content for choice in alone.choices}) == 3

  def ask(which):
    if which % 3 == 0:
      return chat.chat(HI, **fields)
    if which % 3 == 1:
      return joined(chat.stream(HI, **fields))[0]
    return chat.chat(HI, **fields | {'seed': which, 'response_format': None})

  with concurrent.futures.ThreadPoolExecutor(6) as pool:
    crowd = list(pool.map(ask, range(9)))
  for which, got in enumerate(crowd):
    if which % 3 == 0:
      assert bits(got) == bits(alone)
    elif which % 3 == 1:
      assert got == whole(alone)[0]
  one = chat.chat(HI, **fields | {'n': 1})
  assert bits(one) == bits(alone)[:1]


def named(name):
  return {'type': 'function', 'function': {'name': name}}


def allowed(mode, *names):
  return {
    'type': 'allowed_tools',
    'allowed_tools': {'mode': mode, 'tools': [named(name) for name in names]},
  }


# How a tool is asked for -> why the answer ends, if it calls; None is that it
# does not, 400 that the request is refused where there are no tools.
CHOICES = [
  ('none', None, None),
  ('auto', 'tool_calls', None),
  ('required', 'tool_calls', 400),
  (named('f'), 'stop', 400),
  (allowed('auto', 'f'), 'tool_calls', 400),
  (allowed('required', 'f'), 'tool_calls', 400),
]
FORCING = [CHOICES[i] for i in (2, 3, 5)]


def check_calls(answer, names, end):
  (choice,) = answer.choices
  assert choice.finish_reason == end
  assert choice.message.content is None
  calls = choice.message.tool_calls
  assert [call.function.name for call in calls] == names
  assert len({call.id for call in calls}) == len(calls)
  for call in calls:
    assert isinstance(json.loads(call.function.arguments)['a'], bool)


@pytest.mark.parametrize('num_tools', [0, 1, 2])
@pytest.mark.parametrize(('choice', 'end', 'without'), CHOICES)
def test_t4_every_choice_of_tools(choice, end, without, num_tools):
  """A model that calls f and then all other tools."""
  names = ['f', 'g'][: max(num_tools, 1)]
  if isinstance(choice, dict):
    names = names[:1]
  text = '\n'.join(
    f'<tool_call>\n{{"name": "{name}", "arguments": {{"a": true}}}}\n'
    '</tool_call>'
    for name in names
  )
  engine = fake_engine.FakeEngine(fake_engine.text_script(text))
  chat = api.Chat(tiny_chat.session(engine))
  fields = {
    'tools': [tool(name) for name in ('f', 'g')[:num_tools]] or None,
    'tool_choice': choice,
  }
  if not num_tools and without == 400:
    with pytest.raises(types.RequestError) as caught:
      chat.chat(HI, **fields)
    assert (caught.value.status, caught.value.param) == (400, 'tool_choice')
    return
  answer = both(chat, **fields)
  if num_tools and end:
    check_calls(answer, names, end)
  else:
    assert answer.choices[0].finish_reason == 'stop'
    assert answer.choices[0].message.content == text
    assert answer.choices[0].message.tool_calls is None


@pytest.mark.parametrize('num_tools', [1, 2])
@pytest.mark.parametrize(('choice', 'end', 'unused_without'), FORCING)
@pytest.mark.parametrize('seed', range(3))
def test_t4_forced_calls(chat, choice, end, unused_without, num_tools, seed):
  """Of random weights."""
  names = ['f', 'g'][:num_tools]
  answer = both(
    chat, tools=[tool(name) for name in names], tool_choice=choice, seed=seed,
    parallel_tool_calls=False, max_tokens=99,
  )  # fmt: skip
  (call,) = answer.choices[0].message.tool_calls
  assert call.function.name in (names if choice == 'required' else ['f'])
  check_calls(answer, [call.function.name], end)


@pytest.mark.parametrize('seed', range(4))
def test_u3_any_bytes_are_an_answer(chat, seed):
  """Drawn from all bytes: most of them are no text."""
  answer = both(chat, n=4, seed=seed, max_tokens=40, temperature=2)
  for choice in answer.choices:
    shown = bytes(one for one in choice.token_ids if one < 256)
    assert choice.message.content == shown.decode(errors='replace')
    assert '\ufffd' in choice.message.content
    choice.message.content.encode()
