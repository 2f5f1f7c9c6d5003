"""What one API key may have at a time."""

import threading

import openai
import pytest

from chatjax import types
from chatjax.cli import serve as serve_cli
from chatjax.serve import quota as quota_lib
from chatjax.testing import fake_engine
from tests.serve import harness

BODY = {'model': 'tiny', 'messages': harness.MESSAGES}
ENDLESS = fake_engine.text_script('x' * 4000, end=False)
KEYS = ('sesame', 'open')


def ask(one, key, **fields):
  """Status and code of a short answer."""
  head = {'Authorization': f'Bearer {key}'}
  status, headers, data = one.post(
    {**BODY, 'max_tokens': 1} | fields, headers=head
  )
  if status == 200:
    return status, None
  if status == 429:
    assert headers['retry-after'] == '1'
  return status, harness.error_of(data)['code']


@pytest.fixture
def one():
  with harness.Served(
    ENDLESS, block=1, pause_s=0.02, api_keys=KEYS, max_per_key=4
  ) as served:
    yield served


def running(one, key, n, **fields):
  """An answer that goes on until its connection is closed."""
  return one.open_request(key=key, n=n, **fields)


def test_n_counts_as_n_and_keys_do_not_count_for_each_other(one):
  connections = [running(one, KEYS[0], 3), running(one, KEYS[0], 1)]
  harness.wait_until(lambda: one.engine.num_open == 4)
  assert ask(one, KEYS[0]) == (429, 'rate_limit_exceeded')
  assert ask(one, KEYS[1], n=4) == (200, None)
  assert ask(one, KEYS[1], n=5) == (400, 'invalid_value')
  connections.pop().close()
  harness.wait_until(lambda: one.engine.num_open == 3)
  harness.wait_until(lambda: ask(one, KEYS[0]) == (200, None))
  assert ask(one, KEYS[0], n=2) == (429, 'rate_limit_exceeded')
  connections.pop().close()
  harness.wait_until(lambda: ask(one, KEYS[0], n=4) == (200, None))


def test_what_fails_holds_nothing(one):
  for fields in ({'temperature': -1}, {'messages': []}, {'stop': 5}):
    for _ in range(5):
      assert ask(one, KEYS[0], **fields)[0] == 400
  assert ask(one, KEYS[0], n=4) == (200, None)


def test_streams_and_plain_texts_count(one):
  stream = running(one, KEYS[0], 3, stream=True)
  harness.wait_until(lambda: one.engine.num_open == 3)
  head = {'Authorization': f'Bearer {KEYS[0]}'}
  text = {'model': 'tiny', 'prompt': ['a', 'b'], 'max_tokens': 1}
  status, _, data = one.post(text, path='/v1/completions', headers=head)
  assert (status, harness.error_of(data)['type']) == (429, 'rate_limit_error')
  stream.close()
  harness.wait_until(lambda: ask(one, KEYS[0], n=4) == (200, None))
  assert one.post(text, path='/v1/completions', headers=head)[0] == 200
  assert ask(one, KEYS[0], n=4) == (200, None)


def test_the_official_client_knows_the_error(one):
  running_one = running(one, KEYS[0], 4)
  harness.wait_until(lambda: one.engine.num_open == 4)
  args = one.client_args | {'api_key': KEYS[0]}
  with (
    openai.OpenAI(**args) as client,
    pytest.raises(openai.RateLimitError, match='4 at a time are allowed'),
  ):
    client.chat.completions.create(**BODY)
  running_one.close()


def test_many_threads_never_take_too_much():
  quota = quota_lib.Quota(5)
  most, held, lock = [0], [0], threading.Lock()

  def work():
    for _ in range(300):
      share = quota.share(0)
      try:
        share.take(2)
      except types.RequestError:
        continue
      with lock:
        held[0] += 2
        most[0] = max(most[0], held[0])
      with lock:
        held[0] -= 2
      share.give_back()
      share.give_back()

  threads = [threading.Thread(target=work) for _ in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert 2 <= most[0] <= 4
  quota.take(0, 5)


def test_keys_are_told_apart_by_commas():
  assert serve_cli.keys(' a, b,,') == ('a', 'b')
  assert serve_cli.keys('') == ()
