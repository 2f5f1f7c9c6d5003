"""Converts weights in a process that knows of no others.

Orbax writes on behalf of all processes that `jax.distributed` connects, and
here each machine makes its own copy.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import json
import os
import pathlib
import subprocess
import sys

from chatjax import config as config_lib
from chatjax import types
from chatjax.models import load
from chatjax.models import source as source_lib


def prepare(
  path: pathlib.Path,
  digest: str,
  *,
  dtype: str,
  checkpoints: pathlib.Path,
  mesh: config_lib.MeshConfig,
  progress: Callable[[int, int], None],
) -> None:
  """Makes what `load.load` with these arguments looks for.

  Raises:
    LoadError: what the other process said.
  """
  sizes = mesh.data, mesh.expert, mesh.model
  arguments = str(path), digest, dtype, str(checkpoints), *map(str, sizes)
  with subprocess.Popen(
    [sys.executable, '-m', __name__, *arguments],
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    stdout=subprocess.PIPE,
    text=True,
  ) as child:
    error = 'the process that converts them was killed'
    for line in child.stdout:
      told = json.loads(line)
      if isinstance(told, str):
        error = told
      else:
        progress(*told)
  if child.returncode:
    raise source_lib.LoadError(error)


def main(arguments: Sequence[str]) -> int:
  """Writes a line of JSON for each step: [done, in all], or an error."""
  path, digest, dtype, checkpoints, *sizes = arguments
  data, expert, model = map(int, sizes)
  try:
    load.load(
      pathlib.Path(path),
      digest,
      dtype=dtype,
      checkpoints=pathlib.Path(checkpoints),
      mesh=config_lib.MeshConfig(data=data, expert=expert, model=model),
      progress=lambda *counts: print(json.dumps(counts), flush=True),
    )
  except types.ChatjaxError as e:
    print(json.dumps(str(e)), flush=True)
    return 1
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
