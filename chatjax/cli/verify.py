"""`chatjax verify`: a minute of the seed contract, and a verdict to quote."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import time

from absl import flags
from rich import console as console_lib

from chatjax import config as config_lib
from chatjax.cli import bench_file
from chatjax.cli import flagset
from chatjax.cli import loading
from chatjax.cli import options

USAGE = 'chatjax verify [flags]'


def define(values: flags.FlagValues) -> None:
  options.define(values)
  flags.DEFINE_float(
    'seconds', 60.0, 'How long to go on, once the model is loaded; every check'
    ' is run at least once.', lower_bound=0.0, flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'seed', 0, 'Of the trial: which requests meet, and when.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_boolean(
    'restart', True, 'Compares with another process too, which starts first'
    ' and takes as long as one start.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string('json', None, 'File for all figures.', flag_values=values)


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  flagset.refuse(arguments)
  config = options.config(values)
  out = bench_file.checked(values['json'].value)
  report = _try(
    config,
    accept_license=values['accept_license'].value,
    seconds=values['seconds'].value,
    seed=values['seed'].value,
    with_restart=values['restart'].value,
  )
  print(report.table(), *report.failures(), '', report.quote(), sep='\n')
  if out:
    bench_file.write(out, report.figures())
  return 0 if report.outcome.has_passed else 1


def _try(
  config: config_lib.Config,
  *,
  accept_license: bool,
  seconds: float,
  seed: int,
  with_restart: bool,
):
  """A report; the model is loaded twice if another process is wanted."""
  # Here, not above: they bring jax, and bad input is answered without.
  from chatjax.cli import verify_report
  from chatjax.cli import verify_restart
  from chatjax.cli import verify_trial

  console = console_lib.Console(stderr=True)
  earlier = None
  if with_restart:
    console.print('Another process answers first ...')
    earlier = verify_restart.ask(
      config, accept_license=accept_license, seed=seed
    )
  session = loading.load(config, accept_license=accept_license)
  with (
    contextlib.closing(session.engine),
    console.status('verifying') as status,
  ):
    outcome = verify_trial.run(
      session.engine,
      config.engine,
      verify_restart.plan_for(session, config.engine, seed),
      seconds=seconds,
      seed=seed,
      earlier=earlier,
      report=status.update,
    )
  return verify_report.Report(
    outcome=outcome,
    model=config.model,
    engine=session.engine,
    seed=seed,
    now=time.time(),
  )
