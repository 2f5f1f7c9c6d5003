"""A folder that holds another run: refused, or made this one, nothing lost."""

import contextlib
import dataclasses
import os

import pytest

from chatjax import types
from chatjax.batch import final
from chatjax.batch import folder as folder_lib
from chatjax.batch import leases as leases_lib
from chatjax.batch import run as run_lib
from chatjax.batch import worker as worker_lib
from chatjax.protocol import limits as limits_lib
from chatjax.store import manifest as manifest_lib
from tests.batch import inside
from tests.batch import runs


@pytest.mark.parametrize('is_complete', [False, True])
def test_another_run_is_refused_and_named(session, tmp_path, is_complete):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(20))
  other = runs.write(tmp_path / 'other.jsonl', runs.mixed(21))
  output = tmp_path / 'out'
  inside.run(session, path, output)
  if not is_complete:
    manifest = dataclasses.replace(
      manifest_lib.read(output), is_complete=False, results={}, counts={}
    )
    manifest.write(output)
  before = {one: one.read_bytes() for one in output.iterdir() if one.is_file()}
  with pytest.raises(
    folder_lib.FolderError, match=r'differ in inputs\.requests\.jsonl'
  ):
    inside.run(session, other, output)
  newer = inside.make_session()
  newer.engine.fingerprint = 'fp_new'
  newer.engine.fingerprint_parts = {'engine': 'another'}
  with pytest.raises(
    folder_lib.FolderError, match=r'fp_fake there, fp_new here.*a script there'
  ):
    inside.run(newer, path, output)
  for one, data in before.items():
    assert one.read_bytes() == data
  done = inside.run(session, other, output, force=True)
  assert done.counts['total'] == 21
  newer.engine.close()


@pytest.mark.parametrize('is_complete', [False, True])
def test_answers_to_the_same_requests_are_kept(
  session, tmp_path, monkeypatch, is_complete
):
  lines = list(runs.mixed(60))
  path = runs.write(tmp_path / 'in.jsonl', lines)
  more = runs.write(
    tmp_path / 'more.jsonl', [*runs.mixed(70)][60:] + lines[::-1]
  )
  output = tmp_path / 'out'
  inside.run(session, more, tmp_path / 'whole')
  if is_complete:
    inside.run(session, path, output)
  else:
    inside.stopped(session, path, output, monkeypatch)
  num_asked = len(session.engine.requests)
  done = inside.run(session, more, output, force=True)
  # Two of ten are wrong, one in ten has two prompts.
  assert len(session.engine.requests) - num_asked == 9
  assert done.counts['total'] == 70
  assert runs.made(output) == runs.made(tmp_path / 'whole')
  assert not (output / 'work').exists()


class Killed(BaseException):
  """At a step that a test counts."""


def kill_at(patch, steps, number):
  """The process ends before one of its steps (owner, name), by number."""
  count = [0]

  def counted(real):
    def call(*args, **kwargs):
      count[0] += 1
      if count[0] == number:
        raise Killed
      return real(*args, **kwargs)

    return call

  for owner, name in steps:
    patch.setattr(owner, name, counted(getattr(owner, name)))


@pytest.mark.parametrize('is_complete', [False, True])
def test_a_kill_while_a_folder_gets_other_requests_loses_nothing(
  session, tmp_path, monkeypatch, is_complete
):
  lines = [runs.line(f'r{i}') for i in range(40)]
  path = runs.write(tmp_path / 'in.jsonl', lines)
  more = runs.write(tmp_path / 'more.jsonl', [*lines, runs.line('new')])
  inside.run(session, more, tmp_path / 'whole')
  steps = (
    (os, 'replace'), (os, 'unlink'), (os, 'link'), (os, 'fsync'),
    (manifest_lib, 'copy_durably'), (leases_lib, 'create_once'),
    (folder_lib.Folder, 'has_copy_of'), (folder_lib.Folder, 'adopt'),
    (worker_lib.Worker, 'run'),
  )  # fmt: skip
  for number in range(1, 200):
    output = tmp_path / f'out-{number}'
    if is_complete:
      inside.run(session, path, output)
    else:
      inside.stopped(session, path, output, monkeypatch)
    with monkeypatch.context() as patch:
      # What a lease does of it would be counted on another thread.
      patch.setattr(leases_lib, '_BEATS', 1e-6)
      kill_at(patch, steps, number)
      with contextlib.suppress(Killed, types.ChatjaxError):
        inside.run(session, more, output, force=True)
    is_started = (output / 'manifest.json').exists() and manifest_lib.read(
      output
    ).inputs == manifest_lib.read(tmp_path / 'whole').inputs
    num_asked = len(session.engine.requests)
    inside.run(session, more, output, force=True)
    assert len(session.engine.requests) - num_asked <= 1, number
    assert runs.made(output) == runs.made(tmp_path / 'whole')
    if is_started:
      break
  assert is_started
  assert number > 5


@pytest.mark.parametrize('is_complete', [False, True])
def test_kept_answers_are_within_the_limits(
  session, tmp_path, monkeypatch, is_complete
):
  lines = [runs.line('n', n=4), runs.line('one'), runs.line('z', seed=1)]
  lines.append(runs.line('texts', runs.TEXT, prompt=['a', 'b', 'c']))
  path = runs.write(tmp_path / 'in.jsonl', lines)
  output, limits = tmp_path / 'out', limits_lib.Limits(max_n=2, max_prompts=2)
  run_lib.run(
    session, path, tmp_path / 'whole', settings=inside.settings(), limits=limits
  )
  if is_complete:
    inside.run(session, path, output)
  else:
    inside.stopped(session, path, output, monkeypatch)
  num_asked = len(session.engine.requests)
  run_lib.run(
    session, path, output, settings=inside.settings(force=True), limits=limits
  )
  assert len(session.engine.requests) == num_asked
  assert list(inside.records(output)) == ['one', 'z']
  assert runs.made(output) == runs.made(tmp_path / 'whole')


def test_what_is_cut_short_has_the_answers_that_were_kept(
  session, tmp_path, monkeypatch
):
  """A server's limits have changed, and then the batch is cancelled."""
  path = runs.write(
    tmp_path / 'in.jsonl', [runs.line('n', n=4), runs.line('one')]
  )
  output, limits = tmp_path / 'out', limits_lib.Limits(max_n=2)
  inside.run(session, path, output)
  with monkeypatch.context() as patch:
    kill_at(patch, [(worker_lib.Worker, 'run')], 1)
    with pytest.raises(Killed):
      run_lib.run(
        session,
        path,
        output,
        settings=inside.settings(force=True),
        limits=limits,
      )
  counts = run_lib.cut_short(
    output, limits=limits, fingerprint=session.engine.fingerprint,
    context=session.engine.max_context, code='cancelled', message='It is.',
  )  # fmt: skip
  assert counts == final.Counts(1, 1)
  assert list(inside.records(output)) == ['one']
  (left_out,) = inside.records(output, 'errors.jsonl').values()
  assert left_out['error']['code'] == 'cancelled'


@pytest.mark.parametrize('is_complete', [False, True])
def test_the_price_of_force_is_told(
  session, tmp_path, monkeypatch, is_complete
):
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(20))
  other = runs.write(tmp_path / 'other.jsonl', runs.mixed(21))
  output = tmp_path / 'out'
  if is_complete:
    inside.run(session, path, output)
  else:
    inside.stopped(session, path, output, monkeypatch)
  with pytest.raises(folder_lib.FolderError, match='requests are kept'):
    inside.run(session, other, output)
  monkeypatch.setattr(manifest_lib, 'code_digest', lambda: 'another')
  with pytest.raises(folder_lib.FolderError, match='gives up its 17 answers'):
    inside.run(session, other, output)


def test_what_another_version_has_left_is_not_taken(
  session, tmp_path, monkeypatch
):
  """A run with --force is ended, and the next one is of other code."""
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(40))
  more = runs.write(tmp_path / 'more.jsonl', runs.mixed(41))
  output = tmp_path / 'out'
  inside.run(session, path, output)
  with monkeypatch.context() as patch:
    kill_at(patch, [(worker_lib.Worker, 'run')], 1)
    with pytest.raises(Killed):
      inside.run(session, more, output, force=True)
  inside.run(session, more, tmp_path / 'whole')
  num_asked = len(session.engine.requests)
  monkeypatch.setattr(manifest_lib, 'code_digest', lambda: 'another')
  inside.run(session, more, output, force=True)
  assert len(session.engine.requests) - num_asked > 30


@pytest.mark.parametrize('force', [False, True])
def test_a_kill_before_the_manifest(session, tmp_path, monkeypatch, force):
  """With other requests than now, and nothing that says what they were."""
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(20))
  output = tmp_path / 'out'

  def killed(*unused):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(leases_lib, 'create_once', killed)
    with pytest.raises(KeyboardInterrupt):
      inside.run(session, path, output)
  assert not (output / 'manifest.json').exists()
  other = runs.write(tmp_path / 'other.jsonl', runs.mixed(21))
  if force:
    assert inside.run(session, other, output, force=True).counts['total'] == 21
  else:
    with pytest.raises(folder_lib.FolderError, match='--force'):
      inside.run(session, other, output)
    assert inside.run(session, path, output).counts['total'] == 20


def test_force_leaves_the_requests_that_it_is_to_read(session, tmp_path):
  """The copy in the folder is as good a file as any."""
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(20))
  output = tmp_path / 'out'
  inside.run(session, path, output)
  path.unlink()
  newer = inside.make_session()
  newer.engine.fingerprint = 'fp_new'
  done = inside.run(newer, output / 'requests.jsonl', output, force=True)
  assert (done.counts['total'], done.fingerprint) == (20, 'fp_new')
  newer.engine.close()
