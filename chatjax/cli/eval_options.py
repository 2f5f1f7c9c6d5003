"""The flags that all evaluations share, and what they make."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from absl import flags

from chatjax import config as config_lib
from chatjax import config_file
from chatjax import types
from chatjax.cli import flagset
from chatjax.cli import options
from chatjax.evals import plan as plan_lib
from chatjax.models import locate


def define(values: flags.FlagValues) -> None:
  options.define(values)
  flags.DEFINE_string(
    'output', None, 'Folder of the results and reports; is needed. An'
    ' unfinished run of the same goes on there.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string(
    'request', None, 'JSON object of further fields of all requests, as in'
    ' \'{"temperature": 0.8, "max_tokens": 256}\'; what an item says goes'
    ' before. Without it: temperature 0, 512 tokens.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'seed', 0, 'Gives every item a seed of its own, by its id, and is that of'
    ' resampling.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_list(
    'seeds', None, 'Asks every item once for each of these instead, with a'
    ' seed that follows from it and the id.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer('n', 1, 'Answers per item and seed.', flag_values=values)
  flags.DEFINE_list(
    'k', ['1'], 'Of pass@k, for items that are code.', flag_values=values
  )
  flags.DEFINE_multi_string(
    'versus', None, 'Runs the task a second time with one engine field changed'
    ' and compares, as in --versus=dtype=float32 or --versus=model=ID; may be'
    ' repeated', flag_values=values,
  )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
  """What a command line asks for.

  Attributes:
    versus: the config of the second run, if there is one, and `name`: what is
      changed in it.
  """

  config: config_lib.Config
  plan: plan_lib.Plan
  output: pathlib.Path
  accept_license: bool
  versus: config_lib.Config | None
  name: str


def read(values: flags.FlagValues) -> Asked:
  """Raises `flagset.UsageError` for what makes no sense."""
  if not values['output'].value:
    raise flagset.UsageError('Say with --output where the results go.')
  config = options.config(values)
  changes = values['versus'].value or []
  try:
    plan = plan_lib.Plan(
      request=_request(values['request'].value),
      seeds=_integers('seeds', values['seeds'].value or []),
      seed=values['seed'].value,
      n=values['n'].value,
      ks=_integers('k', values['k'].value),
    )
    versus = None
    if changes:
      versus = config_file.apply_overrides(config, list(map(_field, changes)))
      locate.check(versus.model)  # not after the whole first run
  except types.ChatjaxError as error:
    raise flagset.UsageError(str(error)) from error
  return Asked(
    config=config,
    plan=plan,
    output=flagset.path(values['output'].value),
    accept_license=values['accept_license'].value,
    versus=versus,
    name=', '.join(changes),
  )


def recorded(config: config_lib.Config) -> dict[str, Any]:
  """What the manifest says of a config; the store's URL may hold a password."""
  return {
    'model': config.model,
    'output_format': config.output_format,
    'engine': dataclasses.asdict(config.engine),
  }


def _field(change: str) -> str:
  is_top = change.split('=')[0] in ('model', 'output_format')
  return change if is_top else f'engine.{change}'


def _request(text: str | None) -> dict[str, Any]:
  if text is None:
    return {}
  try:
    value = json.loads(text)
  except ValueError as error:
    raise flagset.UsageError(f'--request is no JSON ({error}).') from None
  if not isinstance(value, dict):
    raise flagset.UsageError(f'--request={text} must be a JSON object.')
  return value


def _integers(name: str, texts: list[str]) -> tuple[int, ...]:
  try:
    return tuple(map(int, texts))
  except ValueError:
    raise flagset.UsageError(
      f'--{name}={",".join(texts)} must be integers, with commas between.'
    ) from None
