"""What `transformers` makes of conversations, with real tokenizers.

    python scripts/make_render_goldens.py

Needs the `parity` extra. Writes the ids of `apply_chat_template` to
tests/chat/renders, one file per tokenizer.
"""

from __future__ import annotations

import json
import pathlib
import sys

from absl import app
import oracle
import oracle_text
import transformers

ROOT = pathlib.Path(__file__).parents[1]


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError('Takes no arguments.')
  sys.path.insert(0, str(ROOT))
  from tests.chat import conversations
  from tests.chat import real_tokenizers

  out = ROOT / 'tests' / 'chat' / 'renders'
  out.mkdir(exist_ok=True)
  for name in real_tokenizers.MODELS:
    tokenizer = _tokenizer(name)
    template = real_tokenizers.template(name)
    made = {}
    for key, arguments in conversations.asked(name).items():
      arguments = {
        'add_generation_prompt': True, 'chat_template': template,
      } | arguments  # fmt: skip
      rendered = tokenizer.apply_chat_template(**_named(arguments))
      made[key] = list(rendered['input_ids'])
    path = out / f'{name}.json'
    path.write_text(json.dumps(made, separators=(',', ':')) + '\n')
    print(path, {key: len(ids) for key, ids in made.items()})


def _tokenizer(name):
  from tests.chat import real_files
  from tests.chat import real_tokenizers

  if name != real_tokenizers.DISTILL:
    folder = real_tokenizers.folder_of(name)
    return transformers.AutoTokenizer.from_pretrained(folder)
  # Reading the file itself, transformers loses the special tokens.
  reader = oracle.Reader(real_files.distill())
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=oracle_text.bpe(reader),
    **{
      f'{name}_token': reader.value('tokenizer.ggml.tokens')[
        reader.value(f'tokenizer.ggml.{name}_token_id')
      ]
      for name in ('bos', 'eos')
    },
  )


def _named(arguments):
  arguments = dict(arguments)
  return {'conversation': arguments.pop('messages')} | arguments


if __name__ == '__main__':
  app.run(main)
