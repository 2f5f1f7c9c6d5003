"""The class for Ray: by itself, and on a local Ray."""

import importlib.util
import json
import os
import subprocess
import sys
import types as types_lib

import numpy as np
import pytest

from chatjax.batch import ray_adapter
from chatjax.batch import run as run_lib
from chatjax.chat import session as session_lib
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine
from tests.batch import runs


def load(model, **fields):
  """A model that says its prompt and its seed."""
  assert fields == {'max_rows': 4}

  def echo(request, choice):
    prompt = byte_tokenizer.ByteTokenizer().decode(request.prompt_ids)
    said = f'{choice} {request.seed} {prompt}'
    return [*said.encode(), byte_tokenizer.EOS]

  return types_lib.SimpleNamespace(
    session=session_lib.Session(
      fake_engine.FakeEngine(echo),
      byte_tokenizer.ByteTokenizer(),
      byte_tokenizer.ByteChatFormat(),
      model_id=model,
      sampler_version=1,
    )
  )


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A file, and the records that a batch makes of it, by id."""
  folder = tmp_path_factory.mktemp('whole')
  # Without the torn ones: their records tell the line's number.
  lines = [one for one in runs.mixed(60) if b'torn' not in one]
  path = runs.write(folder / 'in.jsonl', lines)
  model = load(runs.MODEL, max_rows=4)
  run_lib.run(model.session, path, folder / 'out')
  model.session.engine.close()
  made = runs.made(folder / 'out')
  found = made['results.jsonl'] + made['errors.jsonl']
  return path, {
    json.loads(one)['custom_id']: one.decode() for one in found.splitlines()
  }


def test_records_are_those_of_a_batch(whole):
  path, expected = whole
  answerer = ray_adapter.Answerer(runs.MODEL, load=load, max_rows=4)
  given = path.read_text().splitlines()
  made = answerer({'text': np.array(given, object)})
  assert list(made['custom_id']) == [json.loads(x)['custom_id'] for x in given]
  assert dict(zip(made['custom_id'], made['record'], strict=True)) == expected
  assert sum(made['is_error']) == 6
  answerer._chat.session.engine.close()


def test_a_torn_line_is_an_error(whole):
  answerer = ray_adapter.Answerer(runs.MODEL, load=load, max_rows=4)
  made = answerer({'text': np.array(['{"custom_id"', 'x'], object)})
  assert list(made['is_error']) == [True, True]
  codes = [json.loads(one)['error']['code'] for one in made['record']]
  assert codes == ['invalid_json_line'] * 2
  answerer._chat.session.engine.close()


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec('ray') is None, reason="needs the 'ray' extra"
)
def test_a_local_ray(whole):
  path, expected = whole
  done = subprocess.run(
    [sys.executable, '-m', 'tests.batch.ray_job', str(path)],
    cwd=runs.ROOT, capture_output=True, text=True, check=False, timeout=300,
    # A busy machine takes its time.
    env=os.environ | {'RAY_raylet_start_wait_time_s': '120'},
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  (made,) = (x for x in done.stdout.splitlines() if x.startswith('made: '))
  assert json.loads(made.removeprefix('made: ')) == expected
