"""Writes a checkpoint in another form: converted parameters, or safetensors.

What is being written lies beside its name, as `<name>.partial`, until it is
whole; a conversion that was cut off goes on there.
"""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import os
import pathlib
import shutil
from typing import Any

import ml_dtypes
import numpy as np

from chatjax import config as config_lib
from chatjax.ckpt import errors
from chatjax.ckpt import folder as folder_lib
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import manifest as manifest_lib
from chatjax.ckpt import orbax
from chatjax.ckpt import safetensors
from chatjax.models import export
from chatjax.models import families
from chatjax.models import family as family_lib
from chatjax.models import filling
from chatjax.models import hub_files
from chatjax.models import hub_source
from chatjax.models import load as load_lib
from chatjax.models import source as source_lib
from chatjax.nn import quant
from chatjax.nn import transformer

FORMATS = ('orbax', 'safetensors')
_BEGUN = 'begun.json'
# What a config.json may say of a model's text half outside of `text_config`.
_OF_THE_WHOLE = ('dtype', 'torch_dtype', 'bos_token_id', 'eos_token_id')
_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_DTYPES: Mapping[str, np.dtype] = {
  'bfloat16': _BFLOAT16,
  'float32': np.dtype('<f4'),
}


def convert(
  source: source_lib.Source,
  output: pathlib.Path,
  *,
  to: str,
  dtype: str | None = None,
  home: pathlib.Path,
  progress: load_lib.Progress = lambda done, total: None,
) -> None:
  """Writes a folder that `--model` takes.

  Args:
    source: the checkpoint.
    output: the folder; it must not be there yet.
    to: one of FORMATS.
    dtype: of the weights; None is that in which they are stored.
    home: the folder of everything fetched.
    progress: called with the parameters done and those in all.

  Raises:
    types.ChatjaxError: it cannot be written, or says what the form cannot.
  """
  output = output.absolute()
  if output.exists() and (not output.is_dir() or any(output.iterdir())):
    raise errors.FolderError(
      f'{output} is there already; remove it or give another --output.'
    )
  key = hashlib.sha256(os.fsencode(output)).hexdigest()[:32]
  partial = output.with_name(f'{output.name}.partial')
  try:
    with (
      home_lib.lock(home / 'locks' / f'convert-{key}'),
      load_lib.told(source),
    ):
      if to == 'orbax':
        _to_orbax(source, partial, dtype, progress)
      else:
        _to_safetensors(source, partial, dtype, progress)
      if output.exists():
        output.rmdir()
      os.replace(partial, output)
  except OSError as error:
    raise errors.FolderError(
      f'{output} cannot be written: {error.strerror or error}. Free some space'
      ' there, or give another --output.'
    ) from error


def _to_orbax(source, partial, dtype, progress) -> None:
  stored = quant.storage(dtype or _native(source))
  manifest = manifest_lib.Manifest(
    source=source.path.name, sha256=source.digest, dtype=stored
  )
  texts = _texts(source, None)
  if not manifest.is_complete(partial):
    model = transformer.Transformer(source.config, stored)
    abstract = model.abstract_params()
    make = load_lib.convert(source, abstract, progress)
    orbax.save(partial, manifest, abstract, make)
  # Again if an earlier try was cut off here: it may have left half a file.
  _write_texts(partial, texts)
  codes = {name: safetensors.CODES[x] for name, x in source.dtypes.items()}
  export.dump(partial / hub_source.TENSORS, codes)


def _to_safetensors(source, partial, dtype, progress) -> None:
  default = _DTYPES.get(_native(source), _BFLOAT16)
  chosen = None if dtype is None else _DTYPES[dtype]
  family = families.BY_HUB[hub_files.architecture(source)]
  written_as = family.written_as
  family = family if written_as is None else families.BY_HUB[written_as]
  letters = family_lib.letter_sizes(source.config)
  abstract = transformer.Transformer(source.config, 'float32').abstract_params()
  shards = export.shards(
    family.expand_hub_rules(source.config),
    {path: leaf.shape for path, leaf in filling.leaves(abstract).items()},
    letters,
    family.place(source.config),
    lambda name: chosen or source.dtypes.get(name, default),
  )
  begun = {
    'sha256': source.digest, 'dtype': dtype,
    'files': [shard.name for shard in shards],
  }  # fmt: skip
  if home_lib.read_json(partial / _BEGUN) != begun:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _write_texts(partial, _texts(source, dtype, written_as))
    home_lib.write_json(partial / _BEGUN, begun)
  export.write(partial, shards, source, progress)
  (partial / _BEGUN).unlink()


def _native(source: source_lib.Source) -> str:
  """The narrowest dtype that holds the source's numbers as they are.

  Formats of GGUF are coarser than bfloat16, but not numbers of it; it is near
  enough to them.
  """
  if source.converted is not None:
    return source.converted.dtype
  if not source.path.is_dir():
    return 'bfloat16'
  found = set(source.dtypes.values())
  return 'bfloat16' if found <= {_BFLOAT16} else 'float32'


def _texts(
  source: source_lib.Source, dtype: str | None, written_as: str | None = None
) -> dict[str, Any]:
  """File name -> path of a file to copy, or JSON.

  Args:
    source: whose they are.
    dtype: of all weights, if it is not that in which they are stored.
    written_as: the architecture, if only the text half is written.
  """
  if not source.path.is_dir():
    kept = dtype or _native(source)
    kept = kept if kept in config_lib.FLOATS else 'bfloat16'
    return hub_files.of_gguf(source, source.metadata, kept)
  folder = source.path
  found = {name: folder / name for name in folder_lib.texts(folder)}
  config = folder_lib.read_json(folder / folder_lib.CONFIG)
  told = dict(config)
  if written_as is not None:
    whole = {name: config[name] for name in _OF_THE_WHOLE if config.get(name)}
    told = config['text_config'] | whole | {'architectures': [written_as]}
  told.pop('quantization_config', None)  # what is written are numbers
  if dtype is not None:
    told |= {name: dtype for name in ('dtype', 'torch_dtype') if name in told}
  return found | ({} if told == config else {folder_lib.CONFIG: told})


def _write_texts(folder: pathlib.Path, texts: Mapping[str, Any]) -> None:
  for name, value in texts.items():
    if isinstance(value, pathlib.Path):
      shutil.copyfile(value, folder / name)
    else:
      export.dump(folder / name, value)
