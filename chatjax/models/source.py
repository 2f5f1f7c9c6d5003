"""A checkpoint as it was published, whatever its format: what loading needs."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import numpy as np

from chatjax import model_config
from chatjax import types
from chatjax.ckpt import manifest as manifest_lib
from chatjax.ckpt import mapping
from chatjax.ckpt import stream
from chatjax.text import tokenizer as tokenizer_lib


class LoadError(types.ChatjaxError):
  """Weights that do not make a model; the message names the file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Texts:
  """What makes text of ids, and prompts of chats.

  Attributes:
    make_tokenizer: builds it; takes a moment.
    chat_template: Jinja source; None for a model that was not made to chat.
    eos_token: what a chat template is told of the end of a text: its spelling,
      or its id.
    other_tokens: what it is told of others: name -> spelling.
  """

  make_tokenizer: Callable[[], tokenizer_lib.Tokenizer]
  chat_template: str | None = None
  eos_token: str | int | None = None
  other_tokens: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """Tensors, and how they become parameters.

  Attributes:
    path: a file or folder.
    digest: sha256 of all that it says.
    architecture: of the family, as the checkpoint spells it.
    rules: the conversion table, written out for this model.
    letters: sizes that the table's letters have.
    tensors: those that the table names.
    dtypes: how tensors of a hub folder are stored; those of fewer than 16 bits
      count as bfloat16, which holds their numbers.
    metadata: of a GGUF file; empty for others.
    converted: set if the tensors are parameters already: how they were made.
  """

  path: pathlib.Path
  digest: str
  architecture: str
  config: model_config.ModelConfig
  rules: tuple[mapping.Rule, ...]
  letters: Mapping[str, int]
  tensors: stream.Tensors
  texts: Texts
  dtypes: Mapping[str, np.dtype] = dataclasses.field(default_factory=dict)
  metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  converted: manifest_lib.Manifest | None = None
