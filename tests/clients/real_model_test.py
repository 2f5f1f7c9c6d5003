"""The clients on the real default model: what they ask for is what they get."""

import asyncio
import json
from typing import Literal

from langchain_core import messages
from langchain_core import tools
import langchain_openai
import openai
import pydantic
import pydantic_ai
from pydantic_ai.models import openai as openai_model
from pydantic_ai.providers import openai as openai_provider
import pytest

import chatjax
from tests.serve import harness

pytestmark = pytest.mark.real_model
GREEDY = {'temperature': 0, 'max_tokens': 100}
# A small model would rather repeat a call than speak of its result.
SO = 'How many degrees is that? Answer in one English sentence.'
WEATHER = 'What is the weather like in Oslo right now?'


class City(pydantic.BaseModel):
  """A city."""

  name: str
  country: str
  continent: Literal['Africa', 'America', 'Asia', 'Australia', 'Europe']


class Mood(pydantic.BaseModel):
  """How the sea is."""

  word: Literal['calm', 'deep', 'grey', 'rough', 'wide', 'wild']
  is_cold: bool


class Report(pydantic.BaseModel):
  """What the weather is like."""

  city: str
  degrees: int


def weather(city: str) -> str:
  """The weather in a city right now."""
  return f'{city}: 17 degrees, heavy rain'


@pytest.fixture(scope='module')
def served():
  with (
    chatjax.load(max_rows=4) as model,
    harness.Served(session=model.session) as one,
  ):
    yield one


@pytest.fixture
def model_id(served):
  with served.client() as client:
    return client.models.list().data[0].id


@pytest.fixture
def completions(served):
  with openai.OpenAI(
    **served.client_args, _strict_response_validation=True
  ) as client:
    yield client.chat.completions


@pytest.fixture
def langchain(served, model_id):
  with openai.OpenAI(**served.client_args) as client:
    yield langchain_openai.ChatOpenAI(
      model=model_id,
      api_key='none',
      root_client=client,
      client=client.chat.completions,
      stream_usage=True,
      **GREEDY,
    )


def test_parse(completions, model_id):
  question = {'role': 'user', 'content': 'Tell me about Paris as JSON.'}
  answer = completions.parse(
    model=model_id, messages=[question], response_format=City, **GREEDY
  )
  parsed = answer.choices[0].message.parsed
  assert (parsed.name, parsed.continent) == ('Paris', 'Europe')


def test_a_hot_model_keeps_to_the_schema(completions, model_id):
  """Where no answer would be JSON by itself."""
  with completions.stream(
    model=model_id,
    messages=[{'role': 'user', 'content': 'Sing of the sea!'}],
    response_format=Mood,
    temperature=2,
    seed=5,
    n=4,
  ) as stream:
    final = stream.get_final_completion()
  moods = [choice.message.parsed for choice in final.choices]
  assert all(isinstance(mood, Mood) for mood in moods)
  assert len({mood.word for mood in moods}) > 1


@pytest.mark.parametrize('is_stream', [False, True])
def test_a_forced_call(completions, model_id, is_stream):
  asked = {
    'model': model_id,
    'messages': [{'role': 'user', 'content': 'Sing of the sea at Oslo!'}],
    'tools': [openai.pydantic_function_tool(Report)],
    'tool_choice': {'type': 'function', 'function': {'name': 'Report'}},
    **GREEDY,
  }
  if is_stream:
    with completions.stream(**asked) as stream:
      answer = stream.get_final_completion()
  else:
    answer = completions.parse(**asked)
  (call,) = answer.choices[0].message.tool_calls
  assert isinstance(call.function.parsed_arguments, Report)
  assert answer.choices[0].finish_reason == 'stop'


def test_a_model_that_is_free_to_call(completions, model_id):
  tool = {
    'name': 'look_outside',
    'description': 'The weather in a city right now.',
    'parameters': {
      'type': 'object',
      'properties': {'city': {'type': 'string'}},
      'required': ['city'],
      'additionalProperties': False,
    },
  }
  asked = {'tools': [{'type': 'function', 'function': tool}], **GREEDY}
  turns = [{'role': 'user', 'content': WEATHER}]
  said = completions.create(model=model_id, messages=turns, **asked).choices[0]
  assert said.finish_reason == 'tool_calls'
  (call,) = said.message.tool_calls
  assert json.loads(call.function.arguments) == {'city': 'Oslo'}
  result = {'role': 'tool', 'tool_call_id': call.id, 'content': weather('Oslo')}
  last = completions.create(
    model=model_id,
    messages=[*turns, said.message, result, {'role': 'user', 'content': SO}],
    tool_choice='none',
    **asked,
  )
  assert '17' in last.choices[0].message.content


def test_two_turns_of_pydantic_ai(served, model_id):
  """Every turn must call: the tool first, then the output."""
  called = []

  def get_weather(city: str) -> str:
    """Get the current weather in a city."""
    called.append(city)
    return weather(city)

  async def run():
    async with openai.AsyncOpenAI(**served.client_args) as client:
      provider = openai_provider.OpenAIProvider(openai_client=client)
      agent = pydantic_ai.Agent(
        openai_model.OpenAIChatModel(model_id, provider=provider),
        output_type=Report,
        tools=[get_weather],
        model_settings={**GREEDY, 'parallel_tool_calls': False},
      )
      limits = pydantic_ai.UsageLimits(request_limit=4)
      return await agent.run(WEATHER, usage_limits=limits)

  run = asyncio.run(run())
  assert called == ['Oslo']
  assert run.usage.requests == 2
  assert run.output == Report(city='Oslo', degrees=17)


def test_two_turns_of_langchain(langchain):
  tool = tools.tool(weather)
  with_tools = langchain.bind_tools(
    [tool], tool_choice='any', parallel_tool_calls=False
  )
  question = messages.HumanMessage(WEATHER)
  said = with_tools.invoke([question])
  (call,) = said.tool_calls
  assert 'Oslo' in call['args']['city']
  turns = [question, said, tool.invoke(call), messages.HumanMessage(SO)]
  chunks = list(langchain.bind_tools([tool], tool_choice='none').stream(turns))
  assert '17' in ''.join(chunk.content for chunk in chunks)
  usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
  assert [one['output_tokens'] > 5 for one in usage] == [True]


@pytest.mark.parametrize('method', ['json_schema', 'function_calling'])
def test_structured_output_of_langchain(langchain, method):
  typed = langchain.with_structured_output(City, method=method)
  assert typed.invoke('Tell me about the city of Tokyo.').continent == 'Asia'
