"""What a process group uses: read from /proc; nothing where there is none."""

from __future__ import annotations

from collections.abc import Iterator
import os
import pathlib

_PROC = pathlib.Path('/proc')


def _group(pgid: int) -> Iterator[tuple[pathlib.Path, list[str]]]:
  """Folders of a group's processes with their `stat` after the name."""
  for folder in _PROC.glob('[0-9]*'):
    try:
      # The name in parentheses may hold anything, spaces included.
      fields = (folder / 'stat').read_text().rpartition(')')[2].split()
    except OSError:
      continue  # it ended meanwhile
    if int(fields[2]) == pgid:
      yield folder, fields


def peak_rss_mb(pgid: int) -> float | None:
  """Sum of the processes' peak resident sizes, or None if unknown."""
  kilobytes = 0
  for folder, _ in _group(pgid):
    for line in (folder / 'status').read_text().splitlines():
      if line.startswith('VmHWM:'):
        kilobytes += int(line.split()[1])
  return kilobytes / 1024 or None


def cpu_s(pgid: int) -> float:
  """Processor seconds that a group has used so far; 0 if unknown."""
  ticks = sum(int(f[11]) + int(f[12]) for _, f in _group(pgid))
  return ticks / os.sysconf('SC_CLK_TCK')
