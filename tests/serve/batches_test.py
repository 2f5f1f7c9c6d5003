"""Files and batches by the official client, and by hand."""

import json
import os
import shutil
import sqlite3
import time

import openai
import pytest

from chatjax import types
from chatjax.batch import faults
from chatjax.batch import jobs as jobs_lib
from chatjax.batch import ledger as ledger_lib
from chatjax.batch import run as run_lib
from chatjax.batch import shelf as shelf_lib
from chatjax.protocol import batches
from chatjax.protocol import limits as limits_lib
from chatjax.store import manifest as manifest_lib
from chatjax.testing import byte_tokenizer
from tests.batch import runs
from tests.serve import harness

STRICT = {'_strict_response_validation': True}
CHAT = '/v1/chat/completions'


def echo(request, choice):
  prompt = byte_tokenizer.ByteTokenizer().decode(request.prompt_ids)
  said = f'{choice} {request.seed} {prompt}'
  return [*said.encode(), byte_tokenizer.EOS]


def line(custom_id, url=CHAT, **body):
  return runs.line(custom_id, url, **{'model': 'tiny', **body})


def some(count):
  for i in range(count):
    yield line(f'r{i}', **({'temperature': 9} if i % 10 == 7 else {}))


def serve(folder, **kwargs):
  return harness.Served(echo, batches=folder, **kwargs)


@pytest.fixture
def served(tmp_path):
  with serve(tmp_path) as one:
    yield one


@pytest.fixture
def client(served):
  with openai.OpenAI(**served.client_args, **STRICT) as client:
    yield client


def upload(client, *lines, name='in.jsonl', **fields):
  return client.files.create(
    file=(name, b''.join(lines)), purpose='batch', **fields
  )


def create(client, file, **fields):
  return client.batches.create(
    **{
      'input_file_id': file.id,
      'endpoint': CHAT,
      'completion_window': '24h',
      **fields,
    }
  )


def ended(client, batch, timeout_s=20):
  deadline_s = time.monotonic() + timeout_s
  while batch.status in ledger_lib.OPEN:
    assert time.monotonic() < deadline_s, batch
    time.sleep(0.02)
    batch = client.batches.retrieve(batch.id)
  return batch


def test_the_whole_life_of_a_batch(client, tmp_path):
  file = upload(client, *some(30))
  assert (file.filename, file.purpose) == ('in.jsonl', 'batch')
  assert file.bytes == len(b''.join(some(30)))
  assert client.files.content(file.id).read() == b''.join(some(30))
  made = create(client, file, metadata={'run': '1'})
  assert made.status == 'validating'
  client.files.delete(file.id)  # the batch has its own
  done = ended(client, made)
  assert done.status == 'completed'
  assert done.metadata == {'run': '1'}
  assert done.model == 'tiny'
  counts = done.request_counts
  assert (counts.total, counts.completed, counts.failed) == (30, 27, 3)
  for when in ('in_progress', 'finalizing', 'completed'):
    assert getattr(done, f'{when}_at') >= done.created_at
  results = client.files.content(done.output_file_id).text.splitlines()
  errors = client.files.content(done.error_file_id).text.splitlines()
  assert (len(results), len(errors)) == (27, 3)
  told = client.files.retrieve(done.output_file_id)
  assert told.purpose == 'batch_output'
  # The same as the command makes of the same file.
  path = runs.write(tmp_path / 'in.jsonl', some(30))
  assert [json.loads(one)['custom_id'] for one in results] == [
    f'r{i}' for i in range(30) if i % 10 != 7
  ]
  with serve(None) as other:
    run_lib.run(other.session, path, tmp_path / 'out')
  made = runs.made(tmp_path / 'out')
  assert made['results.jsonl'].decode().splitlines() == results
  assert made['errors.jsonl'].decode().splitlines() == errors
  manifest = done.chatjax['manifest']
  assert manifest['counts'] == {'total': 30, 'completed': 27, 'failed': 3}
  assert manifest['fingerprint'] == 'fp_fake'
  assert set(os.listdir(tmp_path / 'jobs' / done.id)) == {'batch.json', 'lock'}


def test_plain_texts_are_an_endpoint_too(client):
  file = upload(client, line('a', runs.TEXT, prompt='x'))
  done = ended(client, create(client, file, endpoint=runs.TEXT))
  assert done.status == 'completed'
  assert done.error_file_id is None
  (one,) = client.files.content(done.output_file_id).text.splitlines()
  assert json.loads(one)['response']['body']['object'] == 'text_completion'


@pytest.mark.parametrize(
  ('lines', 'faults'),
  [
    ([b'\n'], [('empty_file', None)]),
    ([line('a'), b'{', b'\n', line('a')], [('invalid_json_line', 2),
                                           ('duplicate_custom_id', 3)]),
    ([line('a', runs.TEXT, prompt='x')], [('mismatched_url', 1)]),
    ([line('a', model='gpt-4o')], [('model_not_found', 1)]),
    ([line(f'{i}') for i in range(41)], [('too_many_requests', None)]),
    ([b'x\n'] * 40, [('invalid_json_line', i + 1) for i in range(40)]),
  ],
)  # fmt: skip
def test_a_file_with_wrong_lines_fails(tmp_path, lines, faults):
  limits = limits_lib.Limits(max_batch_lines=40)
  with serve(tmp_path, limits=limits) as served, served.client() as client:
    done = ended(client, create(client, upload(client, *lines)))
    assert done.status == 'failed'
    assert done.failed_at
    assert done.output_file_id is None
    assert [(one.code, one.line) for one in done.errors.data] == faults
    assert not served.engine.requests


@pytest.mark.parametrize(
  ('fields', 'param'),
  [
    ({'input_file_id': 'file-' + 32 * '0'}, None),
    ({'input_file_id': '../../etc/passwd'}, None),
    ({'endpoint': '/v1/embeddings'}, 'endpoint'),
    ({'completion_window': '1h'}, 'completion_window'),
    ({'metadata': {'a': 1}}, 'metadata.a'),
    ({'output_expires_after': {'anchor': 'created_at', 'seconds': 1}},
     'output_expires_after.seconds'),
    ({'extra_body': {'x': 1}}, 'x'),
  ],
)  # fmt: skip
def test_what_is_no_batch_is_refused(client, fields, param):
  file = upload(client, line('a'))
  status = 404 if 'input_file_id' in fields else 400
  with pytest.raises(openai.APIStatusError) as caught:
    create(client, file, **fields)
  assert caught.value.status_code == status
  if param is not None:
    assert caught.value.param == param
  assert list(client.batches.list()) == []


def test_outputs_are_no_inputs(client):
  done = ended(client, create(client, upload(client, line('a'))))
  with pytest.raises(openai.BadRequestError, match='batch_output'):
    client.batches.create(
      input_file_id=done.output_file_id, endpoint=CHAT, completion_window='24h'
    )


def test_a_cancelled_batch_keeps_what_it_has(tmp_path):
  with serve(tmp_path, pause_s=0.02) as served, served.client() as client:
    made = create(client, upload(client, *some(60)))
    while client.batches.retrieve(made.id).request_counts.completed < 5:
      time.sleep(0.01)
    assert client.batches.cancel(made.id).status == 'cancelling'
    done = ended(client, made)
    assert done.status == 'cancelled'
    assert done.cancelling_at
    assert done.cancelled_at
    results = client.files.content(done.output_file_id).text.splitlines()
    errors = client.files.content(done.error_file_id).text.splitlines()
    assert 5 <= len(results) < 54
    assert len(results) + len(errors) == 60
    codes = {(json.loads(x)['error'] or {}).get('code') for x in errors}
    assert 'batch_cancelled' in codes
    ids = [json.loads(one)['custom_id'] for one in results + errors]
    assert sorted(ids) == sorted(f'r{i}' for i in range(60))
    with pytest.raises(openai.ConflictError, match='is cancelled already'):
      client.batches.cancel(made.id)
    assert served.engine.num_open == 0


def test_a_batch_whose_time_is_up_keeps_what_it_has(tmp_path, monkeypatch):
  monkeypatch.setattr(ledger_lib, 'WINDOW_S', 3)
  with serve(tmp_path, pause_s=0.05) as served, served.client() as client:
    done = ended(client, create(client, upload(client, *some(200))))
    assert done.status == 'expired'
    assert done.expired_at >= done.expires_at
    errors = client.files.content(done.error_file_id).text.splitlines()
    told = [json.loads(one)['error'] for one in errors]
    assert sum(one is not None for one in told) > 50
    assert {one['code'] for one in told if one} == {'batch_expired'}
    assert done.request_counts.total == 200


def test_a_batch_outlives_its_server(tmp_path):
  folder = tmp_path / 'batches'
  with serve(folder, pause_s=0.02) as served, served.client() as client:
    made = create(client, upload(client, *some(60)))
    while client.batches.retrieve(made.id).request_counts.completed < 5:
      time.sleep(0.01)
  with serve(folder) as served, served.client() as client:
    done = ended(client, made)
    assert done.status == 'completed'
    results = client.files.content(done.output_file_id).text.splitlines()
    assert len(results) == 54
    # What was done is not done again.
    assert len(served.engine.requests) <= 54 - 5
  path = runs.write(tmp_path / 'in.jsonl', some(60))
  with serve(None) as other:
    run_lib.run(other.session, path, tmp_path / 'out')
  whole = runs.made(tmp_path / 'out')['results.jsonl'].decode()
  assert whole.splitlines() == results


def test_a_batch_of_another_model_waits_for_it(tmp_path):
  with serve(tmp_path, pause_s=10) as served, served.client() as client:
    made = create(client, upload(client, line('a')))
    other = json.loads((tmp_path / 'jobs' / made.id / 'batch.json').read_text())
  other['model'] = 'another'
  (tmp_path / 'jobs' / made.id / 'batch.json').write_text(json.dumps(other))
  with serve(tmp_path) as served, served.client() as client:
    second = ended(client, create(client, upload(client, line('b'))))
    assert second.status == 'completed'
    assert client.batches.retrieve(made.id).status in ledger_lib.OPEN


def change(folder, batch, **fields):
  """As another server, at another time, would have written it."""
  path = folder / 'jobs' / batch.id / 'batch.json'
  path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize('end', ['cancelled', 'expired'])
@pytest.mark.parametrize('num_done', [0, 5])
def test_a_batch_of_another_model_can_end(tmp_path, end, num_done):
  with serve(tmp_path, pause_s=0.05) as served, served.client() as client:
    made = create(client, upload(client, *some(60)))
    while client.batches.retrieve(made.id).request_counts.completed < num_done:
      time.sleep(0.01)
  expires_at = int(time.time()) + 1
  fields = {'expires_at': expires_at} if end == 'expired' else {}
  if not num_done:
    # It was never looked at.
    fields['status'] = 'validating'
    shutil.rmtree(tmp_path / 'jobs' / made.id / 'run', ignore_errors=True)
  change(tmp_path, made, model='another', **fields)
  with serve(tmp_path) as served, served.client() as client:
    if end == 'cancelled':
      client.batches.cancel(made.id)
    done = ended(client, client.batches.retrieve(made.id))
    assert done.status == end
    assert not served.engine.requests
    if num_done:
      assert done.request_counts.completed >= num_done
      assert done.request_counts.total == 60
      assert client.files.content(done.output_file_id).text


class Failing:
  """A function that fails a number of times before it works."""

  def __init__(self, monkeypatch, module, name, error, *, times=1, when=None):
    self.num_failed = 0
    self._real = getattr(module, name)
    self._error, self._times = error, times
    self._when = when or (lambda *args: True)
    monkeypatch.setattr(module, name, self)
    monkeypatch.setattr(jobs_lib, '_RETRY_S', 0.05)

  def __call__(self, *args, **kwargs):
    if self.num_failed < self._times and self._when(*args):
      self.num_failed += 1
      raise self._error
    return self._real(*args, **kwargs)


FULL = OSError(28, 'No space left on device')


def test_a_full_disk_while_cancelling_is_waited_for(tmp_path, monkeypatch):
  with serve(tmp_path, pause_s=0.02) as served, served.client() as client:
    made = create(client, upload(client, *some(60)))
    while client.batches.retrieve(made.id).request_counts.completed < 5:
      time.sleep(0.01)
    full = Failing(
      monkeypatch, shutil, 'copyfile', FULL, times=3,
      when=lambda path, to: 'errors' in str(path),
    )  # fmt: skip
    client.batches.cancel(made.id)
    done = ended(client, made)
    assert full.num_failed == 3
    assert done.status == 'cancelled'
    # What was answered is there, however often it was tried.
    counts = done.request_counts
    assert counts.total == 60
    assert counts.completed >= 5
    results = client.files.content(done.output_file_id).text.splitlines()
    assert len(results) == counts.completed
    outputs = client.files.list(purpose='batch_output').data
    assert {x.id for x in outputs} == {done.output_file_id, done.error_file_id}
    second = ended(client, create(client, upload(client, line('b'))))
    assert second.status == 'completed'


def test_the_last_step_again_makes_the_same_files(
  client, tmp_path, monkeypatch
):
  full = Failing(
    monkeypatch, manifest_lib, 'write_durably', FULL, times=3,
    when=lambda path, data: b'"status": "completed"' in data,
  )  # fmt: skip
  done = ended(client, create(client, upload(client, *some(20))))
  assert full.num_failed == 3
  assert done.status == 'completed'
  outputs = client.files.list(purpose='batch_output').data
  assert len(outputs) == len(os.listdir(tmp_path / 'files')) - 1 == 2
  assert {x.id for x in outputs} == {done.output_file_id, done.error_file_id}
  assert len(client.files.content(done.output_file_id).text.splitlines()) == 18


@pytest.mark.parametrize(
  'error', [sqlite3.OperationalError('disk I/O error'), FULL]
)
def test_what_may_pass_is_tried_again(client, monkeypatch, error):
  failing = Failing(monkeypatch, run_lib, 'run', error, times=2)
  done = ended(client, create(client, upload(client, line('a'))))
  assert (done.status, failing.num_failed) == ('completed', 2)


@pytest.mark.parametrize('module', [faults, run_lib])
def test_an_error_of_ours_fails_its_batch_alone(client, monkeypatch, module):
  name = 'find' if module is faults else 'run'
  Failing(monkeypatch, module, name, KeyError('/secret/path'))
  done = ended(client, create(client, upload(client, line('a'))))
  assert done.status == 'failed'
  assert done.failed_at
  (told,) = done.errors.data
  assert told.code == 'server_error'
  assert 'KeyError' in told.message
  assert 'secret' not in told.message
  second = ended(client, create(client, upload(client, line('b'))))
  assert second.status == 'completed'


@pytest.mark.parametrize('data', [b'{"id', b'[]', b'{}', b'\xff'])
def test_a_batch_whose_file_is_damaged_is_alone_too(tmp_path, data):
  with serve(tmp_path, pause_s=10) as served, served.client() as client:
    made = create(client, upload(client, line('a')))
  (tmp_path / 'jobs' / made.id / 'batch.json').write_bytes(data)
  with serve(tmp_path) as served, served.client() as client:
    second = ended(client, create(client, upload(client, line('b'))))
    assert second.status == 'completed'
    assert [one.id for one in client.batches.list()] == [second.id]
    for ask in (client.batches.retrieve, client.batches.cancel):
      with pytest.raises(openai.InternalServerError, match='is damaged'):
        ask(made.id)


def test_a_batch_whose_manifest_is_damaged_can_end(tmp_path, monkeypatch):
  monkeypatch.setattr(jobs_lib, '_RETRY_S', 0.05)
  with serve(tmp_path, pause_s=0.05) as served, served.client() as client:
    made = create(client, upload(client, *some(60)))
    while not client.batches.retrieve(made.id).request_counts.completed:
      time.sleep(0.01)
  (tmp_path / 'jobs' / made.id / 'run' / 'manifest.json').write_text('{')
  with serve(tmp_path) as served, served.client() as client:
    time.sleep(0.2)
    assert client.batches.retrieve(made.id).status == 'in_progress'
    client.batches.cancel(made.id)
    done = ended(client, made, timeout_s=5)
    assert done.status == 'failed'
    assert done.errors.data[0].code == 'server_error'


def test_a_batch_is_on_the_disk_before_it_is_told(
  client, tmp_path, monkeypatch
):
  synced, fsync = [], os.fsync

  def watched(descriptor):
    synced.append(os.readlink(f'/proc/self/fd/{descriptor}'))
    fsync(descriptor)

  monkeypatch.setattr(os, 'fsync', watched)
  file = upload(client, line('a'))
  files = tmp_path / 'files'
  for path in (files / file.id / 'data', files / file.id, files, tmp_path):
    assert str(path) in synced
  synced.clear()
  made = create(client, file)
  jobs = tmp_path / 'jobs'
  told = [one for one in synced if one.endswith('/input.jsonl')]
  assert told
  about = next(i for i, one in enumerate(synced) if '.batch.json.' in one)
  for path in (jobs / made.id / 'input.jsonl', jobs, tmp_path):
    assert synced.index(str(path)) < about
  assert str(jobs / made.id) in synced
  ended(client, made)


def test_nothing_is_left_of_a_batch_that_could_not_be_kept(
  client, tmp_path, monkeypatch
):
  file = upload(client, line('a'))
  Failing(
    monkeypatch, manifest_lib, 'write_durably', FULL,
    when=lambda path, data: path.name == 'batch.json',
  )  # fmt: skip
  with pytest.raises(openai.APIStatusError, match='No space left'):
    create(client, file)
  assert os.listdir(tmp_path / 'jobs') == []


def test_two_servers_end_a_batch_once(tmp_path):
  with serve(tmp_path, pause_s=0.05) as one, serve(tmp_path) as other:
    with one.client() as client:
      made = create(client, upload(client, *some(60)))
      while client.batches.retrieve(made.id).request_counts.completed < 5:
        time.sleep(0.01)
      (tmp_path / 'jobs' / made.id / 'cancel').touch()
      other.jobs._start()  # it looks around while the other is at work
      client.batches.cancel(made.id)
      done = ended(client, made)
      time.sleep(0.3)
      assert client.batches.retrieve(made.id) == done
    assert done.status == 'cancelled'
    assert done.request_counts.total == 60
    assert done.request_counts.completed >= 5


def test_those_who_wait_go_before_a_batch(tmp_path):
  with serve(tmp_path, pause_s=0.02, max_running=8) as served:
    with served.client() as client:
      made = create(client, upload(client, *some(200)))
      while client.batches.retrieve(made.id).status != 'in_progress':
        time.sleep(0.01)
      for _ in range(5):
        # A row is left free for it.
        harness.wait_until(lambda: served.engine.num_running <= 7, 0.5)
        served.create(max_tokens=4)
      assert client.batches.retrieve(made.id).status == 'in_progress'
      client.batches.cancel(made.id)
      ended(client, made)
    batch = [one for one in served.engine.requests if one.priority]
    assert {one.priority for one in batch} == {jobs_lib.PRIORITY}


def test_lists_come_in_pages(client):
  files = [upload(client, line('a'), name=f'{i}').id for i in range(5)]
  assert [one.id for one in client.files.list()] == files[::-1]
  assert [one.id for one in client.files.list(limit=2, order='asc')] == files
  assert [one.id for one in client.files.list(after=files[2])] == files[1::-1]
  assert list(client.files.list(purpose='batch_output')) == []
  made = [
    client.batches.create(
      input_file_id=one, endpoint=CHAT, completion_window='24h'
    ).id
    for one in files
  ]
  page = client.batches.list(limit=2)
  assert (page.has_more, [x.id for x in page.data]) == (True, made[:2:-1])
  assert [one.id for one in client.batches.list(limit=2)] == made[::-1]
  for one in made:
    ended(client, client.batches.retrieve(one))


@pytest.mark.parametrize(
  ('path', 'status'),
  [
    ('/v1/files/file-x', 404),
    ('/v1/files/file-' + 32 * '0', 404),
    ('/v1/files/..%2f..%2fetc/content', 404),
    ('/v1/files?limit=0', 400),
    ('/v1/files?limit=10001', 400),
    ('/v1/files?x=1', 400),
    ('/v1/files?after=file-x', 404),
    ('/v1/batches?limit=101', 400),
    ('/v1/batches?order=asc', 400),
    ('/v1/batches/batch_x', 404),
    ('/v1/batches/batch_' + 32 * '0', 404),
  ],
)
def test_what_there_is_not(served, path, status):
  code, _, data = served.raw('GET', path)
  assert code == status
  harness.error_of(data)


def form(*parts):
  body = b''
  for head, value in parts:
    body += b'--X\r\nContent-Disposition: form-data; ' + head.encode()
    body += b'\r\n\r\n' + value + b'\r\n'
  return body + b'--X--\r\n'


FORM = {'Content-Type': 'multipart/form-data; boundary=X'}
FILE = 'name="file"; filename="x"', b'abc'
PURPOSE = 'name="purpose"', b'batch'


@pytest.mark.parametrize(
  ('body', 'headers', 'status', 'said'),
  [
    (form(FILE, PURPOSE), FORM, 200, ''),
    (form(FILE), FORM, 400, "'purpose'"),
    (form(PURPOSE), FORM, 400, "'file'"),
    (form(('name="file"', b'abc'), PURPOSE), FORM, 400, "'file'"),
    (form(FILE, ('name="purpose"', b'vision')), FORM, 400, 'must be'),
    (form(FILE, PURPOSE, ('name="x"', b'1')), FORM, 400, "'x'"),
    (form(FILE, FILE, PURPOSE), FORM, 400, 'cannot be read'),
    (form(FILE, PURPOSE)[:40], FORM, 400, ''),
    (b'', FORM, 400, "'file'"),
    (b'{}', {}, 400, 'multipart/form-data'),
    (b'x', {'Content-Type': 'multipart/form-data'}, 400, 'cannot be read'),
    (form(FILE, PURPOSE), FORM | {'Origin': 'http://evil'}, 403, 'evil'),
    (form(('name="file"; filename="x"', b'a' * 2000), PURPOSE), FORM, 413,
     'at most 1000 bytes'),
    (form(('name="file"; filename="x"', b'a' * 200000), PURPOSE), FORM, 413,
     'at most 1000 bytes'),
  ],
)  # fmt: skip
def test_uploads_by_hand(tmp_path, body, headers, status, said):
  limits = limits_lib.Limits(max_upload_bytes=1000)
  with serve(tmp_path, limits=limits) as served:
    code, _, data = served.post(body, '/v1/files', headers)
    assert code == status, data
    if status != 200:
      assert said in harness.error_of(data)['message']
      assert not list((tmp_path / 'files').glob('*'))


def test_an_upload_that_never_says_how_long_it_is(tmp_path):
  limits = limits_lib.Limits(max_upload_bytes=1000)
  with serve(tmp_path, limits=limits) as served:
    chunk = b'%x\r\n%s\r\n' % (70000, b'a' * 70000)
    head = form(FILE)[:-9]
    body = b'%x\r\n%s\r\n' % (len(head), head) + 3 * chunk + b'0\r\n\r\n'
    code, _, data = served.raw(
      'POST', '/v1/files', body, FORM | {'Transfer-Encoding': 'chunked'}
    )
    assert code == 413
    assert harness.error_of(data)['code'] == 'file_too_large'


def test_keys_are_asked(tmp_path):
  with serve(tmp_path, api_keys=('secret',)) as served:
    for path in ('/v1/files', '/v1/batches'):
      assert served.raw('GET', path)[0] == 401
      headers = {'Authorization': 'Bearer secret'}
      assert served.raw('GET', path, headers=headers)[0] == 200


@pytest.mark.parametrize(
  'data', [b'', b'\0\0', b'{', b'[]', b'{"id": "x"}', b'null', b'\xff']
)
def test_a_file_whose_description_is_damaged_is_alone(tmp_path, data):
  shelf = shelf_lib.Shelf(tmp_path / 'files')
  bad, good = (
    shelf.add(
      runs.write(tmp_path / 'x', [b'x']), filename=name, purpose='batch'
    )
    for name in ('bad', 'good')
  )
  (tmp_path / 'files' / bad.id / shelf_lib.ABOUT).write_bytes(data)
  assert shelf.list() == [good]
  with pytest.raises(types.RequestError, match=r'is damaged; delete') as caught:
    shelf.get(bad.id)
  assert caught.value.status == 500
  shelf.delete(bad.id)
  with pytest.raises(types.RequestError, match='no file') as caught:
    shelf.delete(bad.id)
  assert caught.value.status == 404
  assert os.listdir(tmp_path / 'files') == [good.id]


def test_files_expire(tmp_path):
  now = [time.time()]
  shelf = shelf_lib.Shelf(tmp_path / 'files', now=lambda: now[0])
  (tmp_path / 'x').write_bytes(b'abc')
  made = shelf.add(tmp_path / 'x', filename='x', purpose='batch', lives_s=3600)
  assert shelf.get(made.id) == made
  now[0] += 3601
  assert shelf.list() == []
  assert os.listdir(tmp_path / 'files') == []


def test_expiry_is_as_it_is_asked(client):
  after = {'anchor': 'created_at', 'seconds': 7200}
  file = upload(client, line('a'), expires_after=after)
  assert file.expires_at == file.created_at + 7200
  assert (
    upload(client, line('a')).expires_at - file.created_at
    >= batches.BATCH_LIFE_S
  )
  done = ended(client, create(client, file, output_expires_after=after))
  told = client.files.retrieve(done.output_file_id)
  assert told.expires_at == told.created_at + 7200


def test_two_servers_do_not_run_a_batch_twice(tmp_path):
  with serve(tmp_path, pause_s=0.02) as one, serve(tmp_path) as other:
    with one.client() as client:
      made = create(client, upload(client, *some(40)))
      while client.batches.retrieve(made.id).request_counts.completed < 1:
        time.sleep(0.01)
      other.jobs._start()  # it looks around
      done = ended(client, made)
    assert done.status == 'completed'
    assert not other.engine.requests


def test_nothing_is_left_of_a_failed_upload(tmp_path, monkeypatch):
  def full(*unused):
    raise OSError(28, 'No space left on device')

  with serve(tmp_path) as served:
    monkeypatch.setattr(shutil, 'move', full)
    code, _, data = served.post(form(FILE, PURPOSE), '/v1/files', FORM)
    assert code == 507
    assert 'No space left' in harness.error_of(data)['message']
    assert os.listdir(tmp_path / 'files') == []
