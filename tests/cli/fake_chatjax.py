"""The `chatjax` command with a scripted engine instead of a model.

  python fake_chatjax.py TEXT PAUSE_S ARGUMENT ...

An empty TEXT repeats the last message, and the seed, as the answer.
"""

import collections
import signal
import sys
from unittest import mock

from chatjax.chat import session as session_lib
from chatjax.cli import loading
from chatjax.cli import main
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine


def echo(request, unused_choice):
  """Says what was asked last, and with which seed and parameters."""
  prompt = byte_tokenizer.ByteTokenizer().decode(request.prompt_ids)
  sampling = request.sampling
  num_users = sum(line.startswith('user: ') for line in prompt.splitlines())
  text = (
    f'{num_users} turns, seed {request.seed},'
    f' temperature {sampling.temperature:g}, stop {list(sampling.stop)},'
    f' max {sampling.max_tokens}: {prompt}'
  )
  return [*text.encode(), byte_tokenizer.EOS]


def loader(text, pause_s):
  """What takes the place of `loading.load`."""

  def load(config, *, accept_license):
    del accept_license
    engine = fake_engine.FakeEngine(
      fake_engine.text_script(text) if text else echo,
      pause_s=pause_s,
      max_context=config.engine.context,
      fail_after=2 if text.startswith('FAIL') else None,
    )
    engine.requests = collections.deque(maxlen=0)  # memory is measured
    return session_lib.Session(
      engine,
      byte_tokenizer.ByteTokenizer(),
      byte_tokenizer.ByteChatFormat(),
      model_id=config.model,
      sampler_version=1,
    )

  return load


def run(text, pause_s, arguments):
  with mock.patch.object(loading, 'load', loader(text, pause_s)):
    return main.main(arguments)


if __name__ == '__main__':
  # A background job of a shell ignores it, and so would what the job starts.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  sys.exit(run(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
