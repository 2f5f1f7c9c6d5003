"""`chatjax models show ID`: all that is known of one model."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

from absl import flags

from chatjax import model_config
from chatjax import types
from chatjax.ckpt import gguf
from chatjax.ckpt import home as home_lib
from chatjax.cli import models_find
from chatjax.models import gguf_source
from chatjax.models import hub_config
from chatjax.models import local

USAGE = 'chatjax models show ID'


def define(values: flags.FlagValues) -> None:
  """Has no flags of its own."""
  del values


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  del values
  home = home_lib.home()
  item = models_find.find(arguments, home, USAGE)
  rows = [('id', item.id), ('title', item.title), ('path', str(item.path))]
  if item.entry is not None:
    licence = item.entry.source.licence
    rows.append(('licence', f'{licence.id}, {licence.url}'))
    rows += [('from', str(place)) for place in item.entry.source.places]
  for name in item.names():
    size = (item.folder / name).stat().st_size
    rows.append(('file', f'{name} ({size / 1e6:.1f} MB)'))
  if item.sha256 is not None:
    rows.append(('sha256', item.sha256))
  rows += _sizes(item)
  for dtype, folder in local.converted(item, home).items():
    rows.append(('converted', f'{dtype}: {folder}'))
  width = max(len(name) for name, _ in rows)
  for name, value in rows:
    print(f'{name:{width}}  {value}')
  return 0


def _sizes(item: local.Item) -> list[tuple[str, str]]:
  """The fields of the model's config, or why it cannot be run."""
  if not item.path.exists():
    return [('state', 'not fetched yet; the first chatjax chat fetches it')]
  try:
    config = _config(item.path)
  except types.ChatjaxError as error:
    return [('state', f'cannot be run: {error}')]
  defaults = {field.name: field.default for field in dataclasses.fields(config)}
  return [
    (field.name, _shown(getattr(config, field.name)))
    for field in dataclasses.fields(config)
    if getattr(config, field.name) != defaults[field.name]
  ]


def _shown(value: Any) -> str:
  if not isinstance(value, tuple):
    return str(value)
  kinds = [getattr(one, 'value', one) for one in value]
  counts = {kind: kinds.count(kind) for kind in kinds}
  return ', '.join(f'{count} {kind}' for kind, count in counts.items())


def _config(path: pathlib.Path) -> model_config.ModelConfig:
  """Sizes and control flow, without the tensors."""
  if path.is_file():
    with gguf.GGUF.open(path) as file:
      return gguf_source.read(file, '').config
  return hub_config.read(hub_config.load(path), str(path))[2]
