"""What is understood, but not acted on: refused rather than ignored."""

import pytest

from chatjax import types
from chatjax.protocol import parameters
from chatjax.protocol import request as request_lib
from tests.protocol import samples

TOOLS = [{'type': 'function', 'function': {'name': 'f'}}]
# A value of each that asks for something.
ASKING = {
  'tools': TOOLS, 'tool_choice': 'required', 'parallel_tool_calls': False,
  'functions': [{'name': 'f'}], 'function_call': {'name': 'f'},
  'response_format': {'type': 'json_object'},
  'structured_outputs': {'regex': 'x'}, 'reasoning_effort': 'low',
  'verbosity': 'low', 'thinking_token_budget': 5,
  'chat_template_kwargs': {'a': 1}, 'add_generation_prompt': False,
  'continue_final_message': True, 'include_stop_str_in_output': True,
  'bad_words': ['x'], 'allowed_token_ids': [1], 'prompt_logprobs': 0,
  'logprobs_mode': 'sampled', 'stream_options.include_obfuscation': True,
  'metadata': {'a': 'b'}, 'service_tier': 'flex',
}  # fmt: skip
NEEDS = {
  'tool_choice': {'tools': TOOLS},
  'parallel_tool_calls': {'tools': TOOLS},
  'function_call': {'functions': [{'name': 'f'}]},
  'continue_final_message': {
    'messages': [{'role': 'assistant', 'content': 'x'}]
  },
  'stream_options.include_obfuscation': {'stream': True},
}


def wrapped(path, value):
  name, _, inner = path.partition('.')
  return samples.body(**{name: {inner: value} if inner else value})


@pytest.mark.parametrize('path', list(parameters.NOT_YET))
def test_what_asks_for_something_is_refused(path):
  body = wrapped(path, ASKING[path]) | NEEDS.get(path, {})
  request_lib.parse_form(body)
  with pytest.raises(types.RequestError) as caught:
    request_lib.parse(body)
  assert caught.value.code == 'unsupported_parameter'
  needed = path in NEEDS and set(NEEDS[path]) & set(parameters.NOT_YET)
  assert caught.value.param == path or needed


@pytest.mark.parametrize('path', list(parameters.NOT_YET))
def test_what_asks_for_nothing_is_accepted(path):
  for value in parameters.NOT_YET[path]:
    body = wrapped(path, value)
    if '.' in path:
      body |= NEEDS[path]
    request_lib.parse(body)
