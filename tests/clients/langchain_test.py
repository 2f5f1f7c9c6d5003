"""langchain-openai against a live server."""

import asyncio
import functools
import operator

from langchain_core import messages
from langchain_core import tools
import langchain_openai
import openai
import pydantic
import pytest

from tests.clients import scripted

QUESTION = messages.HumanMessage('Add 1 and 2.')
PERSON = '{"name": "Ada", "age": 36}'


class Person(pydantic.BaseModel):
  """A person."""

  name: str
  age: int


@tools.tool
def add(a: int, b: int) -> int:
  """Adds two numbers."""
  return a + b


@pytest.fixture(scope='module')
def served():
  with scripted.serve(
    ('tool: ', 'The {} it is.'),
    ('"Person"', scripted.call('Person', name='Ada', age=36)),
    ('Ada', PERSON),
    ('"add"', 'Well.' + scripted.call('add', a=1, b=2)),
    ('', 'hi'),
  ) as one:
    yield one


@pytest.fixture
def model(served):
  """The framework's model on clients of ours, which are closed in the end."""
  args = {**served.client_args, '_strict_response_validation': True}
  client, async_client = openai.OpenAI(**args), openai.AsyncOpenAI(**args)
  with client:
    yield langchain_openai.ChatOpenAI(
      model=scripted.MODEL_ID,
      api_key='none',
      root_client=client,
      client=client.chat.completions,
      root_async_client=async_client,
      async_client=async_client.chat.completions,
      stream_usage=True,
    )
  asyncio.run(async_client.close())


def joined(chunks):
  return functools.reduce(operator.add, chunks)


def test_invoke(model):
  answer = model.invoke('hello')
  assert answer.content == 'hi'
  assert answer.usage_metadata['output_tokens'] == 3
  assert answer.response_metadata['system_fingerprint'] == 'fp_fake'


def test_usage_in_streams(model):
  whole = model.invoke('hello')
  chunks = list(model.stream('hello'))
  assert len(chunks) > 2
  streamed = joined(chunks)
  assert streamed.content == whole.content
  assert streamed.usage_metadata == whole.usage_metadata
  assert streamed.response_metadata['finish_reason'] == 'stop'


@pytest.mark.parametrize(
  ('fields', 'finish_reason'),
  [
    ({}, 'tool_calls'),
    ({'tool_choice': 'any', 'parallel_tool_calls': False}, 'tool_calls'),
    ({'tool_choice': 'add', 'strict': True}, 'stop'),
  ],
)
@pytest.mark.parametrize('is_stream', [False, True])
def test_two_turns(model, fields, finish_reason, is_stream):
  with_tools = model.bind_tools([add], **fields)
  if is_stream:
    said = joined(with_tools.stream([QUESTION]))
  else:
    said = with_tools.invoke([QUESTION])
  assert said.content == 'Well.'
  assert not said.invalid_tool_calls
  assert said.response_metadata['finish_reason'] == finish_reason
  assert [call['args'] for call in said.tool_calls] == [{'a': 1, 'b': 2}]
  results = [add.invoke(call) for call in said.tool_calls]
  last = model.bind_tools([add]).invoke([QUESTION, said, *results])
  assert last.content == 'The tool: 3 it is.'


@pytest.mark.parametrize(
  ('method', 'fields'),
  [
    ('json_schema', {}),
    ('json_schema', {'strict': True}),
    ('function_calling', {}),
    ('function_calling', {'strict': True}),
    ('json_mode', {}),
  ],
)
def test_structured_output(served, model, method, fields):
  typed = model.with_structured_output(Person, method=method, **fields)
  assert typed.invoke('Ada, in JSON.') == Person(name='Ada', age=36)
  assert served.engine.requests[-1].constraint is not None


# The client's own: it writes a message whose type it has left open.
@pytest.mark.filterwarnings('ignore:Pydantic serializer warnings:UserWarning')
def test_structured_output_in_a_stream(model):
  typed = model.with_structured_output(Person, method='json_schema')
  assert list(typed.stream('Ada'))[-1] == Person(name='Ada', age=36)


def test_logprobs(model):
  answer = model.bind(logprobs=True, top_logprobs=2).invoke('hello')
  entries = answer.response_metadata['logprobs']['content']
  assert [entry['token'] for entry in entries] == ['h', 'i']
  assert all(len(entry['top_logprobs']) == 2 for entry in entries)


def test_settings_arrive(served, model):
  model.bind(
    temperature=0.5, seed=7, max_tokens=99, stop=['#'], extra_body={'top_k': 3}
  ).invoke('hello')
  request = served.engine.requests[-1]
  sampling = request.sampling
  assert (request.seed, request.max_tokens) == (7, 99)
  assert (sampling.temperature, sampling.top_k) == (0.5, 3)


def test_an_unknown_model(model):
  with pytest.raises(openai.NotFoundError):
    model.bind(model='other').invoke('hello')
