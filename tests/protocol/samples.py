"""Requests that are right; together they have every field that is read."""

import base64
import copy

USER = {'role': 'user', 'content': 'hi'}
SCHEMA = {
  'type': 'object',
  'properties': {'a': {'enum': [None, 1.5, 'x']}},
  'required': ['a'],
}
FUNCTION = {
  'type': 'function',
  'function': {
    'name': 'f',
    'description': 'What it does.',
    'parameters': SCHEMA,
    'strict': True,
  },
}
CUSTOM = {
  'type': 'custom',
  'custom': {
    'name': 'c',
    'description': 'What it does.',
    'format': {
      'type': 'grammar',
      'grammar': {'syntax': 'regex', 'definition': 'a+'},
    },
  },
}
TOOLS = [FUNCTION, CUSTOM]
NAMED = {'type': 'function', 'function': {'name': 'f'}}
NAMED_CUSTOM = {'type': 'custom', 'custom': {'name': 'c'}}
ALLOWED = {
  'type': 'allowed_tools',
  'allowed_tools': {
    'mode': 'auto',
    'tools': [copy.deepcopy(FUNCTION), NAMED_CUSTOM],
  },
}
CALLED = {
  'role': 'assistant',
  'content': None,
  'reasoning': 'hm',
  'tool_calls': [
    {
      'id': 'call_a',
      'type': 'function',
      'function': {
        'name': 'f',
        'arguments': '{"a": [1, "é"]}',
        'parsed_arguments': {'a': [1, 'é']},
      },
      'index': 0,
    },
    {
      'id': 'call_b',
      'type': 'custom',
      'custom': {'name': 'c', 'input': 'aa'},
    },
  ],
}
RESULT_A = {'role': 'tool', 'tool_call_id': 'call_a', 'content': 'one'}
RESULT_B = {'role': 'tool', 'tool_call_id': 'call_b', 'content': 'two'}
OLD_CALLED = {
  'role': 'assistant',
  'function_call': {'name': 'f', 'arguments': '{}'},
}
OLD_RESULT = {'role': 'function', 'name': 'f', 'content': 'three'}


def encoded(text):
  return base64.b64encode(text.encode()).decode()


def file_part(text='a,b', **fields):
  return {
    'type': 'file',
    'file': {'filename': 'x.csv', 'file_data': encoded(text), **fields},
  }


def body(**fields):
  return {'model': 'm', 'messages': [USER], **fields}


PLAIN = {
  'temperature': 0.5, 'top_p': 0.5, 'max_completion_tokens': 9,
  'max_tokens': 9, 'n': 2, 'seed': 5, 'stop': ['x'], 'presence_penalty': 0.5,
  'frequency_penalty': 0.5, 'logit_bias': {'5': 1.5}, 'logprobs': True,
  'top_logprobs': 3, 'parallel_tool_calls': True, 'reasoning_effort': 'low',
  'verbosity': 'low', 'modalities': ['text'], 'metadata': {'a': 'b'},
  'store': True,
  'service_tier': 'flex', 'prompt_cache_key': 'k',
  'prompt_cache_options': {'mode': 'implicit'},
  'prompt_cache_retention': '24h', 'safety_identifier': 's', 'user': 'u',
  'top_k': 5, 'min_p': 0.5, 'repetition_penalty': 1.5, 'min_tokens': 2,
  'ignore_eos': True, 'stop_token_ids': [5], 'bad_words': ['x'],
  'include_stop_str_in_output': True, 'allowed_token_ids': [5],
  'logprobs_mode': 'raw', 'prompt_logprobs': 2, 'return_token_ids': True,
  'add_generation_prompt': True, 'chat_template_kwargs': {'a': [1]},
  'thinking_token_budget': 5, 'priority': 5, 'cache_salt': 's',
  'speculation': 'on',
  'prediction': {
    'type': 'content', 'content': [{'type': 'text', 'text': 'x'}]
  },
}  # fmt: skip
TURNS = [
  {'role': 'developer', 'content': 'be brief', 'name': 'boss'},
  {
    'role': 'user',
    'content': [{'type': 'text', 'text': 'read'}, file_part()],
    'name': 'ann',
  },
  {
    'role': 'assistant',
    'content': [{'type': 'refusal', 'refusal': 'no'}],
    'refusal': 'sorry',
    'reasoning_content': 'hm',
    'parsed': {'a': 1},
  },
  CALLED,
  RESULT_B,
  RESULT_A,
  OLD_CALLED,
  OLD_RESULT,
]
SAMPLES = (
  body(**PLAIN),
  body(messages=TURNS),
  body(
    stream=True,
    stream_options={'include_usage': True, 'include_obfuscation': True},
  ),
  body(tools=TOOLS, tool_choice=NAMED),
  body(tools=TOOLS, tool_choice=NAMED_CUSTOM),
  body(tools=TOOLS, tool_choice=ALLOWED),
  body(
    functions=[{'name': 'f', 'description': 'x', 'parameters': SCHEMA}],
    function_call={'name': 'f'},
  ),
  body(
    response_format={
      'type': 'json_schema',
      'json_schema': {
        'name': 's',
        'description': 'x',
        'schema': SCHEMA,
        'strict': True,
      },
    }
  ),
  body(structured_outputs={'json': SCHEMA}),
  body(structured_outputs={'regex': 'a+'}),
  body(structured_outputs={'choice': ['a', 'b']}),
  body(structured_outputs={'grammar': 'start: "a"'}),
  body(
    messages=[USER, {'role': 'assistant', 'content': 'x'}],
    continue_final_message=True,
  ),
)
