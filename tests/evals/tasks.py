"""A task of all kinds and models to ask it of, for the tests of this room."""

import json
import threading

from chatjax.chat import session as session_lib
from chatjax.engine import engine as engine_lib
from chatjax.evals import evaluate
from chatjax.evals import plan as plan_lib
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine
from chatjax.testing import tiny
from tests.interface import tiny_chat

ITEMS = [
  {'kind': 'choice', 'id': 'a', 'prompt': 'One, two,', 'choices': [' 3', ' x'],
   'answer': 0},
  {'kind': 'choice', 'id': 'b', 'question': 'Which?', 'answer': 'yes',
   'choices': ['no', 'yes', 'not at all']},
  {'kind': 'exact', 'id': 'c', 'question': 'Say 4.', 'answer': '4'},
  {'kind': 'regex', 'id': 'd', 'question': 'Say 5.', 'pattern': '[0-9]'},
  {'kind': 'json', 'id': 'e', 'question': 'Say 6.', 'answer': 6},
  {'kind': 'code', 'id': 'f', 'question': 'x = 7', 'test': 'assert x == 7'},
]  # fmt: skip
DRAWN = ITEMS[2:]
MANY = [{**DRAWN[0], 'id': str(i), 'question': str(i)} for i in range(60)]
SHORT = {'max_tokens': 12, 'temperature': 1.0}
CONFIG = {'engine': {'dtype': 'int8'}}


def write(path, items=ITEMS):
  path.write_text(''.join(f'{json.dumps(item)}\n' for item in items))
  return path


def session(engine):
  return session_lib.Session(
    engine,
    byte_tokenizer.ByteTokenizer(),
    byte_tokenizer.ByteChatFormat(),
    model_id='tiny',
    sampler_version=1,
  )


def says(*texts, **engine_args):
  """A session whose choices say some texts, whatever they are asked."""
  return session(
    fake_engine.FakeEngine(fake_engine.text_script(*texts), **engine_args)
  )


def tiny_session(seed=0):
  """A session on a model of random weights."""
  weights = tiny.weights('llama', 'int8', seed)
  return tiny_chat.session(engine_lib.Engine(weights, tiny.ENGINE))


def run(one, path, items=DRAWN, *, task='task.jsonl', plan=None, **arguments):
  """Evaluates items in a folder; returns the summary."""
  folder = path.parent if path.parent.is_dir() else path.parents[1]
  task = evaluate.read(write(folder / task, items))
  plan = plan or plan_lib.Plan(request=SHORT)
  return evaluate.evaluate(one, task, plan, path, config=CONFIG, **arguments)


class Stopping:
  """An engine that fails for good after so many requests."""

  def __init__(self, engine, after):
    self._engine, self._left = engine, after
    self._lock = threading.Lock()

  def __getattr__(self, name):
    return getattr(self._engine, name)

  def submit(self, request, sink):
    with self._lock:
      self._left -= 1
    if self._left < 0:
      raise ConnectionResetError('the power is gone')
    self._engine.submit(request, sink)
