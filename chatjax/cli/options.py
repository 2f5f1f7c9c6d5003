"""The flags that several commands share, and the config they make."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

from absl import flags

from chatjax import config as config_lib
from chatjax import config_file
from chatjax import types
from chatjax.chat.parsers import formats
from chatjax.cli import flagset
from chatjax.models import locate

_MODEL = (
  'Id of a model (chatjax models lists them), path of a GGUF file or of a'
  ' folder with config.json and safetensors, or owner/name[@revision] on the'
  ' Hugging Face hub.'
)
_ENGINE_FLAGS = ('dtype', 'cache_dtype', 'max_rows', 'context')


def define(
  values: flags.FlagValues, *, model: str = config_lib.Config().model
) -> None:
  """Adds --model, --config, --set, --dtype, --max_rows and others.

  Args:
    values: gains the flags.
    model: which one is taken without --model, in words.
  """
  engine = config_lib.EngineConfig()
  flags.DEFINE_string(
    'model', None, f'{_MODEL} Default: {model}.', flag_values=values
  )
  flags.DEFINE_string(
    'config', None, 'A Python file with get_config(), as in configs/.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_multi_string(
    'set', None, 'Changes one field of the config, as in'
    ' --set=engine.page_size=32; may be repeated', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string(
    'output_format', None, 'How the model writes tool calls and reasoning:'
    f' {", ".join(sorted(formats.FORMATS))}. Default: what its chat template'
    ' speaks of.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_enum(
    'dtype', None, config_lib.DTYPES,
    f'How the weights are kept. Default: {engine.dtype}.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_enum(
    'cache_dtype', None, config_lib.CACHE_DTYPES,
    f'How keys and values are kept. Default: {engine.cache_dtype}.',
    flag_values=values,
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
  flags.DEFINE_list(
    'mesh', None, 'Devices that run the model together, as in model=8 or'
    ' data=2,model=4 (axes: data, expert, model). Default: one device.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_boolean(
    'accept_license', False, 'Accepts the terms of the weights, where they'
    ' have to be accepted; they are shown without it.', flag_values=values,
  )  # fmt: skip


def define_processes(values: flags.FlagValues) -> None:
  """Adds --distributed, --coordinator, --num_processes and --process_id."""
  flags.DEFINE_boolean(
    'distributed', False, 'Runs with other processes, which SLURM, a TPU pod or'
    ' another manager that jax knows has started; --mesh spans them all.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string(
    'coordinator', None, 'HOST:PORT of process 0, for processes that no manager'
    ' starts; wants --num_processes and --process_id too.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'num_processes', None, 'How many there are.', flag_values=values
  )
  flags.DEFINE_integer(
    'process_id', None, 'Which one this is, from 0.', flag_values=values
  )


def define_store(values: flags.FlagValues) -> None:
  """Adds --store."""
  flags.DEFINE_string(
    'store', None, 'Database of stored answers, as in sqlite:///FILE or'
    ' postgresql+psycopg://USER@HOST/NAME. Default: a file in CHATJAX_HOME.',
    flag_values=values,
  )  # fmt: skip


def config(
  values: flags.FlagValues, recorded: Sequence[str] = ()
) -> config_lib.Config:
  """Flags beat --set, --set beats --config, --config beats the defaults.

  Args:
    values: the flags.
    recorded: overrides that take the place of the defaults, where there is no
      --config.

  Raises:
    flagset.UsageError: a file, field, value or model that there is not.
  """
  overrides = list(values['set'].value or ())
  if values['model'].value is not None:
    overrides.append(f'model={values["model"].value}')
  for name in ('output_format', 'store'):
    if name in values and values[name].value is not None:
      overrides.append(f'{name}={values[name].value}')
  overrides += [
    f'engine.{name}={values[name].value}'
    for name in _ENGINE_FLAGS
    if values[name].value is not None
  ]
  overrides += [f'engine.mesh.{size}' for size in values['mesh'].value or ()]
  try:
    made = config_lib.Config()
    if values['config'].value is not None:
      made = config_file.load_config(values['config'].value)
    else:
      overrides = [*recorded, *overrides]
    # At once: two may be valid only together.
    made = config_file.apply_overrides(made, overrides)
    locate.check(made.model)
    if made.output_format is not None:
      formats.get(made.output_format)
  except types.ChatjaxError as error:
    raise flagset.UsageError(str(error)) from error
  return made


def serve_config(
  made: config_lib.Config, **given: str | float | None
) -> config_lib.ServeConfig:
  """How the config serves; flags that were given have precedence."""
  known = {name: value for name, value in given.items() if value is not None}
  try:
    return dataclasses.replace(made.serve, **known)
  except config_lib.ConfigError as error:
    raise flagset.UsageError(f'--{error}') from error
