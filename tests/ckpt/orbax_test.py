"""Checkpoints are whole or not there, whoever dies or writes at once."""

from concurrent import futures
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from chatjax.ckpt import home as home_lib
from chatjax.ckpt import manifest as manifest_lib
from chatjax.ckpt import orbax

MANIFEST = manifest_lib.Manifest(
  source='tiny.gguf', sha256='0123456789abcdef' * 4, dtype='float32'
)
PARAMS = {
  'a': {'w': np.arange(12, dtype=np.float32).reshape(3, 4)},
  'b': np.arange(5, dtype=np.int8),
}
ABSTRACT = jax.tree.map(
  lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), PARAMS
)
# Dies when the parameters are on their way to the disk.
DYING = """
import os, pathlib, signal, sys
from unittest import mock
import numpy as np
import orbax.checkpoint as ocp
from chatjax.ckpt import manifest, orbax
real = ocp.Checkpointer.save
def save(self, path, tree):
  real(self, path, tree)
  os.kill(os.getpid(), signal.SIGKILL)
with mock.patch.object(ocp.Checkpointer, 'save', save):
  orbax.ensure(
    pathlib.Path(sys.argv[1]),
    manifest.Manifest(source='tiny.gguf', sha256=sys.argv[2], dtype='float32'),
    {'a': np.zeros(3, np.float32)},
    lambda part: part,
  )
"""


@pytest.fixture(name='checkpoints')
def _checkpoints(tmp_path):
  return tmp_path / 'checkpoints'


def names(folder: pathlib.Path):
  return sorted(path.name for path in folder.iterdir())


def assert_whole(path):
  found = orbax.restore(path, ABSTRACT)
  jax.tree.map(np.testing.assert_array_equal, found, PARAMS)
  assert MANIFEST.is_complete(path)


def test_too_small_a_disk_is_seen_before_the_first_byte(
  checkpoints, monkeypatch
):
  usage = shutil.disk_usage(checkpoints.parent)._replace(free=2**22)
  monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
  with pytest.raises(
    orbax.CheckpointError, match=r'need 4 MB in .*, 4 MB are free\. Free some'
  ):
    orbax.ensure(checkpoints, MANIFEST, ABSTRACT, lambda part: PARAMS)
  assert names(checkpoints) == []


def test_a_checkpoint_is_made_once(checkpoints):
  path = orbax.ensure(checkpoints, MANIFEST, ABSTRACT, lambda part: PARAMS)
  assert names(checkpoints) == [path.name]
  assert_whole(path)
  assert orbax.ensure(checkpoints, MANIFEST, ABSTRACT, pytest.fail) == path


def test_a_process_killed_while_saving(checkpoints):
  done = subprocess.run(
    [sys.executable, '-c', DYING, str(checkpoints), MANIFEST.sha256],
    stderr=subprocess.PIPE, timeout=60, check=False,
  )  # fmt: skip
  assert done.returncode == -signal.SIGKILL, done.stderr
  path = MANIFEST.folder(checkpoints)
  assert names(checkpoints) == [f'{path.name}.partial']
  orbax.ensure(checkpoints, MANIFEST, ABSTRACT, lambda part: PARAMS)
  assert names(checkpoints) == [path.name]
  assert_whole(path)


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError, SystemExit])
def test_nothing_is_left_of_a_save_that_fails(checkpoints, error):
  def save(unused_self, path, unused_tree):
    path.mkdir()
    (path / 'half').write_text('half')
    raise error

  with (
    mock.patch.object(ocp.Checkpointer, 'save', save),
    pytest.raises(error),
  ):
    orbax.ensure(checkpoints, MANIFEST, ABSTRACT, lambda part: PARAMS)
  assert names(checkpoints) == []


def test_a_folder_that_cannot_be_written(tmp_path):
  (tmp_path / 'checkpoints').write_text('a file')
  with pytest.raises(
    orbax.CheckpointError, match=r'^Cannot write checkpoint .*CHATJAX_HOME'
  ):
    orbax.ensure(
      tmp_path / 'checkpoints', MANIFEST, ABSTRACT, lambda part: PARAMS
    )


def test_two_at_once_convert_once(checkpoints):
  made = []

  def make(unused_part):
    made.append(1)
    time.sleep(0.3)
    return PARAMS

  with futures.ThreadPoolExecutor() as pool:
    ensure = lambda _: orbax.ensure(checkpoints, MANIFEST, ABSTRACT, make)
    (path,) = set(pool.map(ensure, range(3)))
  assert made == [1]
  assert_whole(path)


def test_the_lock_of_a_live_process_is_respected(checkpoints):
  path = MANIFEST.folder(checkpoints)
  partial = path.with_name(f'{path.name}.partial')
  partial.mkdir(parents=True)
  with futures.ThreadPoolExecutor() as pool:
    with home_lib.lock(checkpoints.parent / 'locks' / path.name):
      waiting = pool.submit(
        orbax.ensure, checkpoints, MANIFEST, ABSTRACT, lambda part: PARAMS
      )
      with pytest.raises(TimeoutError):
        waiting.result(timeout=0.3)
      assert partial.exists()
    assert waiting.result(timeout=30) == path
  assert not partial.exists()


@pytest.mark.parametrize('torn', ['chatjax.json', 'params'])
def test_a_torn_checkpoint_is_made_again(checkpoints, torn):
  path = orbax.ensure(checkpoints, MANIFEST, ABSTRACT, lambda part: PARAMS)
  (path / torn).rename(checkpoints.parent / torn)
  assert not MANIFEST.is_complete(path)
  orbax.ensure(checkpoints, MANIFEST, ABSTRACT, lambda part: PARAMS)
  assert_whole(path)


def test_damage_is_one_sentence(checkpoints):
  path = orbax.ensure(checkpoints, MANIFEST, ABSTRACT, lambda part: PARAMS)
  for file in manifest_lib.params(path).rglob('*'):
    if file.is_file():
      file.write_bytes(b'')
  with pytest.raises(orbax.CheckpointError, match=r'is damaged .*delete'):
    orbax.restore(path, ABSTRACT)
