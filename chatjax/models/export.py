"""Parameters back to a hub folder's safetensors, shard by shard.

A shard is written beside its name and renamed when it is whole: an export that
was cut off goes on with the next. The tensors are written through a map of the
file, so that memory holds a block of rows, not a shard.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import math
import mmap
import os
import pathlib

import numpy as np

from chatjax.ckpt import folder as folder_lib
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import mapping
from chatjax.ckpt import safetensors
from chatjax.ckpt import stream
from chatjax.ckpt import view
from chatjax.models import source as source_lib

SHARD_BYTES = 4 * 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
  """One file, and the parameters that its tensors are made of.

  Attributes:
    name: of the file.
    plans: of the parameters.
    tensors: name -> shape and dtype.
    place: where the tensors have what the plans name.
  """

  name: str
  plans: tuple[stream.Plan, ...]
  tensors: Mapping[str, tuple[tuple[int, ...], np.dtype]]
  place: view.Place

  def head(self) -> tuple[bytes, dict[str, safetensors.TensorInfo]]:
    return safetensors.head(self.tensors)


def shards(
  rules: Sequence[mapping.Rule],
  shapes: Mapping[str, tuple[int, ...]],
  known: Mapping[str, int],
  place: view.Place,
  dtype_of: Callable[[str], np.dtype],
) -> list[Shard]:
  """Which file holds what.

  Args:
    rules: the hub's table, written out.
    shapes: of the parameters.
    known: sizes of the table's letters.
    place: where the tensors to be written have those of the table.
    dtype_of: how a tensor of the table is to be stored.
  """
  groups, size = [[]], 0
  for rule in rules:
    plan = stream.export_plan(rule, shapes[rule.target], known)
    tensors = _tensors(plan, place, dtype_of)
    nbytes = sum(math.prod(x) * dtype.itemsize for x, dtype in tensors.values())
    if groups[-1] and size + nbytes > SHARD_BYTES:
      groups.append([])
      size = 0
    groups[-1].append((plan, tensors))
    size += nbytes
  count = len(groups)
  return [
    Shard(
      name=folder_lib.SINGLE
      if count == 1
      else f'model-{i:05}-of-{count:05}.safetensors',
      plans=tuple(plan for plan, _ in group),
      tensors={name: x for _, found in group for name, x in found.items()},
      place=place,
    )
    for i, group in enumerate(groups, start=1)
  ]


def _tensors(plan, place, dtype_of):
  """Shapes and dtypes of what is written for a parameter."""
  found = {}
  for name, (num_rows, *rest) in stream.source_shapes(plan).items():
    tensor = place(name).tensor
    above, dtype = found.get(tensor, ((0,), dtype_of(name)))
    found[tensor] = (above[0] + num_rows, *rest), dtype
  return found


def write(
  folder: pathlib.Path,
  parts: Sequence[Shard],
  source: source_lib.Source,
  progress: Callable[[int, int], None],
) -> None:
  """Writes the shards that are not there yet, and an index of several.

  Args:
    folder: takes the files.
    parts: what `shards` returns.
    source: makes the parameters.
    progress: called with the parameters done and those in all.
  """
  rules = {rule.target: rule for rule in source.rules}
  total = sum(len(shard.plans) for shard in parts)
  done = 0
  for shard in parts:
    path = folder / shard.name
    if not path.exists():
      fresh = folder / f'{shard.name}.partial'
      _write_shard(
        fresh, shard, source, rules, lambda i: progress(i, total), done
      )
      os.replace(fresh, path)
    done += len(shard.plans)
    progress(done, total)
  if len(parts) > 1:
    home_lib.write_json(folder / folder_lib.INDEX, _index(parts))


def _write_shard(path, shard, source, rules, tick, done) -> None:
  head, infos = shard.head()
  size = max([len(head), *(x.offset + x.nbytes for x in infos.values())])
  with open(path, 'wb+') as file:
    file.write(head)
    file.truncate(size)
    file.flush()
    with mmap.mmap(file.fileno(), size) as memory:
      for i, plan in enumerate(shard.plans, start=1):
        made = _made(rules[plan.rule.target], plan, source)
        _write_parameter(memory, infos, plan, shard.place, source, made)
        tick(done + i)
      memory.flush()
    os.fsync(file.fileno())


def _made(rule, plan, source) -> stream.Plan:
  """How the source makes a parameter."""
  made = stream.plan(rule, source.tensors, source.letters)
  if made.shape != plan.shape:
    raise mapping.MappingError(
      f'Parameter {plan.rule.target} has shape {made.shape}, the model wants'
      f' {plan.shape}.'
    )
  return made


def _write_parameter(memory, infos, plan, place, source, made) -> None:
  arrays = _arrays(memory, infos, plan, place)
  try:
    for box in stream.export_boxes(plan):
      stream.write(plan, arrays, box, stream.block(made, source.tensors, box))
  finally:
    # A map with views cannot be closed, and an error keeps them alive.
    arrays.clear()


def _arrays(memory, infos, plan, place) -> dict[str, np.ndarray]:
  """The places in the file of what a parameter is taken apart into."""
  arrays = {}
  for name, shape in stream.source_shapes(plan).items():
    part = place(name)
    info = infos[part.tensor]
    skipped = part.start * math.prod(shape[1:]) * info.dtype.itemsize
    flat = np.frombuffer(
      memory, info.dtype, math.prod(shape), info.offset + skipped
    )
    arrays[name] = flat.reshape(shape)
  return arrays


def _index(parts: Sequence[Shard]) -> dict[str, object]:
  weight_map, size = {}, 0
  for shard in parts:
    for name, info in shard.head()[1].items():
      weight_map[name] = shard.name
      size += info.nbytes
  ordered = dict(sorted(weight_map.items()))
  return {'metadata': {'total_size': size}, 'weight_map': ordered}


def dump(path: pathlib.Path, value: object) -> None:
  """A JSON file for people too."""
  text = json.dumps(value, indent=2, ensure_ascii=False)
  path.write_text(text + '\n', encoding='utf-8')
