"""What the render tests ask every template."""

TOOLS = [
  {
    'type': 'function',
    'function': {
      'name': 'get_weather',
      'description': 'The weather of a city.',
      'parameters': {
        'type': 'object',
        'properties': {
          'city': {'type': 'string', 'description': 'Its name'},
          'days': {'type': 'integer', 'minimum': 1},
        },
        'required': ['city'],
      },
    },
  }
]
_CALL = {
  'id': 'abcdefghi',
  'type': 'function',
  'function': {
    'name': 'get_weather',
    'arguments': {'city': 'Zürich', 'days': 2},
  },
}


def _user(text):
  return {'role': 'user', 'content': text}


def _assistant(text):
  return {'role': 'assistant', 'content': text}


_ASKED = _user('Will it rain in Zürich?')
_CALLED = [
  _ASKED,
  {'role': 'assistant', 'content': '', 'tool_calls': [_CALL]},
  {
    'role': 'tool', 'name': 'get_weather', 'tool_call_id': 'abcdefghi',
    'content': '{"rain": true}',
  },
]  # fmt: skip

PLAIN = {
  'one': {'messages': [_user('Hi!')]},
  'turns': {
    'messages': [
      _user('Name a colour.'), _assistant('Blue.'), _user('Another?'),
    ]
  },
  'odd_text': {
    'messages': [
      _user('  日本語 🙂\u200d\n\n\tdef f(x):\n    return x**2  # 1234567\r\n')
    ]
  },
  'no_answer_asked': {
    'messages': [_user('Hi!'), _assistant('Hello.')],
    'add_generation_prompt': False,
  },
}  # fmt: skip
SYSTEM = {
  'system': {
    'messages': [
      {'role': 'system', 'content': 'Answer in one word.'}, _user('Why?'),
    ]
  }
}  # fmt: skip
WITH_TOOLS = {
  'tools': {'messages': [_ASKED], 'tools': TOOLS},
  'called': {'messages': _CALLED, 'tools': TOOLS},
  'answered': {
    'messages': [*_CALLED, _assistant('Yes.'), _user('And Bern?')],
    'tools': TOOLS,
  },
}
THINKING = {
  'no_thinking': {'messages': [_user('Hi!')], 'enable_thinking': False},
  'thought': {
    'messages': [
      _user('2 + 2?'),
      _assistant('4') | {'reasoning_content': 'Easy.'},
      _user('And 3 + 3?'),
    ]
  },
}

# As gpt-oss calls it.
_HARMONY = {
  'thought': {
    'messages': [
      _ASKED,
      _CALLED[1] | {'thinking': 'I ask.'},
      _CALLED[2],
    ],
    'tools': TOOLS,
  },
  'effort': {'messages': [_user('Hi!')], 'reasoning_effort': 'high'},
}
# Variables without which a template reads the clock.
_DATE = {'date_string': '24 Nov 2026'}
DATES = {'llama3_2': _DATE, 'llama3_1_instruct': _DATE}
_ALL = PLAIN | SYSTEM
ASKED = {
  'llama3': _ALL,
  'llama3_1': _ALL,
  'llama3_2': _ALL | WITH_TOOLS,
  'qwen2_5': _ALL | WITH_TOOLS,
  'qwen3': _ALL | WITH_TOOLS | THINKING,
  'gemma2': PLAIN,
  'gemma3': _ALL,
  'gptoss': _ALL | WITH_TOOLS | _HARMONY,
  'llama3_1_instruct': _ALL | WITH_TOOLS,
  'deepseek_r1_distill_qwen': _ALL,
  'mistral_nemo': _ALL | WITH_TOOLS,
}


def asked(name):
  """Conversation -> arguments, for one package."""
  return {
    key: arguments | DATES.get(name, {})
    for key, arguments in ASKED[name].items()
  }
