"""What the official client's helpers send is understood."""

import json

import httpx
import openai
from openai.types import chat
import pydantic
import pytest

from chatjax.protocol import request as request_lib
from tests.protocol import samples


class Weather(pydantic.BaseModel):
  """Looks out of the window."""

  city: str
  days: list[int] = pydantic.Field(description='from today')


def sent(**fields):
  """The request that `parse` makes of its arguments."""
  bodies = []

  def answer(request):
    bodies.append(request.content)
    return httpx.Response(400, json={'error': {'message': 'x'}})

  transport = httpx.MockTransport(answer)
  with (
    openai.OpenAI(
      api_key='x',
      base_url='http://x/v1',
      http_client=httpx.Client(transport=transport),
    ) as client,
    pytest.raises(openai.BadRequestError),
  ):
    client.chat.completions.parse(**{**samples.body(), **fields})
  (body,) = bodies
  return request_lib.parse(json.loads(body)).request


def test_what_the_helpers_parsed_is_sent_back():
  """They leave their own fields in the message; the text beside them counts."""
  call = chat.ParsedFunctionToolCall(
    id='a',
    type='function',
    index=0,
    function=chat.ParsedFunction(
      name='f', arguments='{"x": 1}', parsed_arguments={'x': 2}
    ),
  )
  said = chat.ParsedChatCompletionMessage(
    role='assistant', content='5', parsed={'y': 6}, tool_calls=[call]
  )
  result = {'role': 'tool', 'tool_call_id': 'a', 'content': 'x'}
  _, shown, _ = sent(messages=[samples.USER, said, result]).messages
  assert shown['content'] == '5'
  assert set(shown) == {'role', 'content', 'tool_calls'}
  assert shown['tool_calls'] == [
    {
      'type': 'function',
      'id': 'a',
      'function': {'name': 'f', 'arguments': {'x': 1}},
    }
  ]


def test_models_as_formats():
  grammar = sent(response_format=Weather).grammar
  assert grammar.kind == 'json_schema'
  assert grammar.is_strict
  assert grammar.source['required'] == ['city', 'days']
  assert grammar.source['additionalProperties'] is False


def test_models_as_tools():
  request = sent(
    tools=[openai.pydantic_function_tool(Weather, name='weather')],
    tool_choice={'type': 'function', 'function': {'name': 'weather'}},
    parallel_tool_calls=False,
  )
  (tool,) = request.tools
  assert (tool.name, tool.is_strict) == ('weather', True)
  assert tool.description == 'Looks out of the window.'
  assert tool.parameters['properties']['city']['type'] == 'string'
  assert request.tool_choice.is_named
  assert not request.parallel_tool_calls
