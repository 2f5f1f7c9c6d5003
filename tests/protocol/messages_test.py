"""Conversations with calls, files and thoughts, as a template gets them."""

import base64

import pytest

from chatjax import types
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import request as request_lib
from tests.protocol import samples

USER, CALLED = samples.USER, samples.CALLED
RESULT_A, RESULT_B = samples.RESULT_A, samples.RESULT_B


def shown(*messages, limits=None):
  body = samples.body(messages=list(messages))
  return request_lib.parse(body, limits=limits).request.messages


def refuse(*messages, limits=None):
  with pytest.raises(types.RequestError) as caught:
    shown(*messages, limits=limits)
  return caught.value


def said(**fields):
  return {'role': 'assistant', **fields}


def user(*parts):
  return {'role': 'user', 'content': list(parts)}


def data_url(kind, text):
  return f'data:{kind};base64,{samples.encoded(text)}'


def test_calls_and_results():
  assert shown(USER, CALLED, RESULT_B, RESULT_A) == [
    USER,
    {
      'role': 'assistant',
      'content': '',
      'reasoning_content': 'hm',
      'thinking': 'hm',
      'tool_calls': [
        {
          'type': 'function',
          'id': 'call_a',
          'function': {'name': 'f', 'arguments': {'a': [1, 'é']}},
        },
        {
          'type': 'function',
          'id': 'call_b',
          'function': {'name': 'c', 'arguments': {'input': 'aa'}},
        },
      ],
    },
    {'role': 'tool', 'content': 'two', 'tool_call_id': 'call_b'},
    {'role': 'tool', 'content': 'one', 'tool_call_id': 'call_a'},
  ]


def test_the_old_form_becomes_the_new_one():
  assert shown(USER, samples.OLD_CALLED, samples.OLD_RESULT) == [
    USER,
    {
      'role': 'assistant',
      'content': '',
      'tool_calls': [
        {
          'type': 'function',
          'id': 'call_1',
          'function': {'name': 'f', 'arguments': {}},
        }
      ],
    },
    {'role': 'tool', 'content': 'three', 'name': 'f', 'tool_call_id': 'call_1'},
  ]
  null = {'role': 'function', 'name': 'f', 'content': None}
  assert shown(samples.OLD_CALLED, null)[1]['content'] == ''


@pytest.mark.parametrize(
  ('messages', 'param'),
  [
    ([RESULT_A], 'messages[0].tool_call_id'),
    ([USER, RESULT_A], 'messages[1].tool_call_id'),
    ([CALLED], 'messages[0].tool_calls'),
    ([CALLED, RESULT_A], 'messages[0].tool_calls'),
    ([CALLED, RESULT_A, USER, RESULT_B], 'messages[0].tool_calls'),
    ([CALLED, USER], 'messages[0].tool_calls'),
    ([CALLED, CALLED], 'messages[0].tool_calls'),
    ([CALLED, RESULT_A, RESULT_A], 'messages[2].tool_call_id'),
    (
      [CALLED, RESULT_A, RESULT_B, RESULT_A],
      'messages[3].tool_call_id',
    ),
    (
      [CALLED, RESULT_A, RESULT_B, USER, RESULT_A],
      'messages[4].tool_call_id',
    ),
    ([samples.OLD_RESULT], 'messages[0].name'),
    ([samples.OLD_CALLED, USER, samples.OLD_RESULT], 'messages[2].name'),
    (
      [samples.OLD_CALLED, samples.OLD_RESULT | {'name': 'g'}],
      'messages[1].name',
    ),
    (
      [said(tool_calls=CALLED['tool_calls'][:1] * 2), RESULT_A],
      'messages[0].tool_calls[1].id',
    ),
    (
      [CALLED | {'function_call': {'name': 'f', 'arguments': '{}'}}],
      'messages[0].function_call',
    ),
    ([said(content='x', reasoning='a', reasoning_content='b')],
     'messages[0].reasoning'),
    ([said(content=None)], 'messages[0].content'),
    ([said(content=None, tool_calls=[])], 'messages[0].content'),
    ([said(reasoning='a')], 'messages[0].content'),
    ([{'role': 'tool', 'content': 'x'}], 'messages[0].tool_call_id'),
    ([{'role': 'function', 'content': 'x'}], 'messages[0].name'),
    ([{'role': 'user', 'content': None}], 'messages[0].content'),
    ([USER | {'refusal': 'x'}], 'messages[0].refusal'),
    ([USER | {'tool_call_id': 'x'}], 'messages[0].tool_call_id'),
    ([USER | {'reasoning': 'x'}], 'messages[0].reasoning'),
    ([user({'type': 'refusal', 'refusal': 'x'})],
     'messages[0].content[0].type'),
    ([said(content=[samples.file_part()])], 'messages[0].content[0].type'),
    ([user({'type': 'text', 'text': 'x', 'file': {}})],
     'messages[0].content[0].file.file_data'),
    ([user({'type': 'text', 'text': 'x', 'refusal': 'x'})],
     'messages[0].content[0].refusal'),
    ([user({'type': 'text'})], 'messages[0].content[0].text'),
  ],
)  # fmt: skip
def test_what_does_not_fit(messages, param):
  assert refuse(*messages).param == param


@pytest.mark.parametrize(
  'arguments', ['{', '[]', '1', 'null', '{"a": NaN}', '{"a": 1e999}',
                '{"a": "\\ud800"}', '"{}"', '{} {}', '[' * 10**5,
                '{"a":' * 70 + '1' + '}' * 70],
)  # fmt: skip
def test_arguments_that_are_no_object(arguments):
  called = {'name': 'f', 'arguments': arguments}
  call = {'id': 'x', 'type': 'function', 'function': called}
  error = refuse(said(tool_calls=[call]))
  assert error.param == 'messages[0].tool_calls[0].function.arguments'
  error = refuse(said(function_call=called))
  assert error.param == 'messages[0].function_call.arguments'


def test_no_arguments_are_none():
  called = {'name': 'f', 'arguments': ' '}
  call = {'id': 'x', 'type': 'function', 'function': called}
  result = {'role': 'tool', 'content': '1', 'tool_call_id': 'x'}
  _, said_so, _ = shown(USER, said(tool_calls=[call]), result)
  assert said_so['tool_calls'][0]['function']['arguments'] == {}


@pytest.mark.parametrize('kind', ['function', 'custom'])
def test_the_type_of_a_call_shows_by_itself(kind):
  content = {'function': {'arguments': '{}'}, 'custom': {'input': ''}}[kind]
  call = {'id': 'x', kind: {'name': 'f', **content}}
  result = {'role': 'tool', 'content': '1', 'tool_call_id': 'x'}
  for more in ({}, {'type': None}):
    told = shown(USER, said(tool_calls=[{**call, **more}]), result)
    assert told == shown(
      USER, said(tool_calls=[{**call, 'type': kind}]), result
    )
  error = refuse(USER, said(tool_calls=[{'id': 'x'}]), result)
  assert error.param == 'messages[1].tool_calls[0].function'


def test_refusals_and_thoughts():
  parts = [
    {'type': 'text', 'text': 'a'}, {'type': 'refusal', 'refusal': 'b'}
  ]  # fmt: skip
  (message,) = shown(said(content=parts, refusal='c', reasoning='d'))
  assert message == said(content='abc', reasoning_content='d', thinking='d')
  (message,) = shown(said(refusal='no', reasoning='d', reasoning_content='d'))
  assert message == said(content='no', reasoning_content='d', thinking='d')
  (message,) = shown(said(content='x', reasoning=''))
  assert message == said(content='x', reasoning_content='', thinking='')


def test_names_are_kept():
  for role in ('developer', 'system', 'user', 'assistant'):
    message = {'role': role, 'content': 'x', 'name': 'ann'}
    assert shown(message) == [message]
  result = RESULT_A | {'name': 'f'}
  called = CALLED | {'tool_calls': CALLED['tool_calls'][:1]}
  assert shown(called, result)[1] == result
  assert refuse(USER | {'name': 'n' * 65}).param == 'messages[0].name'


@pytest.mark.parametrize(
  ('file', 'text'),
  [
    ({}, 'x.csv\na,b\n'),
    ({'filename': 'N O.MD'}, 'N O.MD\na,b\n'),
    ({'filename': 'x.markdown'}, 'x.markdown\na,b\n'),
    ({'filename': 'x.json'}, 'x.json\na,b\n'),
    ({'filename': 'x.txt', 'file_data': samples.encoded('é\n')}, 'x.txt\né\n'),
    ({'file_data': samples.encoded('\ufeffbom')}, 'x.csv\nbom\n'),
    (
      {'filename': 'x.exe', 'file_data': data_url('text/plain', 'hi')},
      'x.exe\nhi\n',
    ),
    ({'filename': None, 'file_data': data_url('text/csv', 'a,b')}, 'a,b\n'),
    (
      {'file_data': data_url('TEXT/Markdown;charset=utf-8', '# a')},
      'x.csv\n# a\n',
    ),
    ({'file_data': data_url('application/json', '')}, 'x.csv\n\n'),
  ],
)
def test_files_are_text(file, text):
  (message,) = shown(user(samples.file_part(**file)))
  assert message == {'role': 'user', 'content': text}
  ask = {'type': 'text', 'text': 'read:'}
  (message,) = shown(user(ask, samples.file_part(**file), ask))
  assert message['content'] == f'read:\n{text}read:'


@pytest.mark.parametrize(
  'file',
  [
    {'filename': 'x.pdf'},
    {'filename': 'csv.'},
    {'filename': None},
    {'filename': 'x.csv', 'file_data': data_url('application/pdf', 'a')},
    {'filename': 'x.bin', 'file_data': data_url('', 'a')},
    {'file_data': 'data:text/plain,a'},
    {'file_data': 'data:'},
    {'file_data': 'not base64!'},
    {'file_data': 'YQ'},
    {'file_data': ' YQ=='},
    {'file_data': base64.b64encode(b'\xff\xfe').decode()},
    {'file_data': samples.encoded('x' * (2**19 + 1))},
    {'file_data': None, 'filename': 'x.csv'},
  ],
)
def test_files_that_cannot_be_read(file):
  error = refuse(user(samples.file_part(**file)))
  assert error.param == 'messages[0].content[0].file.file_data'
  assert len(str(error)) < 400


def test_a_file_cannot_write_lines_of_its_own():
  for name in ('a\nb.txt', 'a\u2028.txt', 'a\x00.txt', 'n' * 252 + '.txt'):
    error = refuse(user(samples.file_part(filename=name)))
    assert error.param == 'messages[0].content[0].file.filename'
  limits = limits_lib.Limits(max_file_bytes=3)
  assert shown(user(samples.file_part('abc')), limits=limits)
  assert refuse(user(samples.file_part('abcd')), limits=limits)
