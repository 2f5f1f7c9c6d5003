"""pydantic-ai against a live server: tool loops and typed outputs."""

import asyncio

import openai
import pydantic
import pydantic_ai
from pydantic_ai.models import openai as openai_model
from pydantic_ai.providers import openai as openai_provider
import pytest

from tests.clients import scripted

QUESTION = 'Add 1 and 2.'


class Person(pydantic.BaseModel):
  """A person."""

  name: str
  age: int


@pytest.fixture(scope='module')
def served():
  with scripted.serve(
    ('tool: 36', scripted.call('final_result', name='Ada', age=36)),
    ('tool: 2', scripted.call('final_result', name='Twins', age=2)),
    ('tool: ', 'The {} it is.'),
    ('Look up', scripted.call('look_up', name='Ada')),
    ('Ages', scripted.call('add', a=1, b=1) * 2),
    (QUESTION, scripted.call('add', a=1, b=2)),
    ('Ada', '{"name": "Ada", "age": 36}'),
  ) as one:
    yield one


def with_model(served, use):
  """What the coroutine function `use` makes of a model."""

  async def run():
    async with openai.AsyncOpenAI(
      **served.client_args, _strict_response_validation=True
    ) as client:
      return await use(
        openai_model.OpenAIChatModel(
          scripted.MODEL_ID,
          provider=openai_provider.OpenAIProvider(openai_client=client),
        )
      )

  return asyncio.run(run())


def adder(model, **fields):
  agent = pydantic_ai.Agent(model, **fields)
  called = []

  @agent.tool_plain
  def add(a: int, b: int) -> int:
    """Adds two numbers."""
    called.append((a, b))
    return a + b

  return agent, called


def test_two_turns(served):
  async def use(model):
    agent, called = adder(model)
    run = await agent.run(QUESTION)
    return run, called

  run, called = with_model(served, use)
  assert run.output == 'The tool: 3 it is.'
  assert called == [(1, 2)]
  usage = run.usage
  assert (usage.requests, usage.tool_calls) == (2, 1)
  sent = served.engine.requests[-2:]
  assert usage.input_tokens == sum(len(one.prompt_ids) for one in sent)


def test_two_streamed_turns(served):
  async def use(model):
    agent, called = adder(model)
    async with agent.run_stream(QUESTION) as run:
      parts = [text async for text in run.stream_text(delta=True)]
    return parts, called, run.usage

  parts, called, usage = with_model(served, use)
  assert ''.join(parts) == 'The tool: 3 it is.'
  assert called == [(1, 2)]
  assert usage.output_tokens > len('The tool: 3 it is.')


def test_a_loop_in_which_every_turn_must_call(served):
  """With an output tool, the client asks for `tool_choice: required`."""

  async def use(model):
    agent = pydantic_ai.Agent(model, output_type=Person)

    @agent.tool_plain
    def look_up(name: str) -> int:
      """How old somebody is."""
      return {'Ada': 36}[name]

    return await agent.run('Look up Ada.')

  run = with_model(served, use)
  assert run.output == Person(name='Ada', age=36)
  assert run.usage.requests == 2


def test_two_calls_in_one_turn(served):
  async def use(model):
    agent, called = adder(model, output_type=Person)
    run = await agent.run('Ages?')
    return run, called

  run, called = with_model(served, use)
  assert called == [(1, 1)] * 2
  assert run.output == Person(name='Twins', age=2)


@pytest.mark.parametrize(
  'output', [pydantic_ai.NativeOutput, pydantic_ai.PromptedOutput]
)
def test_outputs_that_are_json(served, output):
  """By a schema, and by a prompt and any JSON object."""

  async def use(model):
    agent = pydantic_ai.Agent(model, output_type=output(Person))
    return (await agent.run('Who is Ada?')).output

  assert with_model(served, use) == Person(name='Ada', age=36)
  assert served.engine.requests[-1].constraint is not None


def test_one_tool_of_two(served):
  """The client asks for `allowed_tools`."""

  async def use(model):
    agent, called = adder(model)
    choice = pydantic_ai.ToolOrOutput(function_tools=['add'])
    await agent.run(QUESTION, model_settings={'tool_choice': choice})
    return called

  assert with_model(served, use) == [(1, 2)]


def test_settings_arrive(served):
  async def use(model):
    agent, _ = adder(model)
    settings = {
      'temperature': 0.5, 'seed': 7, 'max_tokens': 99, 'top_p': 0.5,
      'presence_penalty': 1.5, 'logit_bias': {'5': 2}, 'stop_sequences': ['#'],
      'parallel_tool_calls': False, 'extra_body': {'top_k': 3},
    }  # fmt: skip
    await agent.run(QUESTION, model_settings=settings)

  with_model(served, use)
  request = served.engine.requests[-1]
  sampling = request.sampling
  assert (request.seed, request.max_tokens) == (7, 99)
  assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.5, 3)
  assert sampling.presence_penalty == 1.5
  assert sampling.logit_bias == {5: 2}


def test_an_unknown_model(served):
  async def use(model):
    other = openai_model.OpenAIChatModel('other', provider=model._provider)
    await pydantic_ai.Agent(other).run('hi')

  with pytest.raises(pydantic_ai.ModelHTTPError) as caught:
    with_model(served, use)
  assert caught.value.status_code == 404
