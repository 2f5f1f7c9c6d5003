"""The object that a notebook holds."""

import logging

import numpy as np
from openai.types import chat as openai_chat
import pytest

from chatjax import api
from chatjax import types
from chatjax.chat import session as session_lib
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine

MESSAGES = [{'role': 'user', 'content': 'hi'}]


@pytest.fixture
def model():
  session = session_lib.Session(
    fake_engine.FakeEngine(fake_engine.text_script('hello')),
    byte_tokenizer.ByteTokenizer(),
    byte_tokenizer.ByteChatFormat(),
    model_id='tiny',
    sampler_version=1,
  )
  with api.Chat(session) as chat:
    yield chat


@pytest.mark.parametrize('value', [True, False, None])
def test_how_to_stream_is_said_by_the_method(model, value):
  for method in (model.chat, model.stream):
    with pytest.raises(types.RequestError, match=r'\.stream\(') as caught:
      method(MESSAGES, stream=value)
    assert caught.value.param == 'stream'
  assert not model.session.engine.requests


def test_what_a_notebook_passes(model):
  answer = model.chat(tuple(MESSAGES), seed=np.int64(7), n=np.int32(2))
  assert (answer.chatjax.seed, len(answer.choices)) == (7, 2)
  theirs = openai_chat.ChatCompletionMessage(role='assistant', content='hello')
  for said in (answer.choices[0].message, theirs):
    chunks = model.stream(
      (*MESSAGES, said, *MESSAGES), temperature=np.float32()
    )
    text = ''.join(c.choices[0].delta.content or '' for c in chunks)
    assert text == 'hello'
    sent = model.session.engine.requests[-1]
    assert b'assistant: hello' in bytes(sent.prompt_ids[1:])
    assert sent.sampling.temperature == 0.0


def test_the_user_is_logged(model, caplog):
  caplog.set_level(logging.INFO, logger='chatjax.model')
  model.chat(MESSAGES, user='bob\nforged line')
  assert "user='bob\\nforged line'" in caplog.text
  model.chat(MESSAGES)
  assert caplog.text.count('user=') == 1


def test_texts_and_tokens(model):
  ids = model.tokenize('sea')
  assert ids[-3:] == tuple(b'sea')
  assert model.detokenize(np.array(ids[-3:], np.int32)) == 'sea'
  rendered = model.tokenize(MESSAGES)
  assert bytes(rendered[1:]) == b'user: hi'
  answer = model.chat(MESSAGES, return_token_ids=True)
  assert tuple(answer.prompt_token_ids) == rendered
