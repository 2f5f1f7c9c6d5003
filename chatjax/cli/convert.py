"""`chatjax convert`: a checkpoint in another form, for `--model` to take."""

from __future__ import annotations

from collections.abc import Sequence
import pathlib

from absl import flags

from chatjax import config as config_lib
from chatjax.ckpt import home as home_lib
from chatjax.cli import flagset
from chatjax.models import locate
from chatjax.models import registry

USAGE = 'chatjax convert --model=MODEL --output=FOLDER [flags]'
_FORMATS = ('orbax', 'safetensors')


def define(values: flags.FlagValues) -> None:
  """Adds --model, --output, --to, --dtype and --accept_license."""
  flags.DEFINE_string(
    'model', None, 'What to convert: an id of chatjax models, the path of a'
    ' GGUF file or of a folder, or owner/name[@revision] on the Hugging Face'
    ' hub.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string(
    'output', None, 'The new folder, which --model then takes. A conversion'
    ' that was cut off goes on when it is started again.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_enum(
    'to', 'orbax', _FORMATS, "Parameters as chatjax keeps them, or the hub's"
    ' own layout.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_enum(
    'dtype', None, config_lib.DTYPES, 'How the weights are kept; safetensors'
    ' take bfloat16 and float32. Default: as they are stored.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_boolean(
    'accept_license', False, 'Accepts the terms of the weights, where they'
    ' have to be accepted; they are shown without it.', flag_values=values,
  )  # fmt: skip


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  flagset.refuse(arguments)
  model, output = values['model'].value, values['output'].value
  to, dtype = values['to'].value, values['dtype'].value
  for name in ('model', 'output'):
    if not values[name].value:
      raise flagset.UsageError(f'--{name} is missing; usage: {USAGE}.')
  if to == 'safetensors' and dtype not in (None, *config_lib.FLOATS):
    raise flagset.UsageError(
      f'--dtype={dtype} is kept by --to=orbax alone; safetensors take bfloat16'
      ' or float32.'
    )
  try:
    locate.check(model)
  except registry.UnknownModelError as error:
    raise flagset.UsageError(str(error)) from error
  # Here, not above: they bring jax, and bad input is answered without.
  from chatjax.cli import progress
  from chatjax.engine import runtime
  from chatjax.models import convert
  from chatjax.models import load

  runtime.configure(home_lib.home())
  with progress.Bars() as bars:
    found = locate.locate(
      model,
      accept_license=values['accept_license'].value,
      progress=bars.report,
    )
    with load.open_source(found.path, found.digest) as source:
      convert.convert(
        source, pathlib.Path(output).expanduser(), to=to, dtype=dtype,
        home=home_lib.home(),
        progress=lambda done, total: bars.report('converting', done, total),
      )  # fmt: skip
  print(f'{output} is written; chatjax chat --model={output} takes it.')
  return 0
