"""Real templates and tokenizers give the ids that `transformers` gives."""

import json
import pathlib

import pytest

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
  for name in real_tokenizers.MODELS
  for key in conversations.ASKED[name]
]


@pytest.mark.parametrize(('name', 'key'), CASES)
def test_ids_are_those_of_transformers(name, key):
  golden = json.loads((RENDERS / f'{name}.json').read_text())[key]
  _, form = real_tokenizers.read(name)
  prompt = form.prompt(**conversations.asked(name)[key])
  assert list(prompt.token_ids) == golden


@pytest.mark.parametrize(('name', 'key'), CASES)
def test_special_tokens_of_users_stay_text(name, key):
  """The same number of special tokens, whatever the contents spell."""
  tokenizer, form = real_tokenizers.read(name)
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
  for name in real_tokenizers.MODELS:
    golden = json.loads((RENDERS / f'{name}.json').read_text())
    assert list(golden) == list(conversations.asked(name))
