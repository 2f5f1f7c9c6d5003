"""Workers that come back when others have their ranges; ranges not whole."""

import asyncio
import concurrent.futures
import contextlib
import os
import threading

import pytest

from chatjax.batch import answer as answer_lib
from chatjax.batch import folder as folder_lib
from chatjax.batch import kept as kept_lib
from chatjax.batch import leases as leases_lib
from chatjax.batch import parts
from chatjax.batch import run as run_lib
from chatjax.batch import shards
from chatjax.batch import source as source_lib
from chatjax.batch import worker as worker_lib
from chatjax.protocol import limits as limits_lib
from chatjax.store import manifest as manifest_lib
from chatjax.testing import byte_tokenizer
from tests.batch import inside
from tests.batch import runs
from tests.serve import harness

LAST, NUM_LINES = 'the last one', 16


@pytest.fixture
def path(tmp_path):
  lines = [runs.line(f'r{i}') for i in range(NUM_LINES - 1)]
  return runs.write(tmp_path / 'in.jsonl', [*lines, runs.line(LAST)])


@pytest.fixture
def whole(path, tmp_path):
  """What one worker makes of it."""
  session = inside.make_session()
  inside.run(session, path, tmp_path / 'whole')
  session.engine.close()
  return runs.made(tmp_path / 'whole')


class Slow:
  """A worker that has all of its answers but the last, until it goes on."""

  def __init__(self, stack, folder, source, index):
    self._go, self._is_asked = threading.Event(), threading.Event()
    self._folder = folder
    self.session = inside.make_session(self._script)
    stack.callback(self.session.engine.close)
    stack.callback(self._go.set)
    pool = concurrent.futures.ThreadPoolExecutor(1)
    shard, limits = shards.Shard(index, 2), limits_lib.Limits()
    self._leases = stack.enter_context(
      leases_lib.Leases(folder.leases, label=shard.name, lease_s=0.2)
    )
    self._worker = worker_lib.Worker(
      answer_lib.Asker(self.session, limits=limits, pool=pool),
      source=source,
      folder=folder,
      kept=stack.enter_context(contextlib.closing(kept_lib.Kept(folder.kept))),
      leases=self._leases,
      shard=shard,
      rows=NUM_LINES,
      report=lambda progress: None,
    )
    self._thread = threading.Thread(target=self._run)
    self.error = None

  def start(self):
    self._thread.start()
    assert self._is_asked.wait(10)
    harness.wait_until(lambda: self._num_records() == NUM_LINES - 1, 10)

  def die(self):
    """As far as others can see."""
    self._leases._is_closed.set()

  def end(self):
    self._go.set()
    self._thread.join(10)
    assert not self._thread.is_alive()
    if self.error is not None:
      raise self.error

  def _run(self):
    try:
      asyncio.run(self._worker.run())
    except BaseException as error:  # noqa: BLE001 - raised again at the end
      self.error = error

  def _num_records(self):
    return sum(len(list(parts.places(one))) for one in self._folder.parts(0))

  def _script(self, request, choice):
    prompt = byte_tokenizer.ByteTokenizer().decode(request.prompt_ids)
    if LAST in prompt:
      self._is_asked.set()
      assert self._go.wait(20)
    return inside.echo(request, choice)


@pytest.mark.parametrize('first', ['the one before', 'the one after'])
def test_two_live_workers_on_one_range(path, whole, tmp_path, first):
  session = inside.make_session()
  folder = folder_lib.Folder(tmp_path / 'out')
  folder.make()
  folder.adopt(path)
  with contextlib.ExitStack() as stack:
    stack.callback(session.engine.close)
    source = stack.enter_context(
      source_lib.Source(
        folder.requests, limits=limits_lib.Limits(), range_lines=16
      )
    )
    assert source.num_ranges == 1
    before, after = (Slow(stack, folder, source, i) for i in range(2))
    before.start()
    before.die()
    after.start()
    workers = [before, after]
    for worker in workers if first == 'the one before' else workers[::-1]:
      worker.end()
    (done,) = os.listdir(tmp_path / 'out' / 'work' / 'done')
    assert done == f'0.{NUM_LINES}.0.part'
  # The rest is what any worker finds.
  inside.run(inside.make_session(), path, tmp_path / 'out')
  assert runs.made(tmp_path / 'out') == whole


@pytest.mark.parametrize('is_beside', [True, False])
@pytest.mark.parametrize('num_kept', [0, 3])
def test_a_range_that_is_not_whole_is_made_again(
  tmp_path, monkeypatch, is_beside, num_kept
):
  """A file that says of itself how little it has, alone or beside another."""
  session = inside.make_session()
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(60))
  inside.run(session, path, tmp_path / 'whole')
  output = tmp_path / 'out'
  inside.stopped(session, path, output, monkeypatch)
  done = output / 'work' / 'done'
  (good,) = done.glob('2.*')
  records = good.read_bytes().splitlines(keepends=True)[:num_kept]
  failed = sum(parts.decode(one).is_error for one in records)
  (done / f'2.{num_kept - failed}.{failed}.part').write_bytes(b''.join(records))
  if not is_beside:
    good.unlink()
  num_asked = len(session.engine.requests)
  inside.run(session, path, output)
  assert runs.made(output) == runs.made(tmp_path / 'whole')
  assert (len(session.engine.requests) == num_asked) == is_beside
  session.engine.close()


def test_merge_does_not_make_less_than_was_asked(tmp_path, monkeypatch):
  session = inside.make_session()
  path = runs.write(tmp_path / 'in.jsonl', runs.mixed(60))
  output = tmp_path / 'out'
  inside.stopped(session, path, output, monkeypatch)
  done = output / 'work' / 'done'
  next(done.glob('2.*')).unlink()
  (done / '2.0.0.part').touch()
  with pytest.raises(folder_lib.Damaged, match=r'has 0 of 16.*are run again'):
    run_lib.merge(output)
  assert not (output / 'results.jsonl').exists()
  assert not manifest_lib.read(output).is_complete
  inside.run(session, path, output)
  assert run_lib.merge(output).counts['total'] == 60
  session.engine.close()


def test_a_record_that_rots_while_its_range_is_worked_on(path, whole, tmp_path):
  session = inside.make_session(pause_s=0.05)
  output = tmp_path / 'out'
  rotten, seen = [], []

  def report(progress):
    seen.append(progress)
    if progress.counts.total and not rotten:
      (part,) = (output / 'work' / 'parts').iterdir()
      data = bytearray(part.read_bytes())
      data[30] ^= 1
      part.write_bytes(data)
      rotten.append(part)

  run_lib.run(
    session, path, output, settings=inside.settings(rows=2), report=report
  )
  assert rotten
  assert runs.made(output) == whole
  assert seen[-1].num_damaged == 1
  session.engine.close()
