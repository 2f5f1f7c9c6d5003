"""`chatjax replay`: draws stored answers again and compares."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

from absl import flags

from chatjax import config as config_lib
from chatjax import types
from chatjax.chat import replay as replay_lib
from chatjax.ckpt import home as home_lib
from chatjax.cli import flagset
from chatjax.cli import loading
from chatjax.cli import options
from chatjax.cli import replay_batch
from chatjax.cli import replay_eval
from chatjax.models import locate
from chatjax.store import opening
from chatjax.store import records

USAGE = 'chatjax replay ID|FOLDER|--record=DIR/results.jsonl#CUSTOM_ID [flags]'
IDENTICAL, DIFFERENT = 0, 3


def define(values: flags.FlagValues) -> None:
  options.define(values, model='the one that wrote the answer')
  options.define_store(values)
  replay_batch.define(values)


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  if values['record'].value is not None:
    flagset.refuse(arguments)
    return replay_batch.run(values)
  if len(arguments) != 1:
    raise flagset.UsageError(
      'Give the id of one stored completion, the folder of an evaluation, or'
      ' --record.'
    )
  folder = pathlib.Path(arguments[0])
  if folder.is_dir():
    found = replay_eval.run(values, folder)
    print(replay_eval.describe(found))
    return IDENTICAL if found.is_identical else DIFFERENT
  config = options.config(values)
  home = home_lib.home()
  if config.store is None and not (home / opening.FILE).is_file():
    # Looking for an answer must not make an empty store.
    raise types.ChatjaxError(
      f'No completion is stored in {home} yet; ask with store=True, or say'
      ' with --store where it is.'
    )
  store = opening.open_store(config.store, home)
  stored = store.get(arguments[0])
  if stored is None:
    # A URL may hold a password.
    place = 'the store given' if config.store else str(home / opening.FILE)
    raise types.ChatjaxError(
      f'There is no stored completion {arguments[0]!r} in {place}; --store'
      ' names another store.'
    )
  try:
    provenance = store.provenance(arguments[0])
  except ValueError as error:
    raise types.ChatjaxError(str(error)) from None
  if values['model'].value is None:
    config = _with_model_of(stored, config)
  session = loading.load(config, accept_license=values['accept_license'].value)
  try:
    report = replay_lib.replay(session, provenance)
  finally:
    session.engine.close()
  print(describe(report, provenance))
  return IDENTICAL if report.is_identical else DIFFERENT


def _with_model_of(
  stored: Mapping[str, Any], config: config_lib.Config
) -> config_lib.Config:
  """The config with the model that wrote an answer.

  Raises:
    types.ChatjaxError: its id does not say where it is.
  """
  model_id = stored['model']
  if locate.served_id(config.model) == model_id:
    return config  # it may say the path
  try:
    locate.check(model_id)
  except types.ChatjaxError:
    raise types.ChatjaxError(
      f'{stored["id"]} is of the model {model_id!r}, which was loaded from a'
      ' path that was not stored; say with --model where it is.'
    ) from None
  return dataclasses.replace(config, model=model_id)


def describe(report: replay_lib.Report, provenance: records.Provenance) -> str:
  """The verdict, and what may explain it."""
  lines = []
  if report.is_identical:
    lines.append(
      f'identical: {report.num_tokens} tokens and their log-probabilities,'
      f' bit for bit (digest {provenance.digest[:16]}).'
    )
  else:
    one = report.difference
    lines.append(
      f'different: choice {one.choice} from token {one.position} on; kept'
      f' {_told(one.kept)}, drawn {_told(one.drawn)}.'
    )
  for name, (then, now) in report.changed_parts.items():
    lines.append(f'fingerprint, {name}: {then} then, {now} now.')
  if not report.is_same_prompt:
    lines.append(
      'The messages render to other tokens now; those that were kept were used.'
    )
  return '\n'.join(lines)


def _told(token: tuple[int, str] | None) -> str:
  if token is None:
    return 'no token'
  return f'token {token[0]} (log-probability bits {token[1]})'
