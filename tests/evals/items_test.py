"""Task files: what they may hold, and that errors name line and field."""

import json

import pytest

from chatjax.evals import fields
from chatjax.evals import items

EXACT = {'question': 'What is 2 + 2?', 'kind': 'exact', 'answer': '4'}
CHOICE = {
  'prompt': 'Two and two is', 'kind': 'choice', 'choices': [' four', ' five'],
  'answer': 0,
}  # fmt: skip


def write(tmp_path, *records):
  path = tmp_path / 'task.jsonl'
  lines = [
    line if isinstance(line, str) else json.dumps(line) for line in records
  ]
  path.write_text('\n'.join(lines))
  return path


def refused(tmp_path, *records, **arguments):
  path = write(tmp_path, *records)
  with pytest.raises(fields.TaskError) as caught:
    items.read(path, **arguments)
  text = str(caught.value)
  assert text.startswith(str(path))
  return text.removeprefix(str(path))


def test_items_come_in_their_order_with_their_lines(tmp_path):
  path = write(tmp_path, EXACT, '', {**CHOICE, 'id': 'c', 'meta': {'a': 1}}, '')
  one, two = items.read(path)
  assert (one.id, one.line, one.kind, one.prompt) == ('1', 1, 'exact', None)
  assert one.messages == ({'role': 'user', 'content': 'What is 2 + 2?'},)
  assert one.grader.mark(' 4\n').score == 1
  assert (two.id, two.line, two.kind, two.messages) == ('c', 3, 'choice', None)
  assert two.record == {**CHOICE, 'id': 'c', 'meta': {'a': 1}}
  assert items.kinds([two, one]) == ['choice', 'exact']


def test_the_kind_of_all_items_may_be_said_once(tmp_path):
  record = {key: EXACT[key] for key in ('question', 'answer')}
  path = write(tmp_path, record, {**CHOICE, 'question': None})
  kinds = [one.kind for one in items.read(path, kind='exact')]
  assert kinds == ['exact', 'choice']


@pytest.mark.parametrize('answer', [1, 'B', ' five'])
def test_a_right_choice_has_three_names(tmp_path, answer):
  (item,) = items.read(write(tmp_path, {**CHOICE, 'answer': answer}))
  assert item.grader.answer == 1


@pytest.mark.parametrize(
  ('record', 'told'),
  [
    ('{"a": ', ': it is no JSON'),
    ('{"a": NaN}', ': it is no JSON (NaN'),
    ('[]', ': it must be a JSON object'),
    ({}, ": the field 'kind' is missing; it is one of choice, exact"),
    ({'kind': 'essay'}, ': the field \'kind\' is "essay"; it must be one of'),
    ({'kind': 'exact'}, ': it has nothing to ask; give exactly one of'),
    ({**EXACT, 'messages': []}, ': it has question and messages to ask'),
    ({**EXACT, 'prompt': 'x'}, ": there is no field 'prompt' here"),
    ({**EXACT, 'question': 3}, ": the field 'question' is 3; it must be a str"),
    ({**EXACT, 'answer': None}, ": the field 'answer' is missing"),
    ({**EXACT, 'answer': ['4', 5]}, ': the field \'answer\' is ["4", 5]; it'),
    ({**EXACT, 'answr': '4'}, ": there is no field 'answr' here; there are an"),
    ({**EXACT, 'answr': '4'}, "Did you mean 'answer'?"),
    ({**EXACT, 'normalize': 'no'}, ': the field \'normalize\' is "no"; it mus'),
    ({**EXACT, 'id': '\ud800'}, ": the field 'id' has half of a surrogate"),
    ({**EXACT, 'question': 'a\udc00'}, ": the field 'question' has half of"),
    ({**EXACT, 'meta': {'\ud800': 1}}, ": the field 'meta' has half of"),
    ({**EXACT, 'answer': 'A', 'normalize': 'words'}, 'leaves something'),
    (
      {**EXACT, 'answer': ['1', 'none'], 'normalize': 'number'},
      ": the field 'answer' is",
    ),
    (
      {
        'kind': 'regex',
        'question': '',
        'pattern': '(a)',
        'answer': 'a',
        'normalize': 'number',
      },
      ": the field 'answer' is",
    ),
    ({**EXACT, 'id': 7}, ": the field 'id' is 7"),
    ({**EXACT, 'request': {'n': 2}}, "without 'n', which the run decides"),
    ({**EXACT, 'request': {'top_p': 2}}, "(Invalid value for 'top_p': 2.0"),
    ({**EXACT, 'request': {'topp': 1}}, 'fields of a request (Unknown param'),
    (
      {'kind': 'exact', 'answer': '', 'messages': [{'role': 'x'}]},
      ": the field 'messages' is",
    ),
    ({**CHOICE, 'choices': ['a']}, ': the field \'choices\' is ["a"]; it must'),
    ({**CHOICE, 'choices': ['a', '']}, ": the field 'choices' is"),
    ({**CHOICE, 'answer': 2}, ": the field 'answer' is 2; it must be the ind"),
    ({**CHOICE, 'answer': True}, ": the field 'answer' is true"),
    ({**CHOICE, 'answer': 'C'}, ': the field \'answer\' is "C"'),
    ({**CHOICE, 'prompt': ''}, ': the field \'prompt\' is ""'),
    ({**CHOICE, 'request': {'top_p': 1}}, ': a choice is scored'),
    ({'kind': 'regex', 'question': '', 'pattern': '('}, ": the field 'pattern"),
    (
      {'kind': 'regex', 'question': '', 'pattern': 'a', 'answer': 'a'},
      'with a group',
    ),
    (
      {'kind': 'regex', 'question': '', 'pattern': 'a{99999999999999999999}'},
      'a regular expression (the repetition number is too large)',
    ),
    (
      {'kind': 'regex', 'question': '', 'pattern': '(' * 3000 + ')' * 3000},
      'a regular expression (maximum recursion',
    ),
    (
      {'kind': 'json', 'question': '', 'schema': {'$schema': {}}},
      "whose '$schema' is a string",
    ),
    (
      {'kind': 'json', 'question': '', 'schema': {'$schema': 5}},
      "whose '$schema' is a string",
    ),
    (
      {
        'kind': 'json',
        'question': '',
        'schema': {'pattern': 'a{99999999999999999999}'},
      },
      ": the field 'schem",
    ),
    (
      {
        'kind': 'json',
        'question': '',
        'schema': {'pattern': '(' * 3000 + ')' * 3000},
      },
      ": the field 'schem",
    ),
    ({'kind': 'json', 'question': ''}, ": the field 'answer' is null; it must"),
    (
      {'kind': 'json', 'question': '', 'schema': {'type': 'strin'}},
      ": the field 'schema' is",
    ),
    ({'kind': 'code', 'question': ''}, ": the field 'test' is missing"),
    (
      {'kind': 'code', 'question': '', 'test': '', 'entry_point': 'a b'},
      ": the field 'entry_point' is",
    ),
  ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path, record, told):
  text = refused(tmp_path, EXACT, record)
  assert text.startswith(', line 2: ')
  assert told in text


def test_ids_differ(tmp_path):
  text = refused(tmp_path, {**EXACT, 'id': '2'}, EXACT)
  assert text == ", line 2: the id '2' is that of line 1; ids must differ."


def test_files_that_cannot_be_read(tmp_path):
  assert 'is empty' in refused(tmp_path, '', ' ')
  with pytest.raises(fields.TaskError, match='No such file'):
    items.read(tmp_path / 'nowhere.jsonl')
  path = tmp_path / 'latin.jsonl'
  path.write_bytes(json.dumps(EXACT).encode() + b'\n{"a": "\xe4"}')
  with pytest.raises(fields.TaskError, match='line 2: it is no UTF-8'):
    items.read(path)
