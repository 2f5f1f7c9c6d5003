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
  """What SLURM or Kubernetes say; the whole file if nobody says anything.

  Raises:
    ShardError: what they say makes no sense.
  """
  shard = ALL
  if 'SLURM_ARRAY_TASK_ID' in environ:
    shard = _array(environ)
  if 'SLURM_PROCID' in environ and 'SLURM_NTASKS' in environ:
    count = _number(environ, 'SLURM_NTASKS')
    index = shard.index * count + _number(environ, 'SLURM_PROCID')
    shard = Shard(index, shard.count * count)
  if shard.count == 1 and 'JOB_COMPLETION_INDEX' in environ:
    shard = _pod(environ)
  return shard


def _array(environ: Mapping[str, str]) -> Shard:
  """Of an array job: its ids need not begin at 0, nor be without gaps."""
  step = _number(environ, 'SLURM_ARRAY_TASK_STEP', 1)
  first = _number(environ, 'SLURM_ARRAY_TASK_MIN', 0)
  index = (_number(environ, 'SLURM_ARRAY_TASK_ID') - first) // max(step, 1)
  return Shard(index, _number(environ, 'SLURM_ARRAY_TASK_COUNT', 1))


def _pod(environ: Mapping[str, str]) -> Shard:
  told = [name for name in POD_COUNTS if name in environ]
  if not told:
    raise ShardError(
      'JOB_COMPLETION_INDEX says which pod this is, and nothing how many there'
      f' are; set {POD_COUNTS[0]} to the completions of the job, or give'
      ' --shard=i/n.'
    )
  return Shard(
    _number(environ, 'JOB_COMPLETION_INDEX'), _number(environ, told[0])
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
