"""The flags that several commands share, and the config they make."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

from absl import flags

from chatjax import config as config_lib
from chatjax.cli import flagset
from chatjax.models import registry

_ENGINE_FLAGS = ('dtype', 'max_rows', 'context')


def define(values: flags.FlagValues) -> None:
  """Adds --model, --config, --set, --dtype, --max_rows and --context."""
  engine = config_lib.EngineConfig()
  flags.DEFINE_string(
    'model', None, f'Id of a model. Default: {config_lib.Config().model}.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string(
    'config', None, 'A Python file with get_config(), as in configs/.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_multi_string(
    'set', None, 'Changes one field of the config, as in'
    ' --set=engine.page_size=32; may be repeated', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_enum(
    'dtype', None, config_lib.DTYPES,
    f'How the weights are kept. Default: {engine.dtype}.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'max_rows', None,
    f'Answers that are written at once. Default: {engine.max_rows}.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'context', None,
    f'Tokens of prompt and answer together. Default: {engine.context}.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_boolean(
    'accept_license', False, 'Accepts the terms of the weights, where they'
    ' have to be accepted; they are shown without it.', flag_values=values,
  )  # fmt: skip


def config(values: flags.FlagValues) -> config_lib.Config:
  """Flags beat --set, --set beats --config, --config beats the defaults.

  Raises:
    flagset.UsageError: a file, field, value or model that there is not.
  """
  try:
    made = config_lib.Config()
    if values['config'].value is not None:
      made = _load(values['config'].value)
    made = config_lib.apply_overrides(made, values['set'].value or ())
    given = {name: values[name].value for name in _ENGINE_FLAGS}
    made = dataclasses.replace(
      made,
      model=values['model'].value or made.model,
      engine=_replace(made.engine, given),
    )
    registry.get(made.model)
  except (config_lib.ConfigError, registry.UnknownModelError) as error:
    raise flagset.UsageError(str(error)) from error
  return made


def serve_config(
  made: config_lib.Config, *, host: str | None, port: int | None
) -> config_lib.ServeConfig:
  """Where the config serves, the two flags given precedence."""
  try:
    return _replace(made.serve, {'host': host, 'port': port})
  except config_lib.ConfigError as error:
    raise flagset.UsageError(f'--{error}') from error


def _load(path: str) -> config_lib.Config:
  try:
    return config_lib.load_config(path)
  except (SyntaxError, UnicodeDecodeError) as error:
    line = getattr(error, 'lineno', None)
    place = f', line {line}' if line else ''
    raise config_lib.ConfigError(
      f'Config file {path!r}{place} is not Python: {error.args[0]}.'
    ) from error


def _replace(node: Any, given: Mapping[str, Any]) -> Any:
  """Replaces the fields that are given."""
  known = {name: value for name, value in given.items() if value is not None}
  return dataclasses.replace(node, **known)
