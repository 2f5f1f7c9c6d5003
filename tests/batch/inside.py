"""Batches in this process, of an engine that plays a script."""

import json

import pytest

from chatjax.batch import folder as folder_lib
from chatjax.batch import run as run_lib
from chatjax.chat import session as session_lib
from chatjax.chat.parsers import formats
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine
from tests.batch import runs


def echo(request, choice):
  """Says its prompt and its seed."""
  prompt = byte_tokenizer.ByteTokenizer().decode(request.prompt_ids)
  said = f'{choice} {request.seed} {prompt}'
  return [*said.encode(), byte_tokenizer.EOS]


def make_session(script=echo, output_format='plain', **engine_args):
  return session_lib.Session(
    fake_engine.FakeEngine(script, **engine_args),
    byte_tokenizer.ByteTokenizer(),
    byte_tokenizer.ByteChatFormat(),
    model_id=runs.MODEL,
    sampler_version=1,
    output_format=formats.get(output_format),
  )


def records(output, name='results.jsonl'):
  lines = (output / name).read_bytes().splitlines()
  return {one['custom_id']: one for one in map(json.loads, lines)}


def body_of(record):
  return record['response']['body']


def settings(**fields):
  return run_lib.Settings(range_lines=16, **fields)


def run(session, path, output, **fields):
  return run_lib.run(session, path, output, settings=settings(**fields))


def stopped(session, path, output, patch):
  """A run that is ended when all is done but the last step."""

  def end(*unused):
    raise KeyboardInterrupt

  with patch.context() as here:
    here.setattr(folder_lib.Folder, 'merge', end)
    with pytest.raises(KeyboardInterrupt):
      run(session, path, output)
