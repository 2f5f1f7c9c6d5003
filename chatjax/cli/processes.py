"""Finds the other processes of a command that runs on several machines."""

from __future__ import annotations

import contextlib

from absl import flags

from chatjax.cli import flagset

_NAMES = ('coordinator', 'num_processes', 'process_id')


def start(values: flags.FlagValues) -> bool:
  """Connects to the other processes, if flags speak of any.

  Returns:
    Whether this one leads.

  Raises:
    flagset.UsageError: flags that do not go together, or no manager that jax
      knows.
  """
  told = {name: values[name].value for name in _NAMES}
  is_managed = values['distributed'].value
  if not is_managed and all(value is None for value in told.values()):
    return True
  _check(told, is_managed=is_managed)
  # Here, not above: it is slow, and one process needs nothing of it.
  import jax

  try:
    if is_managed:
      jax.distributed.initialize()
    else:
      jax.distributed.initialize(
        told['coordinator'], told['num_processes'], told['process_id']
      )
  except (ValueError, RuntimeError) as e:
    raise flagset.UsageError(
      f'Cannot find the other processes ({str(e).splitlines()[0].rstrip(".")}).'
      ' Under SLURM and on TPU pods --distributed suffices; elsewhere give'
      ' --coordinator, --num_processes and --process_id.'
    ) from e
  return jax.process_index() == 0


def given(values: flags.FlagValues) -> tuple[int, int] | None:
  """(which process this is, of how many), as flags say; connects to nobody.

  Raises:
    flagset.UsageError: flags that do not go together.
  """
  told = {name: values[name].value for name in _NAMES}
  if all(value is None for value in told.values()):
    return None  # a manager's word is for whoever knows that manager
  _check(told, is_managed=values['distributed'].value)
  return told['process_id'], told['num_processes']


def detect() -> tuple[int, int] | None:
  """(which process this is, of how many), as jax finds out of managers.

  It connects to no other process. None if jax knows no manager here.
  """
  # It is not public, and only the last resort: whatever fails says nothing.
  with contextlib.suppress(Exception):
    from jax._src import clusters

    for one in clusters.ClusterEnv._cluster_types:
      if not one.opt_in_only_method and one.is_env_present():
        return one.get_process_id(), one.get_process_count()
  return None


def _check(told, *, is_managed: bool) -> None:
  given = [f'--{name}' for name, value in told.items() if value is not None]
  missing = [f'--{name}' for name, value in told.items() if value is None]
  if is_managed:
    if given:
      raise flagset.UsageError(
        f'--distributed finds out what {", ".join(given)} would say; leave one'
        ' or the other out.'
      )
    return
  if missing:
    raise flagset.UsageError(
      f'{", ".join(given)} without {", ".join(missing)}; all three are needed.'
    )
  host, _, port = told['coordinator'].rpartition(':')
  if not host or not port.isdecimal():
    raise flagset.UsageError(
      f'--coordinator={told["coordinator"]} is not HOST:PORT.'
    )
  count, index = told['num_processes'], told['process_id']
  if not 0 <= index < count:
    raise flagset.UsageError(
      f'--process_id={index} is not one of --num_processes={count}, which are'
      ' counted from 0.'
    )
