"""Every notebook runs from its first cell to its last; there is no list.

What a notebook needs is in its own header: `marks` are those of its test.
"""

import ast
import os
import sys

from jupyter_client import kernelspec
from jupyter_client import manager
import jupytext
import nbclient
import pytest

from tests import pages

NOTEBOOKS = sorted((pages.ROOT / 'notebooks').glob('*.py'))
MARKS = {'real_model', 'slow'}
# What a reader may build on; everything else may change its names.
PUBLIC = {'config', 'model_config', 'nn', 'sampling', 'testing', 'types'}
# A notebook is to take a minute; the machine may be busy.
TIMEOUT_S = 600


class _ThisPython(manager.AsyncKernelManager):
  """Starts kernels with the interpreter of the tests."""

  @property
  def kernel_spec(self):
    module = 'ipykernel_launcher'
    return kernelspec.KernelSpec(
      argv=[sys.executable, '-m', module, '-f', '{connection_file}'],
      language='python',
    )


def marks(path):
  return jupytext.read(path).metadata.get('marks', [])


def sources(path):
  """Of the code cells."""
  cells = jupytext.read(path).cells
  return [cell.source for cell in cells if cell.cell_type == 'code']


def each(paths):
  return pytest.mark.parametrize('path', paths, ids=lambda path: path.stem)


@pytest.fixture
def environment(path, monkeypatch, tmp_path, request):
  """What the kernel finds, and where it leaves what it makes."""
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setenv('MPLBACKEND', 'module://matplotlib_inline.backend_inline')
  monkeypatch.setenv('PYTHONPATH', str(pages.ROOT))
  monkeypatch.delenv('OPENAI_API_KEY', raising=False)
  if 'real_model' not in marks(path):
    monkeypatch.setenv('CHATJAX_HOME', str(tmp_path / 'home'))
    # As tests/conftest.py has it for the tests themselves.
    compiled = os.environ['CHATJAX_TEST_COMPILED']
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', compiled)
    monkeypatch.setenv('JAX_COMPILATION_CACHE_MAX_SIZE', str(4 * 2**30))
    if not request.config.getoption('--all'):
      monkeypatch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
  return tmp_path


@pytest.mark.parametrize(
  'path',
  [
    pytest.param(
      path,
      id=path.stem,
      marks=[getattr(pytest.mark, name) for name in marks(path)],
    )
    for path in NOTEBOOKS
  ],
)
def test_a_notebook_runs(path, environment):
  notebook = jupytext.read(path)
  client = nbclient.NotebookClient(
    notebook,
    timeout=TIMEOUT_S,
    kernel_manager_class=_ThisPython,
    resources={'metadata': {'path': str(environment)}},
  )
  client.execute()
  assert not warnings_of(notebook)


def warnings_of(notebook):
  """What Python warned of in the cells: it goes to their stderr."""
  return [
    output.text
    for cell in notebook.cells
    for output in cell.get('outputs', [])
    if output.output_type == 'stream'
    and output.name == 'stderr'
    and 'Warning:' in output.text
  ]


def test_warnings_are_seen():
  notebook = jupytext.reads('# %%\nimport warnings\n', fmt='py:percent')
  notebook.cells[0].source += "\nwarnings.warn('old', UserWarning)"
  nbclient.NotebookClient(notebook, kernel_manager_class=_ThisPython).execute()
  assert len(warnings_of(notebook)) == 1


def test_there_are_notebooks():
  assert len(NOTEBOOKS) >= 7


@each(NOTEBOOKS)
def test_the_last_cell_asserts(path):
  *_, last = sources(path)
  statements = ast.walk(ast.parse(last))
  assert any(isinstance(node, ast.Assert) for node in statements)


@each(NOTEBOOKS)
def test_only_what_is_public_is_used(path):
  tree = ast.parse('\n'.join(sources(path)))
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute):
      is_private = node.attr.startswith('_') and node.attr != '__name__'
      assert not is_private, node.attr
    names = []
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      names = [f'{node.module}.{alias.name}' for alias in node.names]
    for name in names:
      package, *rest = name.split('.')
      assert package != 'chatjax' or not rest or rest[0] in PUBLIC, name


@each(NOTEBOOKS)
def test_saving_it_from_jupyter_changes_nothing(path):
  text = path.read_text()
  written = jupytext.writes(jupytext.read(path), fmt='py:percent')
  # Jupytext also notes its own version in the header.
  body = '# ---\n\n# %% '
  assert written.split(body, 1)[1] == text.split(body, 1)[1]


@each(NOTEBOOKS)
def test_marks_are_known_and_the_page_lists_it(path):
  assert set(marks(path)) <= MARKS
  page = pages.ROOT / 'docs' / 'notebooks.md'
  assert path in {file.resolve() for file, _ in pages.links(page)}


def test_the_outputs_are_not_kept():
  assert not list((pages.ROOT / 'notebooks').glob('*.ipynb'))
