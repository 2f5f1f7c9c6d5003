"""A module imports only from lower layers or from its own room."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parent.parent / 'chatjax'
LAYER = {
    'types': -1,
    'config': 0,
    'config_file': 1, 'model_config': 1, 'text': 1, 'native': 1,
    'grammar': 2, 'nn': 2, 'ckpt': 2,
    'models': 3, 'sampling': 3,
    'engine': 4, 'protocol': 4, 'store': 4,
    'chat': 5, 'look': 5,
    'model': 6, 'testing': 6, 'coupled': 6, 'batch': 6, 'evals': 6,
    'api': 7, 'serve': 7,
    'cli': 8,
}  # fmt: skip
NO_JAX = {
  *('types', 'config', 'config_file', 'model_config', 'text', 'grammar'),
  *('protocol', 'serve', 'batch'),
}
NO_JAX_FILES = {
  f'engine/{name}.py'
  for name in (
    *('scheduler', 'job', 'tables', 'prefix', 'blocks', 'stats'),
    'drafts',
  )
}


def owner(path: pathlib.Path) -> str:
  return path.relative_to(ROOT).parts[0].removesuffix('.py')


def imports(path: pathlib.Path):
  """Dotted names of all modules that a file imports, at any depth."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def package_files():
  return [p for p in ROOT.rglob('*.py') if p.name != '__init__.py']


def test_imports_point_downwards():
  wrong = []
  for path in package_files():
    for name in imports(path):
      parts = name.split('.')
      if parts[0] != 'chatjax' or parts[1:] in ([], ['__version__']):
        continue
      room, mine = parts[1], owner(path)
      if room != mine and LAYER[room] >= LAYER[mine]:
        wrong.append(f'{path.relative_to(ROOT)} imports {name}')
  assert not wrong, wrong


def test_host_rooms_do_not_import_jax():
  wrong = []
  for path in package_files():
    name = str(path.relative_to(ROOT))
    if owner(path) in NO_JAX or name in NO_JAX_FILES:
      roots = {dep.split('.')[0] for dep in imports(path)}
      if roots & {'jax', 'flax'}:
        wrong.append(name)
  assert not wrong, wrong


def test_only_nn_imports_flax():
  wrong = [
    str(path.relative_to(ROOT))
    for path in package_files()
    if owner(path) != 'nn'
    and 'flax' in {dep.split('.')[0] for dep in imports(path)}
  ]
  assert not wrong, wrong
