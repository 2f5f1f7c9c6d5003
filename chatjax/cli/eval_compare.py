"""`chatjax eval compare`: two runs of one task, item by item."""

from __future__ import annotations

from collections.abc import Sequence
import pathlib

from absl import flags

from chatjax import types
from chatjax.cli import flagset
from chatjax.evals import folder as folder_lib
from chatjax.evals import report
from chatjax.evals import summary as summary_lib
from chatjax.store import manifest as manifest_lib

USAGE = 'chatjax eval compare FIRST SECOND [flags]'


def define(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    'output', None, 'Folder for the report as markdown and HTML, with'
    ' their pictures and both manifests.', flag_values=values,
  )  # fmt: skip


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  if len(arguments) != 2:
    raise flagset.UsageError('Give two folders that chatjax eval has written.')
  output = values['output'].value
  paths = list(map(pathlib.Path, arguments))
  folder = flagset.path(output) if output else None
  print(compare(paths, arguments, folder))
  return 0


def compare(
  paths: Sequence[pathlib.Path],
  names: Sequence[str],
  output: pathlib.Path | None,
) -> str:
  """Compares two finished runs and returns the report as markdown.

  Args:
    paths: of their folders.
    names: what they are called in the report.
    output: where the reports are written; None is nowhere.
  """
  (first, one), (second, other) = map(folder_lib.read, paths)
  seed = first.settings['seed']
  found = summary_lib.compare(one, other, seed=seed)
  manifests = first, second
  if output is not None:
    files = {
      'comparison.md': report.comparison_markdown(found, manifests, names),
      'comparison.html': report.comparison_page(found, manifests, names),
      **report.comparison_pictures(found),
    }
    try:
      output.mkdir(parents=True, exist_ok=True)
      for name, data in files.items():
        manifest_lib.write_durably(output / name, data.encode())
      for name, manifest in zip(('first', 'second'), manifests, strict=True):
        manifest_lib.write_durably(
          output / f'{name}.{manifest_lib.NAME}', manifest.as_json().encode()
        )
    except OSError as error:
      raise types.ChatjaxError(
        f'{output} cannot be written: {error.strerror or error}.'
      ) from None
  return report.comparison_markdown(found, manifests, names, has_pictures=False)
