"""A family is one file: what the playbook in WORKSPACE.md promises."""

import numpy as np
import pytest

from chatjax.models import architectures
from chatjax.models import families
from tests.models import folders

FILE = '''
"""A family of a test: Llama whose folders call its embedding otherwise."""

import dataclasses

from chatjax.models.architectures import llama


def _named(rule):
  sources = tuple(
    (name.replace('embed_tokens', 'words'), equation)
    for name, equation in rule.sources
  )
  return dataclasses.replace(rule, sources=sources)


FAMILY = dataclasses.replace(
  llama.FAMILY,
  gguf_architecture=None,
  architectures=('FableForCausalLM',),
  hub_rules=tuple(map(_named, llama.FAMILY.hub_rules)),
)
'''


@pytest.fixture(name='folder')
def _folder(tmp_path, monkeypatch):
  source, folder = tmp_path / 'source', tmp_path / 'model'
  source.mkdir()
  folder.mkdir()
  (source / 'fable.py').write_text(FILE)
  places = [*architectures.__path__, str(source)]
  monkeypatch.setattr(architectures, '__path__', places)
  monkeypatch.setattr(families, 'BY_HUB', families.by_hub())
  folders.copy_of('llama', folder, architectures=['FableForCausalLM'])
  stored = (folder / 'model.safetensors').read_bytes()
  # The head's length stays.
  stored = stored.replace(
    b'"model.embed_tokens.weight"', b'"model.words.weight"       '
  )
  (folder / 'model.safetensors').write_bytes(stored)
  monkeypatch.setitem(folders.ALL, 'fable', folder)
  return folder


@pytest.mark.usefixtures('folder')
def test_a_family_is_one_file():
  golden = folders.golden('fable')
  ours = folders.dense_logits('fable', golden['ids'])
  np.testing.assert_array_equal(
    ours, folders.dense_logits('llama', golden['ids'])
  )


def test_families_have_names_of_their_own():
  names = [x for each in families.find() for x in each.architectures]
  assert len(set(names)) == len(names) == len(families.BY_HUB)
