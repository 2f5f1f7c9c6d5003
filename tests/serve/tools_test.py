"""Tokens, texts and what is served; comments and padding of streams."""

import json

import pytest

import chatjax
from chatjax.protocol import parameters
from chatjax.serve import timeouts
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine
from tests.serve import harness

BOS = byte_tokenizer.BOS


@pytest.fixture(scope='module')
def served():
  with harness.Served(fake_engine.text_script('answer')) as one:
    yield one


def ask(served, path, **body):
  status, _, data = served.post(body, path)
  return status, json.loads(data)


def test_tokenize_a_text(served):
  status, told = ask(served, '/tokenize', model='tiny', prompt='hé')
  assert status == 200
  assert told == {
    'count': 4,
    'max_model_len': 4096,
    'tokens': [BOS, *'hé'.encode()],
  }
  _, told = ask(
    served, '/tokenize', prompt='h', add_special_tokens=False,
    return_token_strs=True,
  )  # fmt: skip
  assert told['tokens'] == [104]
  assert told['token_strs'] == ['<0x68>']


def test_tokenize_a_chat_is_what_a_request_counts(served):
  _, told = ask(served, '/tokenize', messages=harness.MESSAGES)
  answer = served.create(extra_body={'return_token_ids': True})
  assert told['tokens'] == answer.prompt_token_ids
  assert told['count'] == answer.usage.prompt_tokens


def test_what_a_harness_asks_of_a_tokenizer(served):
  status, _, data = served.raw('GET', '/tokenizer_info')
  assert status == 200
  assert json.loads(data) == {
    'bos_token': '<bos>',
    'eos_token': '<eos>',
    'add_bos_token': True,
    'model_max_length': 4096,
    'chat_template': '',
  }


def test_detokenize_spells_control_tokens(served):
  _, told = ask(served, '/detokenize', tokens=[BOS, *'hé'.encode(), 0xC3])
  assert told == {'prompt': '<bos>hé\ufffd'}


@pytest.mark.parametrize(
  ('path', 'body', 'param'),
  [
    ('/tokenize', {}, 'prompt'),
    ('/tokenize', {'prompt': 5}, 'prompt'),
    ('/tokenize', {'prompt': 'x', 'messages': harness.MESSAGES}, 'prompt'),
    ('/tokenize', {'prompt': 'x', 'what': 1}, 'what'),
    ('/tokenize', {'messages': []}, 'messages'),
    ('/tokenize', {'messages': harness.MESSAGES, 'x': 1}, 'x'),
    (
      '/tokenize',
      {'messages': harness.MESSAGES, 'return_token_strs': 1},
      'return_token_strs',
    ),
    ('/detokenize', {'tokens': [258]}, 'tokens'),
    ('/detokenize', {'tokens': [True]}, 'tokens[0]'),
    ('/detokenize', {'tokens': [-1]}, 'tokens[0]'),
    ('/detokenize', {}, 'tokens'),
  ],
)
def test_what_is_wrong_is_named(served, path, body, param):
  status, _, data = served.post(body, path)
  assert status == 400
  assert harness.error_of(data)['param'] == param


@pytest.mark.parametrize('path', ['/tokenize', '/detokenize'])
def test_another_model_is_not_served(served, path):
  body = {'model': 'other', 'prompt': 'x', 'tokens': [1]}
  body.pop('tokens' if path == '/tokenize' else 'prompt')
  status, _, data = served.post(body, path)
  assert (status, harness.error_of(data)['code']) == (404, 'model_not_found')


def test_version_and_capabilities(served):
  status, _, data = served.raw('GET', '/version')
  assert (status, json.loads(data)) == (200, {'version': chatjax.__version__})
  status, _, data = served.raw('GET', '/v1/capabilities')
  told = json.loads(data)
  assert (status, told['model']) == (200, 'tiny')
  assert len(told['parameters']) == len(parameters.TABLE)


def test_a_silent_stream_says_that_it_goes_on():
  script = fake_engine.text_script('slow')
  waits = timeouts.Timeouts(keep_alive_s=0.02)
  with harness.Served(script, block=1, pause_s=0.1, timeouts=waits) as served:
    _, _, data = served.post(
      {'model': 'tiny', 'messages': harness.MESSAGES, 'stream': True}
    )
    assert data.count(b'\n\n: keep-alive\n\n') > 3
    text = ''.join(
      chunk.choices[0].delta.content or '' for chunk in served.stream()
    )
    assert text == 'slow'


def test_a_stream_that_writes_a_call_says_that_it_goes_on():
  """Tokens come all the time, and nothing of them is shown before its end."""
  call = '<tool_call>{"name": "f", "arguments": {"a": "' + 'x' * 40 + '"}}'
  script = fake_engine.text_script(call + '</tool_call>')
  waits = timeouts.Timeouts(keep_alive_s=0.1)
  tool = {'type': 'function', 'function': {'name': 'f', 'parameters': {}}}
  engine = {'block': 1, 'pause_s': 0.02, 'output_format': 'hermes'}
  with harness.Served(script, timeouts=waits, **engine) as served:
    _, _, data = served.post(
      {
        'model': 'tiny', 'messages': harness.MESSAGES, 'stream': True,
        'tools': [tool],
      }
    )  # fmt: skip
  assert b'"tool_calls"' in data
  assert data.count(b'\n\n: keep-alive\n\n') >= 5


def test_a_stream_that_speaks_needs_no_comments():
  script = fake_engine.text_script('x' * 80)
  waits = timeouts.Timeouts(keep_alive_s=1.0)
  engine = {'block': 1, 'pause_s': 0.02}
  with harness.Served(script, timeouts=waits, **engine) as served:
    _, _, data = served.post(
      {'model': 'tiny', 'messages': harness.MESSAGES, 'stream': True}
    )
  assert b'keep-alive' not in data


def test_padding_makes_events_of_one_size(served):
  body = {
    'model': 'tiny', 'messages': harness.MESSAGES, 'stream': True,
    'stream_options': {'include_obfuscation': True},
  }  # fmt: skip
  _, _, data = served.post(body)
  events = [line for line in data.split(b'\n') if line.startswith(b'data: {')]
  texts = [json.loads(event[6:]) for event in events]
  assert all(text['obfuscation'] is not None for text in texts)
  assert {(len(event) - 6) % 128 for event in events} == {0}
  _, _, data = served.post({**body, 'stream_options': {}})
  assert b'obfuscation' not in data
