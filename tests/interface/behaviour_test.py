"""Every parameter that is said to do something changes an outcome."""

import contextlib
import json
import threading

import pytest

from chatjax.protocol import parameters
from chatjax.testing import tiny
from tests.interface import behaviours
from tests.interface import tiny_chat
from tests.serve import harness

DOES = {parameters.Status.IMPLEMENTED, parameters.Status.OWN_MEANING}
LONG = [{'role': 'user', 'content': 'once upon a time ' * 4}]


@pytest.fixture(scope='module')
def places(tmp_path_factory):
  """Two servers of one engine: one model answers at once, one thinks."""
  store = tmp_path_factory.mktemp('behaviour') / 'answers.db'
  with contextlib.ExitStack() as stack:
    running = stack.enter_context(tiny_chat.running())
    yield [
      stack.enter_context(
        harness.Served(
          session=tiny_chat.session(running, thinks=thinks, store=store)
        )
      )
      for thinks in (False, True)
    ]


class Looks:
  """What can be seen of a request with some fields."""

  def __init__(self, plain, thinking):
    self._plain, self._thinking = plain, thinking

  def look(self, what, fields):
    return getattr(self, what.replace(' ', '_').replace('-', '_'))(fields)

  def _post(self, fields, one=None):
    body = behaviours.BASE | fields
    given = {name: value for name, value in body.items() if value is not None}
    status, headers, data = (one or self._plain).post(given)
    return status, headers, data

  def _answer(self, fields, one=None):
    status, _, data = self._post(fields, one)
    assert status == 200, data
    return json.loads(data)

  def _choice(self, fields):
    return self._answer(fields)['choices'][0]

  def _events(self, fields):
    lines = self._post(fields)[2].decode().split('\n\n')
    return [
      json.loads(line.removeprefix('data: '))
      for line in lines
      if line and not line.endswith('[DONE]')
    ]

  def status(self, fields):
    return self._post(fields)[0]

  def content_type(self, fields):
    return self._post(fields)[1]['content-type'].partition(';')[0]

  def prompt(self, fields):
    ids = self._answer(fields)['prompt_token_ids']
    return bytes(ids[1:]).decode()  # after the token that begins every prompt

  def ids(self, fields):
    return self._choice(fields).get('token_ids')

  def count(self, fields):
    return self._answer(fields)['usage']['completion_tokens']

  def text(self, fields):
    return self._choice(fields)['message']['content']

  def json(self, fields):
    return json.loads(self.text(fields))

  def first_character(self, fields):
    return self.text(fields)[0]

  def number_of_choices(self, fields):
    return len(self._answer(fields)['choices'])

  def log_probabilities(self, fields):
    told = self._choice(fields)['logprobs'] or {'content': []}
    return [entry['logprob'] for entry in told['content']]

  def number_of_log_probabilities(self, fields):
    return len(self.log_probabilities(fields))

  def number_of_alternatives(self, fields):
    entry = self._choice(fields)['logprobs']['content'][0]
    return len(entry['top_logprobs'])

  def number_of_prompt_log_probabilities(self, fields):
    told = self._answer(fields).get('prompt_logprobs') or []
    return sum(entry is not None for entry in told)

  def usages(self, fields):
    return sum(bool(event.get('usage')) for event in self._events(fields))

  def is_padded(self, fields):
    return all('obfuscation' in event for event in self._events(fields))

  def kinds_of_calls(self, fields):
    message = self._choice(fields)['message']
    return [call['type'] for call in message.get('tool_calls') or []]

  def calls(self, fields):
    message = self._choice(fields)['message']
    return [
      _name_and_input(call[call['type']])
      for call in message.get('tool_calls') or []
    ]

  def end(self, fields):
    return self._choice(fields)['finish_reason']

  def old_call(self, fields):
    called = self._choice(fields)['message'].get('function_call')
    return called and _name_and_input(called)

  def metadata(self, fields):
    return self._answer(fields).get('metadata')

  def stored(self, fields):
    path = f'/v1/chat/completions/{self._answer(fields)["id"]}'
    return self._plain.raw('GET', path)[0]

  def cached(self, fields):
    """Tokens from the cache, when the same prompt was there before."""
    self._answer({'messages': LONG, 'max_tokens': 1})
    usage = self._answer({'messages': LONG, **fields})['usage']
    return usage['prompt_tokens_details']['cached_tokens']

  def thoughts(self, fields):
    usage = self._answer(fields, self._thinking)['usage']
    return usage['completion_tokens_details']['reasoning_tokens']

  def _guesses(self, fields):
    details = self._answer(fields)['usage']['completion_tokens_details']
    return [details[f'{kind}_prediction_tokens'] for kind in (
      'accepted', 'rejected')]  # fmt: skip

  def guessed(self, fields):
    return self._guesses(fields)

  def guessed_right(self, fields):
    return self._guesses(fields)[0]

  def steps(self, fields):
    totals = self._plain.engine.totals
    before = totals.decode_steps
    self._answer(fields)
    return totals.decode_steps - before

  def is_early(self, fields):
    """Whether it ends before one that came earlier, when all rows are busy."""
    engine, ended, threads = self._plain.engine, [], []
    full = {'n': tiny.ENGINE.max_rows, 'ignore_eos': True, 'max_tokens': 40}

    def ask(name, fields):
      def run():
        self._answer(full | fields)
        ended.append(name)

      num_open = engine.num_open
      threads.append(threading.Thread(target=run))
      threads[-1].start()
      harness.wait_until(lambda: engine.num_open == num_open + full['n'])

    ask('blocker', {'max_tokens': 90})
    ask('earlier', {})
    ask('this', fields)
    for thread in threads:
      thread.join()
    return ended.index('this') < ended.index('earlier')


def _name_and_input(call):
  """White space in JSON is drawn."""
  if 'input' in call:
    return call['name'], call['input']
  return call['name'], json.loads(call['arguments'])


def test_g1_every_parameter_has_a_case():
  does = {row.path for row in parameters.TABLE if row.status in DOES}
  assert sorted(does) == sorted(behaviours.CASES)


@pytest.mark.parametrize('path', behaviours.CASES)
def test_g1_changes_the_outcome(places, path):
  what, without, with_it, want = behaviours.CASES[path]
  looks = Looks(*places)
  before = looks.look(what, without)
  after = looks.look(what, with_it)
  assert after != before
  assert want is ... or after == want
