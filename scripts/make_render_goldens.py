"""Renders assistant turns with calls by a model's own chat template.

  python scripts/make_render_goldens.py --format=hermes \
      --model=Qwen/Qwen3-0.6B --template=FILE --out=tests/chat/parsers/data

The templates are those in the models' repositories, and vLLM's for Gemma 3,
which has none of its own for tools (its turn 3 lacks commas: --skip=3). They
are not kept.
"""

import json
import pathlib

from absl import app
from absl import flags

from chatjax.chat import sandbox

_FORMAT = flags.DEFINE_string('format', None, 'Output format.', required=True)
_MODEL = flags.DEFINE_string('model', None, 'Whose template.', required=True)
_TEMPLATE = flags.DEFINE_string('template', None, 'Its file.', required=True)
_SKIP = flags.DEFINE_multi_integer(
  'skip', [], 'Turns that this template writes wrongly.'
)
_OUT = flags.DEFINE_string('out', None, 'Folder of goldens.', required=True)

_TOOLS = [
  {
    'type': 'function',
    'function': {
      'name': name,
      'description': 'Looks something up.',
      'parameters': {'type': 'object', 'properties': {}},
    },
  }
  for name in ('get_weather', 'search-web')
]
_NESTED = {
  'query': 'caf\u00e9 \u2603 "quoted" \\ back',
  'limit': 3,
  'ratio': 0.5,
  'is_exact': True,
  'nothing': None,
  'filter': {'tags': ['a', 'b {c}'], 'deep': {'x': [1, [2]]}},
}
# Content, reasoning and calls of the assistant's turns.
_TURNS = (
  ('', '', [('get_weather', {'city': 'Paris'})]),
  ('Let me look.', '', [('get_weather', {'city': 'Zürich'})]),
  (
    '',
    '',
    [('get_weather', {'city': 'Oslo'}), ('get_weather', {'city': 'Rome'})],
  ),
  ('', '', [('search-web', _NESTED)]),
  ('', 'The user wants weather.', [('get_weather', {'city': 'Bern'})]),
  ('It is sunny.', '', []),
  ('It is sunny.', 'Easy.', []),
)
_ENDS = (
  *('<|im_end|>', '<|eot_id|>', '</s>', '<｜end▁of▁sentence｜>'),  # noqa: RUF001
  *('<turn|>', '<|tool_response>', '<end_of_turn>', '<|eot|>'),
)


def _message(turn, *, is_text: bool):
  content, reasoning, calls = turn
  message = {'role': 'assistant', 'content': content}
  if reasoning:
    message |= {'reasoning_content': reasoning, 'thinking': reasoning}
    message['reasoning'] = reasoning
  if calls:
    message['tool_calls'] = [
      {
        'id': f'call{i:05d}',
        'type': 'function',
        'function': {
          'name': name,
          'arguments': json.dumps(arguments) if is_text else arguments,
        },
      }
      for i, (name, arguments) in enumerate(calls)
    ]
  return message


def _render(template, messages, **kwargs) -> str:
  return template.render(
    messages=messages,
    tools=_TOOLS,
    bos_token='',
    eos_token='</s>',
    enable_thinking=True,
    thinking=True,
    keep_past_thinking=True,
    **kwargs,
  )


def _case(template, turn):
  """The turn as the template writes it; None if it takes no such turn."""
  user = {'role': 'user', 'content': 'How is the weather?'}
  for is_text in (False, True):
    messages = [user, _message(turn, is_text=is_text)]
    try:
      whole = _render(template, messages, add_generation_prompt=False)
      prompt = _render(template, [user], add_generation_prompt=True)
    except sandbox.TemplateError:
      continue
    # Some prompts open the reasoning, which turns without any do not have.
    for tail in ('', '<think>\n', '<think>', '\n'):
      begun = prompt.removesuffix(tail)
      if whole.startswith(begun):
        return _cut(turn, prompt=begun, rendered=whole[len(begun) :])
  return None


def _cut(turn, *, prompt: str, rendered: str):
  stops = [rendered.find(end) for end in _ENDS if end in rendered]
  rendered = rendered[: min(stops, default=None)]
  content, reasoning, calls = turn
  if _FORMAT.value == 'harmony' and calls:
    # This template writes one call, and what comes before it as analysis.
    content, reasoning, calls = '', content or reasoning, calls[:1]
  return {
    # Some templates drop the one or the other.
    'content': content if content in rendered else '',
    'reasoning': reasoning if reasoning in rendered else '',
    'calls': [{'name': name, 'arguments': given} for name, given in calls],
    'prompt_tail': prompt[-40:],
    'rendered': rendered,
  }


def main(argv):
  del argv
  source = pathlib.Path(_TEMPLATE.value).read_text(encoding='utf-8')
  template = sandbox.compile_template(source)
  turns = [turn for i, turn in enumerate(_TURNS) if i not in _SKIP.value]
  cases = [_case(template, turn) for turn in turns]
  golden = {
    'model': _MODEL.value,
    'format': _FORMAT.value,
    'tools': [tool['function']['name'] for tool in _TOOLS],
    'cases': [case for case in cases if case],
  }
  name = _MODEL.value.rpartition('/')[2].lower()
  path = pathlib.Path(_OUT.value) / f'{name}.json'
  text = json.dumps(golden, ensure_ascii=False, indent=1)
  path.write_text(text + '\n', encoding='utf-8')
  print(path, len(golden['cases']), 'cases')


if __name__ == '__main__':
  app.run(main)
