"""lm-evaluation-harness and inspect-ai against a live server, local tasks.

They are of the extra `evals`. Their versions of other packages may not be ours:
CHATJAX_EVALS_PYTHON may name the Python of an environment of their own.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from chatjax.chat import scoring
from tests.clients import scripted
from tests.evals import tasks
from tests.serve import harness

pytestmark = pytest.mark.slow
PROGRAM = pathlib.Path(__file__).with_name('inspect_program.py')
CHOICES = [
  {'question': 'One, two,', 'choices': [' three', ' tea', ' 4'], 'answer': 0},
  {'question': 'Red, green,', 'choices': [' blau', ' blue'], 'answer': 1},
  {'question': 'Äpfel und', 'choices': [' Birnen', '...'], 'answer': 0},
]
QUESTIONS = [
  {'question': 'What is 2 + 3?', 'answer': '5'},
  {'question': 'What is 9 + 9?', 'answer': '18'},
  {'question': 'Which colour is the sky?', 'answer': 'blue'},
]
SCRIPT = (('2 + 3', '5'), ('9 + 9', 'It is 19'), ('sky', 'blue'))


def python():
  """A Python that has the harnesses."""
  if named := os.environ.get('CHATJAX_EVALS_PYTHON'):
    return named
  for package in ('lm_eval', 'inspect_ai'):
    if importlib.util.find_spec(package) is None:
      pytest.skip(
        f'{package} is not installed: pip install chatjax[evals], or name the'
        ' Python of an environment that has it in CHATJAX_EVALS_PYTHON'
      )
  return sys.executable


def run(arguments, tmp_path, **env):
  """Runs a program of a harness, which can reach no hub."""
  done = subprocess.run(
    [python(), *arguments],
    cwd=tmp_path,
    env={
      'PATH': os.environ['PATH'],
      'HOME': str(tmp_path),
      'HF_HUB_OFFLINE': '1',
      'HF_DATASETS_OFFLINE': '1',
      'OPENAI_API_KEY': 'none',
      **env,
    },
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-4000:]
  return done.stdout


def lm_eval(served, tmp_path, *, model, task, records, arguments=()):
  """(results, samples) of a local task."""
  data = tmp_path / 'data.jsonl'
  data.write_text(''.join(f'{json.dumps(one)}\n' for one in records))
  folder = tmp_path / 'tasks'
  folder.mkdir()
  written = {
    'task': 'local_task',
    'dataset_path': 'json',
    'dataset_kwargs': {'data_files': {'test': str(data)}},
    'test_split': 'test',
    'doc_to_text': '{{question}}',
    **task,
  }
  (folder / 'local_task.yaml').write_text(json.dumps(written))
  path = 'completions' if model == 'local-completions' else 'chat/completions'
  base_url = f'http://127.0.0.1:{served.port}/v1/{path}'
  told = f'model={served.model_id},base_url={base_url},max_retries=1'
  run(
    ['-m', 'lm_eval', f'--model={model}', f'--model_args={told},max_length=128',
     '--tasks=local_task', f'--include_path={folder}', '--log_samples',
     f'--output_path={tmp_path / "out"}', *arguments],
    tmp_path,
  )  # fmt: skip
  (results,) = (tmp_path / 'out').rglob('results_*.json')
  (samples,) = (tmp_path / 'out').rglob('samples_*.jsonl')
  lines = [json.loads(line) for line in samples.read_text().splitlines()]
  lines.sort(key=lambda one: one['doc_id'])
  return json.loads(results.read_text())['results']['local_task'], lines


@pytest.fixture(scope='module')
def tiny():
  session = tasks.tiny_session()
  with harness.Served(session=session) as one:
    one.model_id = session.model_id
    one.session = session
    yield one
  session.engine.close()


@pytest.fixture(scope='module')
def answering():
  with scripted.serve(*SCRIPT) as one:
    one.model_id = scripted.MODEL_ID
    yield one


def test_lm_eval_scores_choices_as_we_do(tiny, tmp_path):
  task = {
    'output_type': 'multiple_choice', 'target_delimiter': '',
    'doc_to_choice': '{{choices}}', 'doc_to_target': '{{answer}}',
  }  # fmt: skip
  results, samples = lm_eval(
    tiny, tmp_path, model='local-completions', task=task, records=CHOICES
  )
  right = 0
  for record, sample in zip(CHOICES, samples, strict=True):
    # It sends no token that starts a text; so do we here.
    ids = tuple(record['question'].encode())
    pairs = [(ids, tuple(text.encode())) for text in record['choices']]
    want = [one.total for one in scoring.score(tiny.session, pairs)]
    got = [float(response[0][0]) for response in sample['resps']]
    assert got == pytest.approx(want, abs=1e-3)
    right += max(range(len(got)), key=got.__getitem__) == record['answer']
  assert results['acc,none'] == pytest.approx(right / len(CHOICES))


def test_lm_eval_asks_a_chat(answering, tmp_path):
  task = {
      'output_type': 'generate_until', 'doc_to_target': '{{answer}}',
      'generation_kwargs': {'until': ['\n'], 'max_gen_toks': 32},
      'metric_list': [{'metric': 'exact_match', 'aggregation': 'mean',
                       'higher_is_better': True}],
  }  # fmt: skip
  results, samples = lm_eval(
    answering, tmp_path, model='local-chat-completions', task=task,
    records=QUESTIONS, arguments=['--apply_chat_template'],
  )  # fmt: skip
  said = [sample['resps'][0][0] for sample in samples]
  assert said == [text for _, text in SCRIPT]
  assert results['exact_match,none'] == pytest.approx(2 / 3)


def test_inspect_asks_a_chat(answering, tmp_path):
  data = tmp_path / 'data.jsonl'
  lines = [
    {'id': i, 'input': one['question'], 'target': one['answer']}
    for i, one in enumerate(QUESTIONS)
  ]
  data.write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
  before = len(answering.engine.requests)
  told = run(
    [str(PROGRAM), str(data), answering.model_id, str(tmp_path / 'logs')],
    tmp_path,
    CHATJAX_BASE_URL=f'http://127.0.0.1:{answering.port}/v1',
    CHATJAX_API_KEY='none',
  )
  found = json.loads(told.strip().splitlines()[-1])
  assert found['answers'] == [text for _, text in SCRIPT]
  assert found['accuracy'] == pytest.approx(2 / 3)
  assert found['logprobs'] == [len(text) for _, text in SCRIPT]
  assert min(found['tokens']) > 10
  for request in answering.engine.requests[before:]:
    assert (request.seed, request.max_tokens) == (11, 64)
    assert request.sampling.top_p == 0.9
    assert b'Be brief.' in bytes(request.prompt_ids[1:])


def test_both_run_against_a_model_of_random_weights(tiny, tmp_path):
  """Whatever it says, they come to an end and find nothing odd."""
  task = {
    'output_type': 'generate_until', 'doc_to_target': '{{answer}}',
    'generation_kwargs': {'until': ['\n'], 'max_gen_toks': 8},
    'metric_list': [{'metric': 'exact_match'}],
  }  # fmt: skip
  results, samples = lm_eval(
    tiny, tmp_path, model='local-completions', task=task, records=QUESTIONS
  )
  assert results['exact_match,none'] == 0
  assert len(samples) == len(QUESTIONS)
