"""A hundred prompts, each with the function that it asks for."""

TOOLS = [
  ('get_weather', 'The weather of a city now or on a day.', {
    'city': {'type': 'string'},
    'unit': {'type': 'string', 'enum': ['celsius', 'fahrenheit']},
  }),
  ('add_numbers', 'The sum of two numbers.', {
    'a': {'type': 'number'}, 'b': {'type': 'number'},
  }),
  ('send_email', 'Sends an e-mail to somebody.', {
    'to': {'type': 'string'}, 'subject': {'type': 'string'},
    'body': {'type': 'string', 'maxLength': 60},
  }),
  ('create_event', 'Puts a meeting or an appointment into the calendar.', {
    'title': {'type': 'string', 'maxLength': 40},
    'day': {'type': 'string', 'enum': [
      'monday', 'tuesday', 'wednesday', 'thursday', 'friday',
    ]},
    'hour': {'type': 'integer', 'minimum': 0, 'maximum': 23},
  }),
  ('translate_text', 'Translates a text into another language.', {
    'text': {'type': 'string', 'maxLength': 60},
    'language': {'type': 'string', 'enum': [
      'french', 'german', 'spanish', 'italian', 'japanese',
    ]},
  }),
]  # fmt: skip

_CITIES = [
  'Paris',
  'London',
  'Berlin',
  'Tokyo',
  'Madrid',
  'Rome',
  'Oslo',
  'Cairo',
  'Lima',
  'Delhi',
  'Vienna',
  'Prague',
  'Dublin',
  'Lisbon',
  'Warsaw',
  'Athens',
  'Seoul',
  'Boston',
  'Chicago',
  'Toronto',
]
_PEOPLE = [
  'anna',
  'ben',
  'carla',
  'david',
  'eva',
  'frank',
  'grace',
  'henry',
  'iris',
  'jack',
  'kate',
  'leo',
  'mia',
  'noah',
  'olga',
  'paul',
  'quinn',
  'rosa',
  'sam',
  'tina',
]
_THINGS = [
  'budget review',
  'dentist',
  'team lunch',
  'code review',
  'piano lesson',
  'parent evening',
  'project kickoff',
  'job interview',
  'yoga class',
  'board meeting',
  'sales call',
  'book club',
  'doctor',
  'haircut',
  'planning meeting',
  'design review',
  'choir practice',
  'tax advice',
  'football training',
  'release party',
]
_DAYS = ('Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday')
_PHRASES = [
  'good morning',
  'thank you very much',
  'where is the station',
  'I am hungry',
  'see you tomorrow',
  'how much is it',
  'I love this book',
  'the sun is shining',
  'happy birthday',
  'please help me',
  'I am lost',
  'the soup is cold',
  'my name is Ann',
  'what time is it',
  'I like music',
  'the door is open',
  'we are friends',
  'it is raining',
  'have a nice day',
  'welcome home',
]
_LANGUAGES = ('French', 'German', 'Spanish', 'Italian', 'Japanese')


def _all() -> list[tuple[str, str]]:
  out = []
  for i in range(20):
    day, language = _DAYS[i % 5], _LANGUAGES[i % 5]
    out += [
      (f'What is the weather in {_CITIES[i]} right now?', 'get_weather'),
      (f'Add the numbers {3 * i + 1} and {7 * i + 2}.', 'add_numbers'),
      (
        f'Send an e-mail to {_PEOPLE[i]}@example.com that says the '
        f'{_THINGS[i]} is cancelled.',
        'send_email',
      ),
      (
        f'Create a calendar event: {_THINGS[i]} on {day} at {8 + i % 9}'
        " o'clock.",
        'create_event',
      ),
      (f'Translate "{_PHRASES[i]}" into {language}.', 'translate_text'),
    ]
  return out


# (what the user says, the function that is right)
PROMPTS = _all()


def schema(parameters):
  """The JSON schema of a function's arguments; all of them are required."""
  return {
    'type': 'object',
    'properties': parameters,
    'required': list(parameters),
    'additionalProperties': False,
  }


def tools():
  """As a request has them."""
  return [
    {
      'type': 'function',
      'function': {
        'name': name, 'description': description,
        'parameters': schema(parameters), 'strict': True,
      },
    }
    for name, description, parameters in TOOLS
  ]  # fmt: skip
