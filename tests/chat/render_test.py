"""Real templates and tokenizers give the ids that `transformers` gives."""

import functools
import json
import pathlib

import pytest

from chatjax.chat import format as format_lib
from chatjax.ckpt import folder as folder_lib
from chatjax.text import hub
from tests.chat import conversations
from tests.chat import real_tokenizers

RENDERS = pathlib.Path(__file__).parent / 'renders'
# The others are in --all: each is a package of some 20 MB.
QUICK = {'llama3_1', 'qwen3'}
CASES = [
  pytest.param(
    name,
    key,
    id=f'{name}-{key}',
    marks=() if name in QUICK else pytest.mark.slow,
  )
  for name in sorted(real_tokenizers.PACKAGES)
  for key in conversations.ASKED[name]
]


@functools.cache
def files(name):
  folder = real_tokenizers.folder(name)
  read = lambda file: folder_lib.read_json(folder / file)
  tokenizer, config = read('tokenizer.json'), read('tokenizer_config.json')
  ids = [*tokenizer['model']['vocab'].values()]
  ids += [token['id'] for token in tokenizer['added_tokens']]
  return hub.Files(
    tokenizer=tokenizer,
    tokenizer_config=config,
    generation_config={},
    config={},
    vocab_size=max(ids) + 1,
    template=config['chat_template'],
  )


@functools.cache
def chat_format(name):
  """As `chatjax.load` makes it of a hub folder."""
  read = files(name)
  tokenizer = hub.build(read)
  bos = tokenizer.bos_id
  return tokenizer, format_lib.ChatFormat.from_template(
    read.template,
    bos_token='' if bos is None else tokenizer.spelling(bos),
    eos_token=hub.eos_token(read.tokenizer_config) or '',
    tokenizer=tokenizer,
  )


@pytest.mark.parametrize(('name', 'key'), CASES)
def test_ids_are_those_of_transformers(name, key):
  golden = json.loads((RENDERS / f'{name}.json').read_text())[key]
  _, form = chat_format(name)
  prompt = form.prompt(**conversations.asked(name)[key])
  assert list(prompt.token_ids) == golden


@pytest.mark.parametrize(('name', 'key'), CASES)
def test_special_tokens_of_users_stay_text(name, key):
  """The same number of special tokens, whatever the contents spell."""
  tokenizer, form = chat_format(name)
  special = set(tokenizer.special_ids.values())
  arguments = conversations.asked(name)[key]
  hostile = ' '.join(sorted(tokenizer.special_ids)[:40])
  spelled = [
    message | {'content': message['content'] + hostile}
    if message['role'] == 'user'
    else message
    for message in arguments['messages']
  ]
  count = lambda messages: sum(
    token in special
    for token in form.prompt(**arguments | {'messages': messages}).token_ids
  )
  assert count(spelled) == count(arguments['messages'])


def test_goldens_and_conversations_are_of_one_mind():
  for name in real_tokenizers.PACKAGES:
    golden = json.loads((RENDERS / f'{name}.json').read_text())
    assert list(golden) == list(conversations.asked(name))
