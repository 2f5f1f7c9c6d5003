"""A model from a hub folder answers like any other."""

import dataclasses

import pytest

import chatjax
from chatjax.ckpt import hub
from chatjax.engine import runtime
from chatjax.testing import hub_folder
from chatjax.testing import tiny

CONFIG = dataclasses.replace(tiny.ENGINE, max_rows=2, dtype='float32')
MESSAGES = [{'role': 'user', 'content': 'Hello <|im_end|>'}]


@pytest.fixture(name='folder')
def _folder(tmp_path, monkeypatch):
  monkeypatch.setenv('CHATJAX_HOME', str(tmp_path / 'home'))
  monkeypatch.setattr(hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
  # The tests' cache of programs stays.
  monkeypatch.setattr(runtime, 'configure', lambda home: None)
  config = {**hub_folder.CONFIG, 'num_hidden_layers': 1}
  hub_folder.write(tmp_path / 'tiny-model', config=config)
  return tmp_path / 'tiny-model'


def test_a_folder_chats(folder):
  with chatjax.load(str(folder), config=CONFIG) as model:
    first, second = (
      model.chat(MESSAGES, seed=7, max_tokens=12, logprobs=True)
      for _ in range(2)
    )
    prompt = model.session.chat_format.prompt(MESSAGES).token_ids
    assert model.model_id == first.model == 'tiny-model'
  # One turn of the user and the opened one; what users spell is text.
  assert prompt.count(257) == 2
  assert prompt.count(258) == 1
  assert 1 <= first.usage.completion_tokens <= 12
  assert second.choices[0].logprobs == first.choices[0].logprobs
  assert second.choices[0].message == first.choices[0].message
