"""A GGUF file as a source of parameters."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

import numpy as np

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.ckpt import gguf
from chatjax.models import families
from chatjax.models import family as family_lib
from chatjax.models import source as source_lib
from chatjax.text import tokenizer as tokenizer_lib

_EOS = 'tokenizer.ggml.eos_token_id'
# What each frequency of the rotary embedding is divided by. It stands for the
# stretching of Llama 3.1 and later, of which the metadata says nothing.
_ROPE_FACTORS = 'rope_freqs.weight'


class _Tensors:
  """The tensors of an open file but for some; see `stream.Tensors`."""

  def __init__(self, file: gguf.GGUF, unnamed: tuple[str, ...]):
    self._file = file
    self.shapes: Mapping[str, tuple[int, ...]] = {
      name: info.shape
      for name, info in file.tensors.items()
      if name not in unnamed
    }

  def rows(self, name: str, start: int, stop: int) -> np.ndarray:
    if len(self.shapes[name]) < 2:
      return self._file.read(name)[start:stop]
    return self._file.read(name, rows=slice(start, stop))

  def where(self, name: str) -> str:
    return f'{self._file.path}: tensor {name!r}'


def read(file: gguf.GGUF, digest: str) -> source_lib.Source:
  """What an open file holds.

  Raises:
    source.LoadError: a family that chatjax does not run, or sizes that cannot
      be run.
  """
  name = file.path.name
  arch = file.metadata.get('general.architecture')
  if arch not in families.BY_GGUF:
    raise source_lib.LoadError(
      f'{name} holds a {arch!r} model; this version runs'
      f' {", ".join(sorted(families.BY_GGUF))}.'
    )
  family = families.BY_GGUF[arch]
  config = _read_config(file, family)
  eos_id = file.metadata.get(_EOS)
  return source_lib.Source(
    path=file.path,
    digest=digest,
    architecture=arch,
    config=config,
    rules=family.rules(config),
    letters=family_lib.letter_sizes(config),
    tensors=_Tensors(
      file, (_ROPE_FACTORS,) if family.gguf_rope_factors else ()
    ),
    metadata=file.metadata,
    texts=source_lib.Texts(
      make_tokenizer=lambda: tokenizer_lib.from_gguf(file.metadata),
      chat_template=file.metadata.get('tokenizer.chat_template'),
      eos_token=None if eos_id is None else int(eos_id),
    ),
  )


def _read_config(
  file: gguf.GGUF, family: family_lib.Family
) -> model_config.ModelConfig:
  tied = 'output.weight' not in file.tensors
  try:
    config = dataclasses.replace(
      family.read_config(file.metadata), tie_embeddings=tied
    )
    if not family.gguf_rope_factors or _ROPE_FACTORS not in file.tensors:
      return config
    if config.rope_scaling is not None:
      raise config_lib.ConfigError(
        'it scales its rotary embedding by its metadata and by its tensor'
        f' {_ROPE_FACTORS!r}, and chatjax does one of the two.'
      )
    scaling = _rope_factors(file, config.rotary_dim or config.head_dim)
    return dataclasses.replace(config, rope_scaling=scaling)
  except config_lib.ConfigError as e:
    raise source_lib.LoadError(f'{file.path.name} cannot be run: {e}') from e


def _rope_factors(file: gguf.GGUF, rotary_dim: int) -> model_config.LongRope:
  """The factors as they are stored; float32 is exact in Python's floats."""
  shape, wanted = file.tensors[_ROPE_FACTORS].shape, (rotary_dim // 2,)
  if shape != wanted:
    raise config_lib.ConfigError(
      f'its tensor {_ROPE_FACTORS!r} has shape {shape}, and {rotary_dim}'
      f' rotated dimensions need {wanted}; convert the original checkpoint'
      ' anew.'
    )
  factors = file.read(_ROPE_FACTORS).tolist()
  if min(factors) <= 0:
    raise config_lib.ConfigError(
      f'its tensor {_ROPE_FACTORS!r} holds {min(factors)}, and frequencies can'
      ' only be divided by positive numbers; convert the original checkpoint'
      ' anew.'
    )
  return model_config.LongRope(factors=tuple(factors))
