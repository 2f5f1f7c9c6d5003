"""The official Python client, with its strict validation, on tools and JSON."""

import asyncio
from typing import Literal

import openai
from openai.types import chat as openai_chat
import pydantic
import pytest

from tests.clients import scripted

PERSON = '{"name": "Ada", "age": 36}'
ASKED = {'model': scripted.MODEL_ID}
TURN = {'role': 'user', 'content': 'Add 1 and 2.'}
WHO = [{'role': 'user', 'content': 'Who is Ada?'}]


class Person(pydantic.BaseModel):
  """A person."""

  name: str
  age: int
  mood: Literal['glad', 'sad'] | None = None


class Add(pydantic.BaseModel):
  """Adds two numbers."""

  a: int
  b: int


TOOLS = [openai.pydantic_function_tool(Add)]


@pytest.fixture(scope='module')
def served():
  with scripted.serve(
    ('Ada', PERSON),
    ('tool: ', 'The {} it is.'),
    (
      'Subtract',
      scripted.call('Add', a=1, b=-2) + scripted.call('Add', a=3, b=-4),
    ),
    ('Add', 'Well.' + scripted.call('Add', a=1, b=2)),
    ('', 'hi'),
  ) as one:
    yield one


@pytest.fixture
def completions(served):
  with openai.OpenAI(
    **served.client_args, _strict_response_validation=True
  ) as client:
    yield client.chat.completions


def test_parse_gives_the_type_that_was_asked_for(completions):
  answer = completions.parse(**ASKED, messages=WHO, response_format=Person)
  assert answer.choices[0].message.parsed == Person(name='Ada', age=36)


def test_parse_says_that_an_answer_was_cut(completions):
  with pytest.raises(openai.LengthFinishReasonError) as caught:
    completions.parse(
      **ASKED, messages=WHO, response_format=Person, max_tokens=5
    )
  assert caught.value.completion.usage.completion_tokens == 5


def test_parse_gives_typed_arguments(completions):
  answer = completions.parse(**ASKED, messages=[TURN], tools=TOOLS)
  assert answer.choices[0].finish_reason == 'tool_calls'
  call = answer.choices[0].message.tool_calls[0]
  assert call.function.parsed_arguments == Add(a=1, b=2)
  assert answer.choices[0].message.content == 'Well.'


def answered(message):
  """What follows the calls of a message: the message, and their results."""
  yield message
  for call in message.tool_calls:
    got = call.function.parsed_arguments
    yield {
      'role': 'tool',
      'tool_call_id': call.id,
      'content': f'{got.a + got.b}',
    }


@pytest.mark.parametrize('is_stream', [False, True])
def test_two_turns(completions, is_stream):
  """The helpers' messages go back with what the helpers left in them."""
  asked = {**ASKED, 'tools': TOOLS}
  if is_stream:
    with completions.stream(**asked, messages=[TURN]) as stream:
      first = stream.get_final_completion()
  else:
    first = completions.parse(**asked, messages=[TURN])
  turns = [TURN, *answered(first.choices[0].message)]
  last = completions.create(**asked, messages=turns)
  assert last.choices[0].message.content == 'The tool: 3 it is.'
  assert last.choices[0].message.tool_calls is None


# The client's own: it writes a message whose type it has left open.
@pytest.mark.filterwarnings('ignore:Pydantic serializer warnings:UserWarning')
def test_a_typed_answer_is_sent_back(completions):
  first = completions.parse(**ASKED, messages=WHO, response_format=Person)
  turns = [*WHO, first.choices[0].message, TURN]
  last = completions.create(**ASKED, messages=turns)
  assert last.choices[0].message.content == PERSON


def test_events_of_a_typed_stream(completions):
  with completions.stream(
    **ASKED, messages=WHO, response_format=Person
  ) as stream:
    events = list(stream)
  deltas = [event for event in events if event.type == 'content.delta']
  assert ''.join(event.delta for event in deltas) == PERSON
  assert len(deltas) > 3
  assert {'name': 'Ada'} in [event.parsed for event in deltas]
  (done,) = (event for event in events if event.type == 'content.done')
  assert done.parsed == Person(name='Ada', age=36)
  final = stream.get_final_completion()
  assert final.choices[0].message.parsed == done.parsed


@pytest.mark.parametrize(
  ('word', 'wanted'),
  [
    ('Add', [Add(a=1, b=2)]),
    ('Subtract', [Add(a=1, b=-2), Add(a=3, b=-4)]),
  ],
)
def test_events_of_streamed_calls(completions, word, wanted):
  with completions.stream(
    **ASKED,
    messages=[{'role': 'user', 'content': word}],
    tools=TOOLS,
    stream_options={'include_usage': True},
  ) as stream:
    events = list(stream)
  kind = 'tool_calls.function.arguments'
  done = [event for event in events if event.type == f'{kind}.done']
  assert [event.parsed_arguments for event in done] == wanted
  assert [event.index for event in done] == list(range(len(wanted)))
  for event in done:
    parts = [
      one.arguments_delta
      for one in events
      if one.type == f'{kind}.delta' and one.index == event.index
    ]
    assert ''.join(parts) == event.arguments
  final = stream.get_final_completion()
  assert final.choices[0].finish_reason == 'tool_calls'
  assert final.usage.completion_tokens > 0
  ids = {call.id for call in final.choices[0].message.tool_calls}
  assert len(ids) == len(wanted)


def test_a_streamed_call_equals_a_whole_one(completions):
  whole = completions.create(**ASKED, messages=[TURN], tools=TOOLS)
  with completions.stream(**ASKED, messages=[TURN], tools=TOOLS) as stream:
    streamed = stream.get_final_completion()
  want, got = whole.choices[0].message, streamed.choices[0].message
  assert got.content == want.content
  assert [call.function.arguments for call in got.tool_calls] == [
    call.function.arguments for call in want.tool_calls
  ]


def test_logprobs_are_the_typed_streams_too(completions):
  asked = {'messages': WHO, 'logprobs': True, 'top_logprobs': 2, **ASKED}
  with completions.stream(**asked, response_format=Person) as stream:
    events = list(stream)
  (done,) = (event for event in events if event.type == 'logprobs.content.done')
  plain = completions.create(**asked)
  assert done.content == plain.choices[0].logprobs.content


def test_raw_responses(completions):
  raw = completions.with_raw_response.create(**ASKED, messages=WHO)
  assert raw.status_code == 200
  assert raw.headers['content-type'] == 'application/json'
  answer = raw.parse()
  assert answer.choices[0].message.content == PERSON
  # What support asks for is what the server's log line begins with.
  assert raw.headers['x-request-id'] == answer.id == answer._request_id
  raw = completions.with_raw_response.parse(
    **ASKED, messages=WHO, response_format=Person
  )
  assert raw.parse().choices[0].message.parsed.name == 'Ada'


def test_streaming_responses(completions):
  with completions.with_streaming_response.create(
    **ASKED, messages=WHO, stream=True
  ) as raw:
    lines = [line for line in raw.iter_lines() if line]
  assert raw.headers['x-request-id'] in lines[0]
  assert lines[-1] == 'data: [DONE]'


def test_an_error_names_the_field(completions):
  with pytest.raises(openai.BadRequestError) as caught:
    completions.create(**ASKED, messages=WHO, tool_choice='required')
  error = caught.value
  assert (error.param, error.type) == ('tool_choice', 'invalid_request_error')
  with pytest.raises(openai.NotFoundError) as caught:
    completions.create(model='other', messages=WHO)
  assert caught.value.code == 'model_not_found'


def test_strict_validation_sees_what_the_usual_client_lets_pass(served):
  """An object of another type, for want of a wrong answer of the server."""
  with openai.OpenAI(**served.client_args) as client:
    client.get('/models', cast_to=openai_chat.ChatCompletion)
    strict = client.copy(_extra_kwargs={'_strict_response_validation': True})
    with pytest.raises(openai.APIResponseValidationError):
      strict.get('/models', cast_to=openai_chat.ChatCompletion)


def test_async(served):
  async def ask():
    async with openai.AsyncOpenAI(
      **served.client_args, _strict_response_validation=True
    ) as client:
      completions = client.chat.completions

      async def events():
        async with completions.stream(
          **ASKED, messages=[TURN], tools=TOOLS
        ) as stream:
          return [event async for event in stream]

      return await asyncio.gather(
        completions.parse(**ASKED, messages=WHO, response_format=Person),
        events(),
        completions.with_raw_response.create(**ASKED, messages=WHO),
      )

  parsed, events, raw = asyncio.run(ask())
  assert parsed.choices[0].message.parsed.age == 36
  assert events[-1].parsed_arguments == Add(a=1, b=2)
  assert raw.parse().choices[0].message.content == PERSON
