"""What a notebook imports: `chatjax.load(...)`, then `.chat` and `.stream`.

Example:
  model = chatjax.load('qwen2.5-coder-0.5b-instruct')
  answer = model.chat([{'role': 'user', 'content': 'Hello!'}], seed=7)
  print(answer.choices[0].message.content)
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import concurrent.futures
import dataclasses
import hashlib
import pathlib
from typing import Any

import jax

from chatjax import config as config_lib
from chatjax import model as model_lib
from chatjax.chat import format as format_lib
from chatjax.chat import named_formats
from chatjax.chat import session as session_lib
from chatjax.chat.parsers import formats
from chatjax.ckpt import home as home_lib
from chatjax.engine import engine as engine_lib
from chatjax.engine import follower
from chatjax.engine import group as group_lib
from chatjax.engine import replica as replica_lib
from chatjax.engine import runtime
from chatjax.models import alone
from chatjax.models import load as load_lib
from chatjax.models import locate
from chatjax.models import registry
from chatjax.models import source as source_lib
from chatjax.sampling import keys
from chatjax.store import opening
from chatjax.text import tokenizer as tokenizer_lib

# (what is being done, amount done, amount in all); bytes or things.
Progress = Callable[[str, int, int], None]

FETCHING, CHECKING = locate.FETCHING, locate.CHECKING
CONVERTING, COMPILING = 'converting', 'compiling'

Chat = model_lib.Chat


def _silent(what: str, done: int, total: int) -> None:
  """Reports to nobody."""


def load(
  model: str = registry.DEFAULT,
  *,
  config: config_lib.EngineConfig | None = None,
  accept_license: bool = False,
  output_format: str | None = None,
  store: str | None = None,
  progress: Progress = _silent,
  **engine_fields: Any,
) -> Chat:
  """Fetches, converts and compiles what is not here yet, and starts.

  After `jax.distributed.initialize`, the mesh spans all processes, and each of
  them calls this with the same arguments. Only the first one comes back with a
  model; the others compute for it until it is closed, and then end.

  Args:
    model: an id of `chatjax.models.registry`, the path of a GGUF file or of
      a folder with config.json and safetensors, or a repository on the hub as
      'owner/name' or 'owner/name@revision'.
    config: how the model is run.
    output_format: how the model writes calls and reasoning, a name of
      `chatjax.chat.parsers.formats`; None is what the registry or the chat
      template says.
    store: URL of the database for answers with `store=True`, such as
      'sqlite:///answers.db'; None is a file in `CHATJAX_HOME`.
    accept_license: accept the terms of the weights, where they want that.
    progress: called as (what, done, total).
    **engine_fields: fields of `EngineConfig` that replace those of `config`,
      such as `dtype='float32'` or `max_rows=4`.

  Raises:
    types.ChatjaxError: one sentence that says what is wrong.
    SystemExit: this process followed another, which is done.
  """
  config = config or config_lib.EngineConfig()
  config = _replace(config, engine_fields)
  home = home_lib.home()
  runtime.configure(home)
  found = locate.locate(
    model,
    accept_license=accept_license,
    progress=progress,
  )
  weights = _weights(found, config, home, progress)
  group = group_lib.join()
  if isinstance(group, group_lib.Follower):
    follower.follow(lambda: replica_lib.Replica(weights, config), group)
    raise SystemExit(0)
  with (
    runtime.paused_gc(),
    concurrent.futures.ThreadPoolExecutor(1) as helper,
  ):
    tokenizer = helper.submit(weights.texts.make_tokenizer)
    engine = engine_lib.Engine(
      weights,
      config,
      prompt_format=_digest(_template(found.entry, weights.texts)),
      progress=lambda done, total: progress(COMPILING, done, total),
      leader=group,
    )
  tokenizer = tokenizer.result()
  chat_format = _chat_format(found.entry, weights.texts, tokenizer)
  session = session_lib.Session(
    engine,
    tokenizer,
    chat_format,
    model_id=found.id,
    sampler_version=keys.SAMPLER_VERSION,
    output_format=formats.get(
      output_format
      or (found.entry and found.entry.output_format)
      or formats.detect(chat_format.template_source)
    ),
    open_store=lambda: opening.open_store(store, home),
  )
  return Chat(session)


def _weights(
  found: locate.Located,
  config: config_lib.EngineConfig,
  home: pathlib.Path,
  progress: Progress,
) -> load_lib.Weights:
  """The converted weights; one of several processes converts by itself."""
  kept = {
      'dtype': config.dtype, 'mesh': config.mesh,
      'checkpoints': home / 'checkpoints',
      'progress': lambda done, total: progress(CONVERTING, done, total),
  }  # fmt: skip

  def prepare():
    if jax.process_count() > 1:
      alone.prepare(found.path, found.digest, **kept)

  return load_lib.load(found.path, found.digest, **kept, prepare=prepare)


def _replace(
  config: config_lib.EngineConfig, fields: Mapping[str, Any]
) -> config_lib.EngineConfig:
  known = {field.name for field in dataclasses.fields(config)}
  if unknown := sorted(set(fields) - known):
    raise config_lib.ConfigError(
      f'Unknown engine field {unknown[0]!r}; there are'
      f' {", ".join(sorted(known))}.'
    )
  return dataclasses.replace(config, **fields)


def _named(entry: registry.Entry | None, texts: source_lib.Texts) -> str | None:
  """The format that stands for a template, where there is none to be used."""
  if entry is not None and entry.chat_format != 'template':
    return entry.chat_format
  return 'plain' if texts.chat_template is None else None


def _template(entry: registry.Entry | None, texts: source_lib.Texts) -> str:
  """The checkpoint's own template, or the one that the registry names."""
  named = _named(entry, texts)
  return named_formats.TEMPLATES[named] if named else texts.chat_template


def _chat_format(
  entry: registry.Entry | None,
  texts: source_lib.Texts,
  tokenizer: tokenizer_lib.Tokenizer,
) -> format_lib.ChatFormat:
  if named := _named(entry, texts):
    return format_lib.ChatFormat.named(named, tokenizer)
  spell = lambda token: (
    tokenizer.spelling(token) if isinstance(token, int) else token or ''
  )
  return format_lib.ChatFormat.from_template(
    texts.chat_template,
    bos_token=spell(tokenizer.bos_id),
    eos_token=spell(texts.eos_token),
    other_tokens=texts.other_tokens,
    tokenizer=tokenizer,
  )


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()
