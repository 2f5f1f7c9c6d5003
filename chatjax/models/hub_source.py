"""A hub folder as a source of parameters."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import logging
import pathlib
import re
from typing import Any

import numpy as np

from chatjax import model_config
from chatjax.ckpt import folder as folder_lib
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import manifest as manifest_lib
from chatjax.ckpt import mxfp4
from chatjax.ckpt import safetensors
from chatjax.ckpt import stored
from chatjax.ckpt import view
from chatjax.models import family as family_lib
from chatjax.models import hub_config
from chatjax.models import source as source_lib
from chatjax.text import hub as hub_text
from chatjax.text import spm_file
from chatjax.text import tokenizer as tokenizer_lib

_logger = logging.getLogger(__name__)

# How the tensors were stored that converted parameters were made of.
TENSORS = 'tensors.json'
_BFLOAT16 = safetensors.DTYPES['BF16']
# What a table of several chat templates calls them.
_DEFAULT, _TOOLS = 'default', 'tool_use'
_LAST_BREAK = re.compile(r'(?:\r\n|\r|\n)\Z')


def read(folder: pathlib.Path, digest: str) -> source_lib.Source:
  """What a folder holds.

  Raises:
    source.LoadError: a family that chatjax does not run, or sizes that cannot
      be run.
    types.ChatjaxError: a file that is missing or damaged.
  """
  raw = hub_config.load(folder)
  architecture, family, config = hub_config.read(raw, str(folder))
  kept = manifest_lib.find(folder)
  common = {
    'path': folder,
    'digest': digest,
    'architecture': architecture,
    'config': config,
    'texts': _texts(folder, raw, config),
  }
  if kept is not None:
    params = stored.Stored(folder)
    return source_lib.Source(
      **common,
      rules=params.rules(),
      letters={},
      tensors=params,
      dtypes=_kept_dtypes(folder),
      converted=kept,
    )
  method, block = _quantization(folder, raw)
  files = folder_lib.Tensors(folder, block=block)
  files.check_factors()
  tensors = mxfp4.Dequantized(files) if method == 'mxfp4' else files
  origin = str  # of a tensor: itself
  if (names := family.names(config)) is not None:
    tensors = view.View(tensors, names)
    origin = tensors.origin
    if tensors.unused:
      _logger.info(
        'The text half of %s is used; %d tensors of the rest are not: %s, ...',
        folder, len(tensors.unused), tensors.unused[0],
      )  # fmt: skip
  rules = family.expand_hub_rules(config)
  tensors = family_lib.without_repeats(rules, config, tensors)
  return source_lib.Source(
    **common,
    rules=rules,
    letters=family_lib.letter_sizes(config),
    tensors=tensors,
    dtypes={name: _dtype(files, origin(name)) for name in tensors.shapes},
  )


def _quantization(
  folder: pathlib.Path, raw: Mapping[str, Any]
) -> tuple[str | None, tuple[int, int]]:
  """How config.json says that weights are quantized, and the blocks of fp8."""
  stated = raw.get('quantization_config')
  stated = stated if isinstance(stated, dict) else {}
  method = stated.get('quant_method')
  if method not in (None, 'fp8', 'mxfp4'):
    raise source_lib.LoadError(
      f'{folder} holds weights quantized by {str(method)[:50]!r}; chatjax reads'
      ' those that are not quantized, and fp8 and mxfp4.'
    )
  block = stated.get('weight_block_size')
  if block is None:
    return method, folder_lib.BLOCK
  if (
    not isinstance(block, list)
    or [type(size) for size in block] != [int, int]
    or min(block) < 1
  ):
    raise source_lib.LoadError(
      f'{folder} has weight_block_size {str(block)[:50]} in the'
      ' quantization_config of config.json; it must be two positive whole'
      ' numbers: the rows and columns that share a factor.'
    )
  return method, tuple(block)


def _dtype(files: folder_lib.Tensors, name: str) -> np.dtype:
  found = files.info(name).dtype if name in files.shapes else _BFLOAT16
  return _BFLOAT16 if found.itemsize == 1 else found


def _kept_dtypes(folder: pathlib.Path) -> dict[str, np.dtype]:
  """What converted parameters were made of, as `convert` noted it."""
  kept = home_lib.read_json(folder / TENSORS) or {}
  return {name: safetensors.DTYPES[code] for name, code in kept.items()}


def _texts(
  folder: pathlib.Path, raw: Mapping[str, Any], config: model_config.ModelConfig
) -> source_lib.Texts:
  def optional(name: str) -> Mapping[str, Any]:
    path = folder / name
    found = folder_lib.read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}

  tokenizer_config = hub_text.with_roles(
    optional('tokenizer_config.json'), optional('special_tokens_map.json')
  )
  template = _template(folder, tokenizer_config)

  text = raw.get('text_config')

  def make() -> tokenizer_lib.Tokenizer:
    files = hub_text.Files(
      tokenizer={},
      tokenizer_config=tokenizer_config,
      generation_config=optional('generation_config.json'),
      config=text if isinstance(text, dict) else raw,
      vocab_size=config.vocab_size,
      template=template or '',
    )
    path, model = (
      folder / name
      for name in (folder_lib.TOKENIZER, folder_lib.SENTENCE_PIECE)
    )
    if model.is_file() and not path.is_file():
      added = optional('added_tokens.json')
      return spm_file.build(folder_lib.read_bytes(model), files, added)
    return hub_text.build(
      dataclasses.replace(files, tokenizer=folder_lib.read_json(path))
    )

  return source_lib.Texts(
    make_tokenizer=make,
    chat_template=template,
    eos_token=hub_text.eos_token(tokenizer_config),
    other_tokens=hub_text.other_tokens(tokenizer_config),
  )


def _template(
  folder: pathlib.Path, tokenizer_config: Mapping[str, Any]
) -> str | None:
  """The chat template, wherever the folder has it."""
  if (folder / 'chat_template.jinja').is_file():
    return folder_lib.read_text(folder / 'chat_template.jinja')
  found = tokenizer_config.get('chat_template')
  if found is None and (folder / 'chat_template.json').is_file():
    kept = folder_lib.read_json(folder / 'chat_template.json')
    found = kept.get('chat_template') if isinstance(kept, dict) else None
  if isinstance(found, list):
    return _choose(folder, found)
  if found is not None and not isinstance(found, str):
    raise folder_lib.FolderError(f'The chat template of {folder} is no text.')
  return found


def _choose(folder: pathlib.Path, named: list[Any]) -> str:
  """One template of several: that for tools where there are tools."""
  try:
    by_name = {str(x['name']): str(x['template']) for x in named}
  except (TypeError, KeyError):
    by_name = {}
  if len(by_name) == 1:
    return next(iter(by_name.values()))
  if _DEFAULT not in by_name:
    raise folder_lib.FolderError(
      f'{folder} has the chat templates {sorted(by_name)}, and none of them is'
      f' called {_DEFAULT!r}.'
    )
  plain, tools = by_name[_DEFAULT], by_name.get(_TOOLS)
  if tools is None:
    return plain
  tools, plain = _as_part(tools), _as_part(plain)
  return f'{{% if tools %}}{tools}{{% else %}}{plain}{{% endif %}}'


def _as_part(template: str) -> str:
  """A template that renders between two tags as it does alone.

  The tag in front takes a line break away; it gets one, so that what follows
  begins a line as it did. The last line break, which Jinja leaves out, goes;
  and white space before the tag behind is kept from it.
  """
  return '\n' + _LAST_BREAK.sub('', template) + "{{ '' }}"
