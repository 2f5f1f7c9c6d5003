"""Manifests: what a folder of results came of."""

import dataclasses
import errno
import json
import os
import types

import pytest

from chatjax.store import manifest

ENGINE = types.SimpleNamespace(
  fingerprint='fp_1', fingerprint_parts={'weights': 'w', 'widths': (2, 8)}
)
FILE = {'sha256': 'a', 'bytes': 1}


def make(**changes):
  fields = {
      'model': 'tiny', 'engine': ENGINE, 'config': {'engine': {'rows': 4}},
      'inputs': {'x.jsonl': FILE}, 'seed_rule': 'none',
  }  # fmt: skip
  return manifest.make('batch', **{**fields, **changes})


def test_a_manifest_comes_back_from_its_folder(tmp_path):
  one = make(settings={'max_n': 8})
  one.write(tmp_path)
  assert manifest.read(tmp_path) == one
  done = one.finish(results={'results.jsonl': FILE}, counts={'completed': 3})
  done.write(tmp_path)
  assert manifest.read(tmp_path) == done
  assert (one.is_complete, done.is_complete) == (False, True)
  assert os.listdir(tmp_path) == [manifest.NAME]
  # What is told is told as it can be read again: tuples are lists.
  assert one.parts == {'weights': 'w', 'widths': [2, 8]}
  assert one.config_digest == manifest.digest({'engine': {'rows': 4}})


def test_the_same_run_has_the_same_bytes():
  assert make().as_json() == make().as_json()


def test_what_makes_another_run_is_named():
  other = types.SimpleNamespace(
    fingerprint='fp_2', fingerprint_parts={'weights': 'v', 'widths': (2, 8)}
  )
  one = make()
  assert one.differences(make(config={'engine': {'rows': 8}})) == {}
  assert one.differences(make(engine=other)) == {
    'fingerprint': ('fp_1', 'fp_2'),
    'fingerprint.weights': ('w', 'v'),
  }
  assert set(one.differences(make(inputs={}))) == {'inputs.x.jsonl'}
  assert one.differences(make(settings={'max_n': 1})) == {
    'settings.max_n': (None, 1)
  }
  assert set(one.differences(make(model='x'))) == {'model'}
  newer = dataclasses.replace(one, code={'version': '9', 'sha256': 'x'})
  assert set(one.differences(newer)) == {'code.sha256', 'code.version'}


@pytest.mark.parametrize(
  'text', ['', '{', '[]', '{}', '{"kind": "batch"}', '\x00']
)
def test_a_damaged_manifest_is_refused_in_a_sentence(tmp_path, text):
  (tmp_path / manifest.NAME).write_text(text)
  with pytest.raises(manifest.ManifestError, match='cannot be read'):
    manifest.read(tmp_path)


def test_another_format_is_refused(tmp_path):
  fields = json.loads(make().as_json()) | {'format': 99}
  (tmp_path / manifest.NAME).write_text(json.dumps(fields))
  with pytest.raises(manifest.ManifestError, match='format is 99'):
    manifest.read(tmp_path)


def test_a_folder_without_one_is_refused(tmp_path):
  with pytest.raises(manifest.ManifestError, match='has no manifest'):
    manifest.read(tmp_path)


def test_files_are_digested_by_their_bytes(tmp_path):
  path = tmp_path / 'x'
  path.write_bytes(b'abc')
  found = manifest.digest_file(path)
  assert found['bytes'] == 3
  assert found['sha256'].startswith('ba7816bf')


def test_a_failed_write_leaves_the_file_before(tmp_path, monkeypatch):
  path = tmp_path / 'x'
  manifest.write_durably(path, b'before')

  def full(unused_descriptor):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', full)
  with pytest.raises(OSError, match='No space'):
    manifest.write_durably(path, b'after')
  assert (path.read_bytes(), os.listdir(tmp_path)) == (b'before', ['x'])
