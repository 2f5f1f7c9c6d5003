"""What an answer is worth, kind by kind."""

import threading
import time

import pytest

from chatjax.evals import choice
from chatjax.evals import code
from chatjax.evals import fences
from chatjax.evals import fields
from chatjax.evals import humaneval
from chatjax.evals import items
from chatjax.evals import limited


def grader(kind, **record):
  return items.KINDS[kind](fields.Fields(record, 'here'))


def test_choices_by_log_probability_and_by_byte():
  one = choice.Choice(choices=('yes', 'certainly not'), answer=1)
  assert one.scores([-4.0, -6.0]) == {'acc': 0.0, 'acc_norm': 1.0}
  assert one.scores([-6.0, -4.0]) == {'acc': 1.0, 'acc_norm': 1.0}
  umlauts = choice.Choice(choices=('ää', 'aaa'), answer=0)  # 4 and 3 bytes
  assert umlauts.scores([-3.9, -3.0]) == {'acc': 0.0, 'acc_norm': 1.0}
  assert choice.best([-1.0, -1.0]) == 0


def test_exact_answers():
  one = grader('exact', answer=['Paris', 'the city of Paris'])
  assert one.mark(' Paris\n').score == 1
  mark = one.mark('paris')
  assert (mark.score, mark.detail) == (0, "it is 'paris'")
  loose = grader('exact', answer='The Paris!', normalize='words')
  assert loose.mark('paris').score == 1


def test_patterns():
  assert grader('regex', pattern=r'\bcat').mark('a cat').score == 1
  assert grader('regex', pattern=r'^cat').mark('a cat').score == 0
  one = grader(
    'regex', pattern=r'####\s*(\S+)', answer='1,200', normalize='number'
  )
  assert one.mark('#### 3 no, #### 1200.0').score == 1
  assert one.mark('#### 1200 no, #### 3').detail == "it is '3'"
  assert one.mark('1200').detail == 'the pattern is not there'


BACKTRACKS = r'(a+)+$'
LONG = 'a' * 60 + 'b'


@pytest.fixture
def quick(monkeypatch):
  """Marks with little time, in a process of this test."""
  worker = limited.Worker(0.5)
  monkeypatch.setattr(limited, '_shared', worker)
  yield worker
  worker.close()


@pytest.mark.parametrize(
  ('kind', 'fields', 'text'),
  [
    ('regex', {'pattern': BACKTRACKS}, LONG),
    ('json', {'schema': {'pattern': BACKTRACKS}}, f'"{LONG}"'),
    ('json', {'schema': {'patternProperties': {BACKTRACKS: False}}},
     f'{{"{LONG}": 1}}'),
  ],
)  # fmt: skip
def test_a_pattern_without_end_is_wrong_and_keeps_nobody(
  quick, kind, fields, text
):
  one = grader(kind, **fields)
  marked = []
  thread = threading.Thread(target=lambda: marked.append(one.mark(text)))
  thread.daemon = True
  thread.start()
  ticks = 0
  while thread.is_alive() and ticks < 600:
    time.sleep(0.1)  # other threads go on meanwhile
    ticks += 1
  (mark,) = marked
  assert mark.score == 0
  assert 'took too long' in mark.detail
  assert ticks > 2
  # Whatever comes next is marked as ever.
  assert grader('regex', pattern='b$').mark(LONG).score == 1
  assert one.mark(text) == mark


SCHEMA = {
  'type': 'object',
  'properties': {'age': {'type': 'integer'}},
  'required': ['age'],
}


@pytest.mark.parametrize(
  ('text', 'detail'),
  [
    ('{"age": 4, "name": "Ann"}', ''),
    ('Here:\n```json\n{"name": "Ann", "age": 4.0}\n```\nDone.', ''),
    ('{"age": 4', 'no JSON'),
    ('{"age": NaN}', 'no JSON: NaN'),
    ('[' * 100_000, 'no JSON'),
    ('{"age": "4", "name": "Ann"}', "schema, at $.age: '4' is not of type"),
    ('{"age": 4}', "field 'name' is missing"),
    ('{"age": 4, "name": "Bob"}', "field 'name' is another"),
    ('4', 'schema, at $: 4 is not of type'),
  ],
)
def test_json_of_a_schema_with_fields(text, detail):
  one = grader('json', schema=SCHEMA, fields={'name': 'Ann'})
  mark = one.mark(text)
  assert mark.score == (detail == '')
  assert mark.detail.startswith(detail)


@pytest.mark.parametrize(
  ('answer', 'text', 'is_right'),
  [
    ([1, {'a': None}], '[1.0, {"a": null}]', True),
    ({'a': 1, 'b': 2}, '{"b": 2, "a": 1}', True),
    ({'a': 1}, '{"a": true}', False),
    ([True], '[1]', False),
    ({'a': 1}, '{"a": 1, "b": 2}', False),
    ([1, 2], '[2, 1]', False),
    (False, 'false', True),
    (0, 'false', False),
  ],
)
def test_whole_values_of_json(answer, text, is_right):
  assert grader('json', answer=answer).mark(text).score == is_right


@pytest.mark.parametrize(
  ('text', 'block'),
  [
    ('no code', None),
    ('a `b` c ```d``` e', None),
    ('Here:\n```python\nx = 1\n```\nand\n```\ny\n```', 'x = 1\n'),
    ('```\nx\n', 'x\n'),
    ('```py', ''),
    ('```md\n```py\nx\n```', '```py\nx\n'),
    ('   ```c++ title\r\nx\n  ```  ', 'x\n'),
  ],
)
def test_the_first_fenced_block(text, block):
  assert fences.first_block(text) == block


PROMPT = (
  'import math\n\ndef half(x):\n  return x / 2\n\ndef area(r):\n  """A."""\n'
)
TEST = 'def check(f):\n  assert f(2) == math.pi'
GOOD = 'def area(r):\n  return half(r) ** 2 * math.pi'


@pytest.mark.parametrize(
  ('answer', 'score'),
  [
    (f'Sure:\n```python\n{GOOD}\n```\nIt works.', 1),
    (GOOD, 1),  # with what the prompt has before it
    ('  return half(r) ** 2 * math.pi', 1),  # the prompt is continued
    (f'```python\n{GOOD}\n', 1),
    ('area = lambda r: math.pi', 1),
    ('```python\ndef area(r):\n  return 0\n```', 0),
    ('I cannot.', 0),
    ('', 0),
    (f'{GOOD}\nimport os; os._exit(0)', 0),
  ],
)
def test_code_is_run(answer, score):
  one = code.Code(test=TEST, entry_point='area', prompt=PROMPT)
  assert one.mark(answer).score == score


def test_code_of_a_task_file():
  one = grader('code', test='assert f(1) == 2')
  assert one.mark('```\ndef f(x): return x + 1\n```').score == 1
  assert one.mark('def f(x): return x').detail == 'AssertionError'


def test_how_humaneval_is_asked():
  problem = humaneval.Problem(
    task_id='t', prompt=f'\n\n{PROMPT}', entry_point='area', test=TEST
  )
  assert problem.question.endswith(f'\n\n```python\n{PROMPT}```')
  assert problem.question.startswith('Complete this Python function.')


DEEP = {'$ref': '#/$defs/a', '$defs': {'a': {'$ref': '#/$defs/a'}}}


def test_a_schema_without_end_is_wrong():
  mark = grader('json', schema=DEEP).mark('1')
  assert (mark.score, mark.detail) == (0, 'schema, nested too deep')


@pytest.mark.parametrize('text', ['1e999', '1' * 400])
def test_a_number_that_the_validator_cannot_take_is_wrong(text):
  mark = grader('json', schema={'multipleOf': 0.1}).mark(text)
  assert (mark.score, mark.detail[:6]) == (0, 'schema')


URL = 'http://127.0.0.1:9/schema.json'


@pytest.mark.parametrize(
  ('schema', 'told'),
  [
    ({'$ref': '#/$defs/x'}, "'#/$defs/x' is not"),
    ({'items': {'$ref': URL}}, f"'{URL}' is not"),
    ({'$ref': '#nowhere'}, "'#nowhere' is not"),
    ({'$dynamicRef': '#nowhere'}, "'#nowhere' is not"),
    ({'$ref': '#/required', 'required': ['a']}, "'#/required' is no schema"),
    # Only what is referred to leads there.
    ({'$ref': '#/more/0', 'more': [{'not': {'$ref': '#/$defs/y'}}]},
     "'#/$defs/y' is not"),
    ({'$ref': '#/more', 'more': {'type': 'wrong'}}, "'wrong' is not valid"),
    ({'$schema': 'http://json-schema.org/draft-07/schema#',
      'definitions': {'a': {}}, '$ref': '#/definitions/b'},
     "'#/definitions/b' is not"),
  ],
)  # fmt: skip
def test_references_that_lead_nowhere_are_told_at_once(schema, told):
  with pytest.raises(fields.TaskError) as caught:
    grader('json', schema=schema)
  assert "here: the field 'schema' is" in str(caught.value)
  assert told in str(caught.value)


@pytest.mark.parametrize(
  'schema',
  [
    {'$ref': '#/$defs/n', '$defs': {'n': {'type': 'integer'}}},
    {'$ref': '#/definitions/n', 'definitions': {'n': {'type': 'integer'}}},
    {'$ref': '#n', '$defs': {'a': {'$anchor': 'n', 'type': 'integer'}}},
    {'$id': 'http://a.example/b', '$ref': 'n',
     '$defs': {'a': {'$id': 'n', 'type': 'integer'}}},
    {'$ref': '#/properties/%24ref',
     'properties': {'$ref': {'type': 'integer'}}},
    {'type': 'integer', 'not': {'const': {'$ref': '#/nowhere'}}},
    {'type': 'integer', 'not': {
        '$ref': 'http://json-schema.org/draft-07/schema#'}},
    {'$schema': 'http://json-schema.org/draft-04/schema#', 'id': 'urn:a',
     'definitions': {'a': {'$ref': '#/definitions/n'},
                     'n': {'type': 'integer'}},
     'allOf': [{'$ref': '#/definitions/a'}]},
  ],
)  # fmt: skip
def test_references_within_a_schema(schema):
  one = grader('json', schema=schema)
  assert one.mark('4').score == 1
  assert one.mark('"4"').score == 0
