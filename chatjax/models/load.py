"""From a weight file to parameters: convert once, restore ever after."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import jax
import ml_dtypes
import numpy as np

from chatjax import config as config_lib
from chatjax import types
from chatjax.ckpt import gguf
from chatjax.ckpt import manifest as manifest_lib
from chatjax.ckpt import mapping
from chatjax.ckpt import orbax
from chatjax.models import family
from chatjax.models import gemma3
from chatjax.models import llama
from chatjax.models import qwen2
from chatjax.nn import grouped
from chatjax.nn import quant
from chatjax.nn import transformer

FAMILIES: Mapping[str, family.Family] = {
  'gemma3': gemma3.FAMILY,
  'llama': llama.FAMILY,
  'qwen2': qwen2.FAMILY,
}

# (parameters done, parameters in all)
Progress = Callable[[int, int], None]


class LoadError(types.ChatjaxError):
  """Weights that do not make a model; the message names the file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
  """A model's sizes and the way to its parameters.

  Attributes:
    abstract: the parameters' tree as shapes and dtypes.
    restore: reads the parameters: a nested dict of arrays and quantized
      weights.
    metadata: what the weight file says besides tensors.
    digest: sha256 of the weight file.
    dtype: how the weights are kept, as `quant.storage` says.
  """

  config: config_lib.ModelConfig
  abstract: Any
  restore: Callable[[], Any]
  metadata: Mapping[str, Any]
  digest: str
  dtype: str


def _family(file: gguf.GGUF, path: pathlib.Path) -> family.Family:
  arch = file.metadata.get('general.architecture')
  if arch not in FAMILIES:
    raise LoadError(
      f'{path.name} holds a {arch!r} model; this version runs'
      f' {", ".join(sorted(FAMILIES))}.'
    )
  return FAMILIES[arch]


def _read_config(
  file: gguf.GGUF, kind: family.Family
) -> config_lib.ModelConfig:
  tied = 'output.weight' not in file.tensors
  try:
    return dataclasses.replace(
      kind.read_config(file.metadata), tie_embeddings=tied
    )
  except config_lib.ConfigError as e:
    raise LoadError(f'{file.path.name} cannot be run: {e}') from e


def _leaves(tree: Any) -> dict[str, Any]:
  """Parameter path -> abstract leaf."""
  flat, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=quant.is_weight)
  return {'.'.join(key.key for key in path): leaf for path, leaf in flat}


def _finish(target: str, value: np.ndarray, leaf: Any) -> Any:
  """Checks a parameter's shape and brings it to its stored form."""
  if value.shape != leaf.shape:
    raise mapping.MappingError(
      f'Parameter {target} would have shape {value.shape}, the model wants'
      f' {leaf.shape}.'
    )
  if isinstance(leaf, grouped.GroupedTensor):
    return grouped.quantize(value, leaf.num_out_axes)
  if isinstance(leaf, quant.QTensor):
    return quant.quantize(value, leaf.scale.ndim)
  if leaf.dtype == ml_dtypes.bfloat16:
    return value.astype(ml_dtypes.bfloat16)
  return np.ascontiguousarray(value, np.float32)


def _convert(
  file: gguf.GGUF,
  kind: family.Family,
  config: config_lib.ModelConfig,
  abstract: Any,
  progress: Progress,
) -> Any:
  """Reads all tensors of a GGUF file into a parameter tree (on the host)."""
  leaves = _leaves(abstract)
  made = {}
  try:
    rules = kind.rules(config)
    mapping.check_names(rules, list(file.tensors), list(leaves))
    for target, value in mapping.assemble(
      rules, file.read, family.letter_sizes(config)
    ):
      made[target] = _finish(target, value, leaves[target])
      progress(len(made), len(leaves))
  except mapping.MappingError as e:
    raise LoadError(f'{file.path.name}: {e}') from e
  treedef = jax.tree.structure(abstract, is_leaf=quant.is_weight)
  return jax.tree.unflatten(treedef, [made[target] for target in leaves])


def load(
  path: pathlib.Path,
  digest: str,
  *,
  dtype: str,
  checkpoints: pathlib.Path,
  progress: Progress = lambda done, total: None,
) -> Weights:
  """Makes a GGUF file's weights ready to be restored in a dtype.

  The first call converts and keeps an Orbax checkpoint under `checkpoints`;
  later calls find it.
  """
  dtype = quant.storage(dtype)
  with gguf.GGUF.open(path) as file:
    kind = _family(file, path)
    config = _read_config(file, kind)
    abstract = transformer.Transformer(config, dtype).abstract_params()
    folder = orbax.ensure(
      checkpoints,
      manifest_lib.Manifest(source=path.name, sha256=digest, dtype=dtype),
      lambda: _convert(file, kind, config, abstract, progress),
    )
    return Weights(
      config=config,
      abstract=abstract,
      restore=lambda: orbax.restore(folder, abstract),
      metadata=file.metadata,
      digest=digest,
      dtype=dtype,
    )
