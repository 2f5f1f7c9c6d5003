"""Every notebook runs from its first cell to its last; there is no list."""

import pathlib
import sys

from jupyter_client import kernelspec
from jupyter_client import manager
import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))


class _ThisPython(manager.AsyncKernelManager):
  """Starts kernels with the interpreter of the tests."""

  @property
  def kernel_spec(self):
    module = 'ipykernel_launcher'
    return kernelspec.KernelSpec(
      argv=[sys.executable, '-m', module, '-f', '{connection_file}'],
      language='python',
    )


def test_there_are_notebooks():
  assert NOTEBOOKS


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, monkeypatch):
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  notebook = nbformat.read(path, as_version=4)
  client = nbclient.NotebookClient(
    notebook,
    timeout=300,
    kernel_manager_class=_ThisPython,
    resources={'metadata': {'path': str(ROOT)}},
  )
  client.execute()


def test_notebooks_are_committed_without_outputs():
  for path in NOTEBOOKS:
    for cell in nbformat.read(path, as_version=4).cells:
      assert not cell.get('outputs'), f'{path.name}: clear the outputs'
