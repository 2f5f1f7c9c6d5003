"""Which part of a file is this process's to begin with."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import re
from typing import Self

from chatjax import types

_TEXT = re.compile(r'([0-9]{1,6})/([0-9]{1,6})')
# What says how many pods a Kubernetes job has; Kubernetes itself does not.
POD_COUNTS = ('JOB_COMPLETIONS', 'CHATJAX_SHARDS')

_TPU = ('TPU_WORKER_ID', 'TPU_WORKER_HOSTNAMES')


class ShardError(types.ChatjaxError):
  """A shard that there is not."""


@dataclasses.dataclass(frozen=True)
class Shard:
  """Worker `index` of `count`, from 0.

  It begins with every `count`-th range, and helps out where others are gone.
  """

  index: int = 0
  count: int = 1

  def __post_init__(self):
    if not 0 <= self.index < self.count:
      raise ShardError(
        f'--shard={self.index}/{self.count} is not one of {self.count}; they'
        ' are counted from 0.'
      )

  @classmethod
  def parse(cls, text: str) -> Self:
    match = _TEXT.fullmatch(text)
    if match is None:
      raise ShardError(f'--shard={text} is not of the form i/n, such as 0/4.')
    return cls(int(match[1]), int(match[2]))

  @property
  def name(self) -> str:
    return f'{self.index}-of-{self.count}'


ALL = Shard()


def detect(environ: Mapping[str, str]) -> Shard:
  """As `told`; the whole file if nobody says anything."""
  return told(environ) or ALL


def told(environ: Mapping[str, str]) -> Shard | None:
  """What SLURM, Kubernetes or a TPU pod say; None if nobody says anything.

  Raises:
    ShardError: what they say makes no sense.
  """
  shard = None
  if 'SLURM_ARRAY_TASK_ID' in environ:
    shard = _array(environ)
  if 'SLURM_PROCID' in environ and 'SLURM_NTASKS' in environ:
    one, count = shard or ALL, _number(environ, 'SLURM_NTASKS')
    index = one.index * count + _number(environ, 'SLURM_PROCID')
    shard = Shard(index, one.count * count)
  if shard is not None and shard.count > 1:
    return shard
  on_tpu = _tpu(environ)
  if 'JOB_COMPLETION_INDEX' in environ:
    # Kubernetes may not say how many there are where the TPU does.
    is_known = any(name in environ for name in POD_COUNTS)
    if is_known or on_tpu is None or on_tpu.count == 1:
      return _pod(environ)
  return on_tpu or shard


def _tpu(environ: Mapping[str, str]) -> Shard | None:
  """Of the hosts of a TPU pod, of several slices if there are."""
  if not all(name in environ for name in _TPU):
    return None
  count = len(environ[_TPU[1]].split(','))
  one = Shard(_number(environ, _TPU[0]), count)
  return Shard(
    _number(environ, 'MEGASCALE_SLICE_ID', 0) * count + one.index,
    _number(environ, 'MEGASCALE_NUM_SLICES', 1) * count,
  )


def _array(environ: Mapping[str, str]) -> Shard:
  """Of an array job: its ids need not begin at 0, nor be without gaps."""
  step = _number(environ, 'SLURM_ARRAY_TASK_STEP', 1)
  first = _number(environ, 'SLURM_ARRAY_TASK_MIN', 0)
  index = (_number(environ, 'SLURM_ARRAY_TASK_ID') - first) // max(step, 1)
  return Shard(index, _number(environ, 'SLURM_ARRAY_TASK_COUNT', 1))


def _pod(environ: Mapping[str, str]) -> Shard:
  counts = [name for name in POD_COUNTS if name in environ]
  if not counts:
    raise ShardError(
      'JOB_COMPLETION_INDEX says which pod this is, and nothing how many there'
      f' are; set {POD_COUNTS[0]} to the completions of the job, or give'
      ' --shard=i/n.'
    )
  return Shard(
    _number(environ, 'JOB_COMPLETION_INDEX'), _number(environ, counts[0])
  )


def _number(
  environ: Mapping[str, str], name: str, default: int | None = None
) -> int:
  text = environ.get(name)
  if text is None and default is not None:
    return default
  if text is None or not re.fullmatch('[0-9]{1,9}', text):
    raise ShardError(f'{name}={text} is not a number; give --shard=i/n.')
  return int(text)
