"""One table, and all that has to be the same as it."""

from collections.abc import Iterable
import json
import pathlib
import runpy
import types as python_types
import typing

from openai.types.chat import completion_create_params
import pydantic
import pytest
import typing_extensions

from chatjax import types
from chatjax.protocol import create
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import parameters
from chatjax.protocol import request as request_lib
from chatjax.protocol import strict

ROOT = pathlib.Path(__file__).parents[2]
PATHS = [row.path for row in parameters.TABLE]
IMPLEMENTED = set(PATHS) - parameters.REFUSED
# Types that hold others: `a[]` inside of the first, `a` inside of the second.
ARRAYS = (list, Iterable)
UNIONS = (typing.Union, python_types.UnionType)


def inside(annotation, path, fields_of):
  """(path, object type) of all objects at or inside of a field."""
  origin = typing.get_origin(annotation)
  if origin in (typing.Annotated, *UNIONS):
    for one in typing.get_args(annotation):
      yield from inside(one, path, fields_of)
  elif origin in (typing.Required, typing_extensions.Required):
    yield from inside(typing.get_args(annotation)[0], path, fields_of)
  elif any(
    base in (origin, *getattr(origin, '__mro__', ())) for base in ARRAYS
  ):
    for one in typing.get_args(annotation):
      yield from inside(one, f'{path}[]', fields_of)
  elif fields_of(annotation) is not None:
    yield path, annotation


def walk(kind, path, fields_of):
  """Paths of all fields of an object type, at any depth."""
  for name, annotation in fields_of(kind).items():
    field = parameters.join(path, name)
    yield field
    for inner_path, inner in inside(annotation, field, fields_of):
      yield from walk(inner, inner_path, fields_of)


def official_fields(kind):
  if not typing_extensions.is_typeddict(kind):
    return None
  return typing_extensions.get_type_hints(kind, include_extras=True)


def our_fields(kind):
  if not (isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)):
    return None
  hints = typing.get_type_hints(kind, include_extras=True)
  return {
    field.alias or name: hints[name]
    for name, field in kind.model_fields.items()
  }


def official_paths():
  paths = set()
  for kind in typing.get_args(completion_create_params.CompletionCreateParams):
    paths |= set(walk(kind, '', official_fields))
  return paths


def is_covered(path):
  """A refused field is refused with all that is inside of it."""
  return path in PATHS or any(
    path.startswith((f'{refused}.', f'{refused}['))
    for refused in parameters.REFUSED
  )


def test_the_walk_over_the_official_types_sees_their_depths():
  assert {
    'stream', 'tools[].custom.format.grammar.definition',
    'messages[].tool_calls[].custom.input', 'web_search_options.user_location'
    '.approximate.city', 'messages[].content[].file.file_id',
    'tool_choice.allowed_tools.tools', 'prediction.content[].text',
    'response_format.json_schema.schema', 'audio.voice.id',
    'messages[].content[].image_url.detail', 'function_call.name',
  } <= official_paths()  # fmt: skip


def test_every_field_of_the_official_client_is_in_the_table():
  assert not sorted(p for p in official_paths() if not is_covered(p))


def test_extensions_are_what_the_official_client_does_not_have():
  # The client leaves the tools in there open; the interface does not.
  known = official_paths() | {
    p for p in PATHS if p.startswith('tool_choice.allowed_tools.tools[]')
  }
  known.add('messages[].annotations')  # of answers that are sent back
  for row in parameters.TABLE:
    assert row.is_extension == (row.path not in known), row.path


def test_the_table_has_what_the_models_have():
  ours = set(walk(create.CreateChatCompletion, '', our_fields))
  assert ours == IMPLEMENTED


def test_models_know_their_path():
  def check(kind, path):
    assert kind.path == path
    for name, annotation in our_fields(kind).items():
      field = parameters.join(path, name)
      for inner_path, inner in inside(annotation, field, our_fields):
        check(inner, inner_path)

  check(create.CreateChatCompletion, '')
  assert issubclass(create.CreateChatCompletion, strict.Strict)


def test_rows_are_unique_and_say_something():
  assert len(PATHS) == len(set(PATHS))
  for row in parameters.TABLE:
    assert row.does.endswith('.')
    is_refused = row.status is parameters.Status.REFUSED
    assert bool(row.allowed) == (
      row.path in parameters.NEUTRAL or not is_refused
    )
    assert '|' not in row.allowed + row.does


def wrapped(path, value):
  """A request with `value` at `path`, and the path in the words of errors."""
  if path.startswith('messages[].content[].'):
    *outer, name = path.removeprefix('messages[].content[].').split('.')
    part = {'type': 'text', 'text': 'x', name: value}
    if outer:
      part = {'type': 'file', 'file': {name: value}}
    messages = [{'role': 'user', 'content': [part]}]
    return {'messages': messages}, path.replace('[]', '[0]')
  if path.startswith('messages[].'):
    name = path.removeprefix('messages[].')
    message = {'role': 'assistant', 'content': 'x', name: value}
    return {'messages': [message]}, path.replace('[]', '[0]')
  if path.startswith('prediction.content[].'):
    name = path.removeprefix('prediction.content[].')
    part = {'type': 'text', 'text': 'x', name: value}
    prediction = {'type': 'content', 'content': [part]}
    return {'prediction': prediction}, path.replace('[]', '[0]')
  name, _, inner = path.partition('.')
  return {name: {inner: value} if inner else value}, path


@pytest.mark.parametrize('path', sorted(parameters.REFUSED))
def test_what_is_refused(path):
  neutral = parameters.NEUTRAL.get(path, ())
  for value in (0, 1, True, 'x', '', ['x'], [{}], {}, {'type': 'x'}, *neutral):
    fields, param = wrapped(path, value)
    body = {'model': 'm', 'messages': [{'role': 'user', 'content': 'x'}]}
    if parameters.is_neutral(path, value):
      request_lib.parse(body | fields)
      continue
    with pytest.raises(types.RequestError) as caught:
      request_lib.parse(body | fields)
    error = caught.value
    assert (error.param, error.code) == (param, 'unsupported_parameter')
    assert error.status == 400
    assert all(json.dumps(one) in str(error) for one in neutral)


@pytest.mark.parametrize(
  'kind', ['image_url', 'input_audio', 'prompt_cache_breakpoint']
)
def test_parts_that_are_refused_by_their_type(kind):
  part = {'type': kind, kind: {'url': 'x'}}
  body = {'model': 'm', 'messages': [{'role': 'user', 'content': [part]}]}
  with pytest.raises(types.RequestError) as caught:
    request_lib.parse(body)
  assert caught.value.param == 'messages[0].content[0].type'
  assert caught.value.code == 'unsupported_parameter'


def test_capabilities():
  told = parameters.capabilities('some-model', limits_lib.Limits(max_n=3))
  assert json.loads(json.dumps(told)) == told
  assert told['model'] == 'some-model'
  rows = {row['path']: row for row in told['parameters']}
  assert list(rows) == PATHS
  assert rows['temperature'] == {
    'path': 'temperature',
    'status': 'implemented',
    'allowed': 'number, 0 to 2',
    'does': 'Divides the logits; 0 takes the most likely token, the lowest id '
    'of equals.',
    'extension': False,
  }
  assert rows['n']['allowed'] == 'integer, 1 to 3'
  assert rows['audio']['status'] == 'refused'
  assert rows['top_k']['extension']


def test_the_page_is_up_to_date():
  script = runpy.run_path(str(ROOT / 'scripts' / 'make_parameter_table.py'))
  shown = script['PATH'].read_text()
  assert shown == script['render'](), (
    'run python scripts/make_parameter_table.py'
  )
  for path in PATHS:
    assert f'| `{path}` |' in shown
