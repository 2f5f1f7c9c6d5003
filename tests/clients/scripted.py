"""A live server whose model answers by what it reads in the prompt."""

import json

from chatjax.chat import session as session_lib
from chatjax.chat.parsers import formats
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine
from tests.serve import harness

MODEL_ID = 'qwen2.5-coder-0.5b-instruct'


def call(name, /, **arguments):
  """A call as a model of the Hermes format writes it."""
  text = json.dumps({'name': name, 'arguments': arguments})
  return f'<tool_call>\n{text}\n</tool_call>'


def replies(*pairs):
  """Says the text of the first pair whose mark is in the prompt.

  A `{}` in a text becomes the last line of the prompt: what a tool returned.
  """

  def script(request, choice):
    del choice
    prompt = bytes(request.prompt_ids[1:]).decode()
    said = next(text for mark, text in pairs if mark in prompt)
    said = said.replace('{}', prompt.splitlines()[-1])
    return [*said.encode(), byte_tokenizer.EOS]

  return script


def serve(*pairs):
  session = session_lib.Session(
    fake_engine.FakeEngine(replies(*pairs)),
    byte_tokenizer.ByteTokenizer(),
    byte_tokenizer.ByteChatFormat(),
    model_id=MODEL_ID,
    sampler_version=1,
    output_format=formats.get('hermes'),
  )
  return harness.Served(session=session)
