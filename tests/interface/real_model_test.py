"""Tools and schemas on a real model: what was forced is right."""

import concurrent.futures
import json

import jsonschema
import pytest

import chatjax
from tests.interface import prompts

pytestmark = pytest.mark.real_model

ROWS = 8
SCHEMAS = [
  {
    'city': {'type': 'string'},
    'inhabitants': {'type': 'integer', 'minimum': 0, 'maximum': 40000000},
  },
  {
    'name': {'type': 'string', 'maxLength': 20},
    'age': {'type': 'integer', 'minimum': 0, 'maximum': 120},
  },
  {
    'colors': {
      'type': 'array',
      'maxItems': 4,
      'items': {'type': 'string', 'enum': ['red', 'green', 'blue', 'grey']},
    }
  },
  {'is_true': {'type': 'boolean'}, 'why': {'type': 'string', 'maxLength': 40}},
  {'x': {'type': 'number'}, 'y': {'type': ['number', 'null']}},
  {
    'kind': {'const': 'book'},
    'pages': {'type': 'integer', 'minimum': 1, 'maximum': 2000},
  },
  {
    'person': {
      'type': 'object',
      'properties': {
        'first': {'type': 'string', 'maxLength': 12},
        'last': {'type': 'string', 'maxLength': 12},
      },
      'required': ['first', 'last'],
      'additionalProperties': False,
    }
  },
  {'day': {'type': 'string', 'format': 'date'}},
  {'code': {'type': 'string', 'pattern': '^[A-Z]{3}-[0-9]{4}$'}},
  {
    'value': {
      'anyOf': [
        {'type': 'integer', 'minimum': 0, 'maximum': 999},
        {'type': 'string', 'maxLength': 10},
      ]
    }
  },
]


@pytest.fixture(scope='module')
def chat():
  with chatjax.load(max_rows=ROWS) as model:
    yield model
    assert model.session.engine.num_pages_used == 0
    assert model.session.engine.num_compilations == 0


def crowd(ask, items):
  """All of them, with every row busy."""
  with concurrent.futures.ThreadPoolExecutor(2 * ROWS) as pool:
    return list(pool.map(ask, items))


def test_t4_a_required_call_is_the_right_one(chat):
  schemas = {name: prompts.schema(p) for name, _, p in prompts.TOOLS}

  def ask(item):
    prompt, _ = item
    answer = chat.chat(
      [{'role': 'user', 'content': prompt}], tools=prompts.tools(),
      tool_choice='required', parallel_tool_calls=False, temperature=0,
      max_tokens=200,
    )  # fmt: skip
    return answer.choices[0]

  right, wrong = 0, []
  for (prompt, name), choice in zip(
    prompts.PROMPTS, crowd(ask, prompts.PROMPTS), strict=True
  ):
    assert choice.finish_reason == 'tool_calls'
    (call,) = choice.message.tool_calls
    arguments = json.loads(call.function.arguments)
    jsonschema.validate(arguments, schemas[call.function.name])
    if call.function.name == name:
      right += 1
    else:
      wrong.append((prompt, call.function.name))
  assert len(prompts.PROMPTS) == 100
  assert right >= 95, (right, wrong)


def strict(fields):
  return {
    'type': 'json_schema',
    'json_schema': {
      'name': 'answer', 'strict': True, 'schema': prompts.schema(fields),
    },
  }  # fmt: skip


def test_s1_a_hundred_answers_are_of_their_schemas(chat):
  items = [(i, seed) for i in range(len(SCHEMAS)) for seed in range(10)]

  def ask(item):
    i, seed = item
    answer = chat.chat(
      [{'role': 'user', 'content': 'Make up an example. Answer in JSON.'}],
      response_format=strict(SCHEMAS[i]), seed=seed, max_tokens=300,
    )  # fmt: skip
    return answer.choices[0]

  choices = crowd(ask, items)
  for (i, _), choice in zip(items, choices, strict=True):
    assert choice.finish_reason == 'stop', choice
    jsonschema.validate(
      json.loads(choice.message.content),
      prompts.schema(SCHEMAS[i]),
      format_checker=jsonschema.FormatChecker(),
    )
  assert len({choice.message.content for choice in choices}) > 50


def test_s5_a_schema_with_n_stream_and_seed_in_a_crowd(chat):
  ask = {
    'messages': [{'role': 'user', 'content': 'Invent two people, as JSON.'}],
    'response_format': strict(SCHEMAS[6]), 'seed': 11, 'n': 3,
    'logprobs': True, 'max_tokens': 80, 'return_token_ids': True,
  }  # fmt: skip
  alone = chat.chat(**ask)

  def bits(choice):
    return choice.token_ids, [x.logprob for x in choice.logprobs.content]

  def streamed(_):
    ids, told = [[] for _ in range(3)], [[] for _ in range(3)]
    for chunk in chat.stream(**ask):
      for choice in chunk.choices:
        ids[choice.index] += choice.token_ids or []
        if choice.logprobs:
          told[choice.index] += [x.logprob for x in choice.logprobs.content]
    return list(zip(ids, told, strict=True))

  for got in crowd(streamed, range(4)):
    assert got == [bits(choice) for choice in alone.choices]
  for choice in alone.choices:
    jsonschema.validate(
      json.loads(choice.message.content), prompts.schema(SCHEMAS[6])
    )
  one = chat.chat(**{**ask, 'n': 1, 'speculation': 'off'})
  assert bits(one.choices[0]) == bits(alone.choices[0])
