"""Batches in this process: every kind of line, and of failure."""

import dataclasses
import errno
import json
import os
import pathlib
import shutil
import tempfile

import pytest

from chatjax import types
from chatjax.batch import content
from chatjax.batch import final
from chatjax.batch import folder as folder_lib
from chatjax.batch import leases as leases_lib
from chatjax.batch import parts
from chatjax.batch import run as run_lib
from chatjax.batch import shards
from chatjax.batch import source as source_lib
from chatjax.batch import worker as worker_lib
from chatjax.cli import main
from chatjax.protocol import limits as limits_lib
from chatjax.store import manifest as manifest_lib
from tests.batch import inside
from tests.batch import runs
from tests.clients import scripted


def test_every_line_becomes_one_record(session, tmp_path):
  lines = [
    b'\xef\xbb\xbf' + runs.line('bom'),
    b'\n',
    b'  \r\n',
    runs.line('windows').strip() + b'\r\n',
    runs.line('text', runs.TEXT, prompt='once', echo=True),
    b'{"custom_id": "torn", "meth\n',
    b'{"custom_id": "\xff"}\n',
    b'[]\n',
    b'{"custom_id": "twice", "custom_id": "twice"}\n',
    runs.line('windows', seed=8),
    runs.line('stream', stream=True),
    runs.line('store', store=True),
    runs.line('n', n=3),
    runs.line('many', n=99),
    runs.line('other', model='gpt-4o'),
    runs.line('url').replace(b'chat/completions', b'embeddings'),
    runs.line('method').replace(b'POST', b'GET'),
    runs.line('field').replace(b'"method"', b'"x": 1, "method"'),
    b'{"custom_id": "body", "method": "POST", "url": "%s", "body": []}\n'
    % runs.CHAT.encode(),
    b'{"custom_id": 7}\n',
    b'{"custom_id": ""}\n',
    runs.line('nan').replace(b'"messages"', b'"top_p": NaN, "messages"'),
    runs.line('digits').replace(
      b'"messages"', b'"seed": %s, "messages"' % (b'1' * 5000)
    ),
    runs.line('deep').replace(
      b'"messages"', b'"tools": %s, "messages"' % (b'[' * 999 + b']' * 999)
    ),
    runs.line('huge').replace(b'"messages"', b'"top_p": 1e999, "messages"'),
    runs.line('last').strip(),
  ]
  path = runs.write(tmp_path / 'in.jsonl', lines)
  done = inside.run(session, path, tmp_path / 'out')
  assert done.counts == {'total': 24, 'completed': 5, 'failed': 19}
  good = inside.records(tmp_path / 'out')
  assert list(good) == ['bom', 'windows', 'text', 'n', 'last']
  assert len(inside.body_of(good['n'])['choices']) == 3
  errors = [
    json.loads(one)
    for one in (tmp_path / 'out' / 'errors.jsonl').read_bytes().splitlines()
  ]
  told = [
    (
      one['custom_id'],
      (one['error'] or inside.body_of(one)['error'])['code'],
      one['response'] and one['response']['status_code'],
    )
    for one in errors
  ]
  assert told == [
    (None, 'invalid_json_line', None),
    (None, 'invalid_json_line', None),
    (None, 'invalid_json_line', None),
    (None, 'invalid_json_line', None),
    ('windows', 'duplicate_custom_id', None),
    ('stream', 'unsupported_parameter', 400),
    ('store', 'unsupported_parameter', 400),
    ('many', 'invalid_value', 400),
    ('other', 'model_not_found', 404),
    ('url', 'invalid_url', None),
    ('method', 'invalid_method', None),
    ('field', 'unknown_field', None),
    ('body', 'invalid_body', None),
    (None, 'invalid_custom_id', None),
    (None, 'invalid_custom_id', None),
    (None, 'invalid_json_line', None),
    (None, 'invalid_json_line', None),
    (None, 'invalid_json_line', None),
    ('huge', 'invalid_value', 400),
  ]
  assert [one['error']['line'] for one in errors[:5]] == [6, 7, 8, 9, 10]
  for one in (*good.values(), *errors):
    assert set(one) == {'id', 'custom_id', 'response', 'error'}


def test_nothing_of_the_hour_or_the_crowd_is_told(session, tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', [runs.line('a'), runs.line('b')])
  inside.run(session, path, tmp_path / 'one')
  crowded = inside.make_session(num_cached=5, pause_s=0.01)
  inside.run(crowded, path, tmp_path / 'two')
  crowded.engine.close()
  assert runs.made(tmp_path / 'one') == runs.made(tmp_path / 'two')
  body = inside.body_of(inside.records(tmp_path / 'one')['a'])
  assert body['created'] == 0
  assert set(body['usage']) == {
    *('prompt_tokens', 'completion_tokens', 'total_tokens'),
    'completion_tokens_details',
  }


def test_a_missing_seed_follows_from_the_content(session, tmp_path):
  lines = [
    runs.line('a'),
    runs.line('b'),
    runs.line('given', seed=5),
    runs.line('null', seed=None),
  ]
  path = runs.write(tmp_path / 'in.jsonl', lines)
  inside.run(session, path, tmp_path / 'out')
  seeds = {
    name: inside.body_of(one)['chatjax']['seed']
    for name, one in inside.records(tmp_path / 'out').items()
  }
  assert seeds['given'] == 5
  for name, line in zip(('a', 'b', 'null'), (0, 1, 3), strict=True):
    body = json.loads(lines[line])['body']
    assert seeds[name] == content.seed(name, body)
  assert len(set(seeds.values())) == 4
  assert all(types.MIN_SEED <= one <= types.MAX_SEED for one in seeds.values())


def test_the_seed_rule_is_as_it_is_written():
  """Written out once more, as a reader of the manifest would."""
  import hashlib
  import struct

  text = '["a\\u00e9",{"model":"m","n":1}]'
  data = b'chatjax-batch-seed-1\x00' + text.encode('ascii')
  told = struct.unpack('>q', hashlib.sha256(data).digest()[:8])[0]
  assert content.seed('aé', {'n': 1, 'model': 'm'}) == told


def test_ids_of_calls_follow_from_the_content(tmp_path):
  script = scripted.replies(('', scripted.call('look', x=1)))
  tool = {'type': 'function', 'function': {'name': 'look'}}
  path = runs.write(tmp_path / 'in.jsonl', [runs.line('a', tools=[tool], n=2)])
  for name in ('one', 'two'):
    session = inside.make_session(script, output_format='hermes')
    inside.run(session, path, tmp_path / name)
    session.engine.close()
  assert runs.made(tmp_path / 'one') == runs.made(tmp_path / 'two')
  body = inside.body_of(inside.records(tmp_path / 'one')['a'])
  calls = [one['message']['tool_calls'][0] for one in body['choices']]
  assert calls[0]['function']['name'] == 'look'
  assert calls[0]['id'] != calls[1]['id']


def test_a_finished_run_is_not_run_again(session, tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(20))
  one = inside.run(session, path, tmp_path / 'out')
  num_asked = len(session.engine.requests)
  made = runs.made(tmp_path / 'out')
  assert inside.run(session, path, tmp_path / 'out') == one
  assert len(session.engine.requests) == num_asked
  assert runs.made(tmp_path / 'out') == made


def test_changed_results_are_told(session, tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(20))
  inside.run(session, path, tmp_path / 'out')
  made = runs.made(tmp_path / 'out')
  with (tmp_path / 'out' / 'results.jsonl').open('ab') as file:
    file.write(b'\n')
  with pytest.raises(folder_lib.FolderError, match='were changed after'):
    inside.run(session, path, tmp_path / 'out')
  inside.run(session, path, tmp_path / 'out', force=True)
  assert runs.made(tmp_path / 'out') == made


def test_results_of_something_else_are_left_alone(session, tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(20))
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'results.jsonl').write_text('precious')
  with pytest.raises(folder_lib.FolderError, match='no manifest'):
    inside.run(session, path, tmp_path / 'out')
  assert (tmp_path / 'out' / 'results.jsonl').read_text() == 'precious'


@pytest.mark.parametrize('data', [b'', b'\n\n', b'  \n'])
def test_a_file_without_requests_is_refused(session, tmp_path, data):
  path = runs.write(tmp_path / 'in.jsonl', [data])
  with pytest.raises(source_lib.SourceError, match='has no requests'):
    inside.run(session, path, tmp_path / 'out')
  # Nor does it take the folder.
  good = runs.write(tmp_path / 'good.jsonl', [runs.line('a')])
  assert inside.run(session, good, tmp_path / 'out').counts['total'] == 1


def test_requests_may_be_far_behind_blank_lines(session, tmp_path):
  blank = b'\xef\xbb\xbf' + b'\n' * 3_000_000
  path = runs.write(tmp_path / 'in.jsonl', [blank])
  with pytest.raises(source_lib.EmptyError):
    run_lib.check_input(path)
  runs.write(path, [blank, runs.line('a')])
  run_lib.check_input(path)


def test_a_pipe_is_refused_without_being_read(session, tmp_path):
  os.mkfifo(tmp_path / 'pipe')
  with pytest.raises(source_lib.SourceError, match='is a pipe or a device'):
    inside.run(session, tmp_path / 'pipe', tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_a_file_that_is_not_there_is_refused(session, tmp_path):
  with pytest.raises(source_lib.SourceError, match='cannot be read: No such'):
    inside.run(session, tmp_path / 'none', tmp_path / 'out')
  with pytest.raises(source_lib.SourceError, match='cannot be read: Is a dir'):
    inside.run(session, tmp_path, tmp_path / 'out')


def test_long_lines_are_refused_without_being_kept(session, tmp_path):
  limits = limits_lib.Limits(max_body_bytes=1000)
  lines = [
    runs.line('a'),
    runs.line('long', user='x' * 20000),
    runs.line('b'),
    runs.line('last', user='x' * 20000).strip(),
  ]
  path = runs.write(tmp_path / 'in.jsonl', lines)
  run_lib.run(session, path, tmp_path / 'out', limits=limits)
  assert list(inside.records(tmp_path / 'out')) == ['a', 'b']
  errors = (tmp_path / 'out' / 'errors.jsonl').read_bytes().splitlines()
  told = [json.loads(one)['error'] for one in errors]
  assert [(one['code'], one['line']) for one in told] == [
    ('line_too_long', 2),
    ('line_too_long', 4),
  ]


class Full:
  """`os.write` of a disk that is full after some bytes."""

  def __init__(self, monkeypatch, num_bytes):
    self._write = os.write
    self._left = num_bytes
    monkeypatch.setattr(os, 'write', self)

  def __call__(self, descriptor, data):
    if not self._left:
      raise OSError(errno.ENOSPC, 'No space left on device')
    # As a disk does, it takes what it can.
    taken = self._write(descriptor, bytes(data)[: self._left])
    self._left -= taken
    return taken


@pytest.mark.parametrize('num_bytes', [0, 1, 700, 5000, 20000])
def test_a_full_disk_loses_nothing(session, tmp_path, num_bytes):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(60))
  inside.run(session, path, tmp_path / 'whole')
  counted = []
  with pytest.MonkeyPatch.context() as patch:
    Full(patch, num_bytes)
    with pytest.raises(
      folder_lib.FolderError, match=r'\(No space left on device\).*are safe'
    ):
      run_lib.run(
        session, path, tmp_path / 'out', settings=inside.settings(),
        report=lambda progress: counted.append(progress.counts.total),
      )  # fmt: skip
  assert max(counted) < 60
  inside.run(session, path, tmp_path / 'out')
  assert runs.made(tmp_path / 'out') == runs.made(tmp_path / 'whole')


def test_what_is_on_the_disk_is_not_asked_again(tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(60))
  slow, session = inside.make_session(pause_s=0.01), inside.make_session()
  counted = [0]
  with pytest.raises(worker_lib.Stopped):
    run_lib.run(
      slow, path, tmp_path / 'out', settings=inside.settings(rows=4),
      report=lambda progress: counted.append(progress.counts.total),
      should_stop=lambda: counted[-1] >= 30,
    )  # fmt: skip
  assert slow.engine.num_open == 0
  inside.run(session, path, tmp_path / 'out')
  # 8 of 60 never reach the engine, and 6 have two prompts.
  assert 0 < len(session.engine.requests) <= 58 - (counted[-1] - 8)
  fresh = inside.make_session()
  inside.run(fresh, path, tmp_path / 'whole')
  assert runs.made(tmp_path / 'out') == runs.made(tmp_path / 'whole')
  for one in (slow, session, fresh):
    one.engine.close()


@pytest.mark.parametrize(
  'step', ['fsync', 'replace'], ids=['on the disk', 'in its place']
)
def test_a_failing_disk_loses_nothing(session, tmp_path, monkeypatch, step):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(40))
  inside.run(session, path, tmp_path / 'whole')
  real = getattr(os, step)
  for fail_at in range(1, 30, 3):
    calls = []

    def failing(*args, calls=calls, fail_at=fail_at):
      calls.append(args)
      if len(calls) == fail_at:
        raise OSError(errno.EIO, 'Input/output error')
      return real(*args)

    with monkeypatch.context() as patch:
      patch.setattr(os, step, failing)
      try:
        inside.run(session, path, tmp_path / 'out')
      except types.ChatjaxError as error:
        assert 'Input/output error' in str(error)  # noqa: PT017
      else:
        break
  inside.run(session, path, tmp_path / 'out')
  assert runs.made(tmp_path / 'out') == runs.made(tmp_path / 'whole')


def test_a_read_only_folder_is_told_in_a_sentence(session):
  base = pathlib.Path(tempfile.mkdtemp())
  base.chmod(0o755)
  path = runs.write(base / 'in.jsonl', runs.mixed(20))
  output = base / 'out'
  output.mkdir()
  output.chmod(0o555)
  is_root = os.geteuid() == 0
  try:
    if is_root:
      os.seteuid(65534)
    with pytest.raises(
      folder_lib.FolderError, match=r'out cannot be written \(Permission'
    ):
      inside.run(session, path, output)
  finally:
    if is_root:
      os.seteuid(0)
  assert os.listdir(output) == []
  output.chmod(0o755)
  assert inside.run(session, path, output).is_complete
  shutil.rmtree(base)


def test_merge_is_the_last_step(session, tmp_path, monkeypatch, capsys):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(60))
  inside.run(session, path, tmp_path / 'whole')
  output = tmp_path / 'out'
  inside.stopped(session, path, output, monkeypatch)
  assert not (output / 'results.jsonl').exists()
  for _ in range(2):  # the second time there is nothing to do
    assert main.main(['batch', 'merge', str(output)]) == 4
    assert 'of 60 requests' in capsys.readouterr().out
    assert runs.made(output) == runs.made(tmp_path / 'whole')
  assert not (output / 'work').exists()


def test_merge_says_what_is_missing(session, tmp_path, monkeypatch, capsys):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(60))
  output = tmp_path / 'out'
  inside.stopped(session, path, output, monkeypatch)
  next((output / 'work' / 'done').iterdir()).unlink()
  assert main.main(['batch', 'merge', str(output)]) == 1
  assert '1 of the 4 ranges' in capsys.readouterr().err
  assert main.main(['batch', 'merge', str(tmp_path)]) == 1
  assert 'has no manifest.json' in capsys.readouterr().err


@pytest.mark.parametrize('is_complete', [False, True])
def test_merge_leaves_alone_what_is_no_batch(
  session, tmp_path, capsys, is_complete
):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(20))
  inside.run(session, path, tmp_path / 'out')
  output = tmp_path / 'eval'
  output.mkdir()
  manifest = dataclasses.replace(
    manifest_lib.read(tmp_path / 'out'),
    kind='eval', is_complete=is_complete, settings={}, results={}, counts={},
  )  # fmt: skip
  manifest.write(output)
  assert main.main(['batch', 'merge', str(output)]) == 1
  assert (
    "no folder of a batch (its manifest.json says 'eval')"
    in capsys.readouterr().err
  )
  assert os.listdir(output) == ['manifest.json']


@pytest.mark.parametrize('where', ['begin', 'middle', 'end', 'line'])
def test_damage_is_seen_and_made_good(session, tmp_path, monkeypatch, where):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(60))
  inside.run(session, path, tmp_path / 'whole')
  output = tmp_path / 'out'
  inside.stopped(session, path, output, monkeypatch)
  part = sorted((output / 'work' / 'done').iterdir())[1]
  data = bytearray(part.read_bytes())
  if where == 'line':
    data = bytearray(b''.join(bytes(data).splitlines(keepends=True)[1:]))
  else:
    at = {'begin': 3, 'middle': len(data) // 2, 'end': len(data) - 5}[where]
    data[at] ^= 1
  part.write_bytes(data)
  seen = []
  run_lib.run(
    session, path, output, settings=inside.settings(), report=seen.append
  )
  assert runs.made(output) == runs.made(tmp_path / 'whole')
  if where != 'line':
    assert seen[-1].num_damaged == 1


def test_torn_and_damaged_records_of_parts(tmp_path):
  made = [
    parts.Record(line=i, key=f'{i:032x}', is_error=bool(i % 2), data=b'{"a":1}')
    for i in range(3)
  ]
  encoded = [one.encode() for one in made]
  assert [parts.decode(one) for one in encoded] == made
  path = tmp_path / 'x'
  path.write_bytes(encoded[0] + encoded[1].replace(b'"a"', b'"b"') + encoded[2])
  found = list(parts.places(path))
  assert found[1] is None
  assert [found[0][1].read(), found[2][1].read()] == [made[0], made[2]]
  for size in range(len(encoded[2])):
    path.write_bytes(encoded[0] + encoded[2][:size])
    (only,) = parts.places(path)
    assert only[1].read() == made[0]


def test_an_engine_that_dies_is_told_and_what_was_done_stays(tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(60))
  sound = inside.make_session()
  inside.run(sound, path, tmp_path / 'whole')
  dying = inside.make_session(fail_after=200)
  with pytest.raises(types.ChatjaxError, match=r'engine has stopped.*again'):
    inside.run(dying, path, tmp_path / 'out')
  inside.run(sound, path, tmp_path / 'out')
  assert runs.made(tmp_path / 'out') == runs.made(tmp_path / 'whole')
  sound.engine.close()
  dying.engine.close()


def test_a_full_queue_is_waited_for(tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(40))
  session = inside.make_session(max_open=3, pause_s=0.001)
  done = inside.run(session, path, tmp_path / 'out')
  assert done.counts == {'total': 40, 'completed': 34, 'failed': 6}
  session.engine.close()


def test_what_the_queue_can_never_hold_is_an_error(tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', [runs.line('a', n=4)])
  session = inside.make_session(max_open=3)
  inside.run(session, path, tmp_path / 'out')
  (error,) = inside.records(tmp_path / 'out', 'errors.jsonl').values()
  assert error['response']['status_code'] == 503
  session.engine.close()


def test_the_engine_is_kept_full(tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(200))
  session = inside.make_session(pause_s=0.01, max_running=8)
  open_counts = []
  session.engine.listeners.append(
    lambda timeline: open_counts.append(session.engine.num_open)
  )
  inside.run(session, path, tmp_path / 'out', rows=8)
  session.engine.close()
  # But for the end, whenever one is done others are there for its row.
  busy = open_counts[: -2 * 16]
  assert sum(one >= 8 for one in busy) > 0.7 * len(busy)
  assert max(open_counts) <= 16 + 2


def test_a_worker_elsewhere_is_waited_for_and_then_replaced(session, tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(20))
  output = tmp_path / 'out'
  folder = folder_lib.Folder(output)
  folder.make()
  with leases_lib.Leases(folder.leases, label='0-of-1', lease_s=1e6) as other:
    other._told['host'] = 'elsewhere'
    other._beat()
    assert other.take('worker-0-of-1')
    # It never beats again.
    done = inside.run(session, path, output, lease_s=0.3)
    assert done.is_complete


def test_a_worker_elsewhere_that_lives_is_named(session, tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(20))
  output = tmp_path / 'out'
  folder = folder_lib.Folder(output)
  folder.make()
  with leases_lib.Leases(folder.leases, label='0-of-1', lease_s=0.3) as other:
    other._told['host'] = 'elsewhere'
    other._beat()
    assert other.take('worker-0-of-1')
    with pytest.raises(run_lib.BusyError, match='on elsewhere'):
      inside.run(session, path, output, lease_s=2.0)


class Passed:
  """A lease that one worker elsewhere leaves to another."""

  lease_s = 0.01

  def __init__(self, *held):
    self._held = [*held]

  def holder(self, unused_name):
    return self._held.pop(0) if self._held else None

  def is_near(self, unused_holder):
    return False


def holder(pid, count):
  place = {'host': 'elsewhere', 'boot': '', 'pids': 1, 'label': ''}
  return {**place, 'pid': pid, 'started': f'{pid}', 'count': count}


def test_a_lease_that_is_passed_on_elsewhere_is_waited_for(tmp_path):
  folder = folder_lib.Folder(tmp_path)
  wait = lambda *held: run_lib._until_gone(Passed(*held), folder, 'x')
  wait()
  wait(None, holder(1, 5))
  wait(holder(1, 5), holder(1, 6), holder(2, 60), holder(2, 61))
  with pytest.raises(run_lib.BusyError, match='Process 2 on elsewhere'):
    wait(holder(1, 5), holder(2, 1), holder(2, 3))


def test_shards_report_what_all_have_done(session, tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(40))
  seen = []
  run_lib.run(
    session, path, tmp_path / 'out',
    settings=inside.settings(shard=shards.Shard(1, 2)),
    report=seen.append,
  )  # fmt: skip
  totals = [one.counts.total for one in seen]
  assert totals == sorted(totals)
  assert totals[-1] == seen[-1].num_requests == 40


def test_a_worker_that_begins_again_is_fresh(tmp_path, monkeypatch):
  """Damage is found while others of its requests are open."""
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(60))
  session = inside.make_session(pause_s=0.01)
  inside.run(session, path, tmp_path / 'whole')
  finish, calls = worker_lib.Worker._finish, []

  def damaged(worker, taken):
    calls.append(worker)
    if len(calls) == 1:
      assert worker._num_open
      raise folder_lib.Damaged('A part was changed.')
    finish(worker, taken)

  monkeypatch.setattr(worker_lib.Worker, '_finish', damaged)
  inside.run(session, path, tmp_path / 'out')
  assert runs.made(tmp_path / 'out') == runs.made(tmp_path / 'whole')
  assert len(set(calls)) == 1
  assert calls[0]._num_open == 0
  session.engine.close()


def test_a_file_of_bad_lines_can_be_stopped(session, tmp_path):
  path = runs.write(tmp_path / 'in.jsonl', [b'x\n'] * 3000)
  counted = [0]
  with pytest.raises(worker_lib.Stopped):
    run_lib.run(
      session, path, tmp_path / 'out', settings=inside.settings(),
      report=lambda progress: counted.append(progress.counts.total),
      should_stop=lambda: counted[-1] > 0,
    )  # fmt: skip
  assert counted[-1] < 2000
  assert inside.run(session, path, tmp_path / 'out').counts['failed'] == 3000


def test_a_file_of_bad_lines_ends_with_its_writer(
  session, tmp_path, monkeypatch
):
  path = runs.write(tmp_path / 'in.jsonl', [b'x\n'] * 3000)
  read, num_read = source_lib.Source.read, []

  def counting(source, index):
    num_read.append(index)
    return read(source, index)

  monkeypatch.setattr(source_lib.Source, 'read', counting)
  with monkeypatch.context() as patch:
    Full(patch, 0)
    with pytest.raises(folder_lib.FolderError, match='No space left'):
      inside.run(session, path, tmp_path / 'out')
  assert len(num_read) < 100  # of 188


def test_progress_is_no_work(session, tmp_path, monkeypatch):
  """It is told for each record, of however many ranges."""
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(200))
  add, progress = final.Counts.__add__, worker_lib.Worker.progress
  num_added, told = [0], []

  def counting(one, other):
    num_added[0] += 1
    return add(one, other)

  def watched(worker):
    with monkeypatch.context() as patch:
      num_added[0] = 0
      patch.setattr(final.Counts, '__add__', counting)
      found = progress(worker)
      told.append(num_added[0])
    return found

  monkeypatch.setattr(worker_lib.Worker, 'progress', watched)
  run_lib.run(
    session, path, tmp_path / 'out',
    settings=run_lib.Settings(range_lines=4),
  )  # fmt: skip
  assert max(told) < 20
