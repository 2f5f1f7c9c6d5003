"""`chatjax bench --profile`: where the time of a decode step goes.

Every operation of the decode program carries the name of the module that made
it. The profiler says how long each ran; here they are added up by part.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
import re
from typing import Any

import jax

from chatjax import types
from chatjax.cli import bench_engine
from chatjax.engine import engine as engine_lib

# Part -> what the name of an operation holds; the first that fits counts.
_PARTS = (
  ('qkv product', r'/attn/qkv'),
  ('out product', r'/attn/out'),
  ('gate and up product', r'/mlp/gate_up'),
  ('down product', r'/mlp/down'),
  ('unembedding', r'Table\.score'),
  ('sampling', r'_draw|token_key|uniform_words'),
  ('attention over pages', r'/attn/(ffi_call|while|cond|dynamic|scatter)'),
  ('rotary embedding', r'/attn/'),
  ('gated activation', r'/mlp/'),
  ('norms', r'norm'),
)
OTHER = 'other'
PARTS = (*(name for name, _ in _PARTS), OTHER)

# They last as long as what they hold, which is there by itself.
_HOLDERS = ('while', 'conditional', 'call', 'cond')
_INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%([\w.-]+) = .*?op_name="([^"]*)"')
_MIN_STEPS = 8


def part_of(op_name: str) -> str:
  """The part of a step that an operation belongs to."""
  for part, pattern in _PARTS:
    if re.search(pattern, op_name):
      return part
  return OTHER


def parts_by_instruction(hlo: str) -> dict[str, str]:
  """Instruction of a compiled program -> part."""
  found = {}
  for line in hlo.splitlines():
    if match := _INSTRUCTION.match(line):
      name, op_name = match.groups()
      if name.split('.')[0] not in _HOLDERS:
        found[name] = part_of(op_name)
  return found


def sums(
  events: Iterable[tuple[str, float]], parts: Mapping[str, str]
) -> dict[str, float]:
  """Seconds by part of the (instruction, seconds) that a program knows."""
  total = collections.Counter(dict.fromkeys(PARTS, 0.0))
  for name, seconds in events:
    if name in parts:
      total[parts[name]] += seconds
  return dict(total)


class Profiler:
  """Profiles an engine's decode steps at several numbers of rows."""

  def __init__(
    self,
    engine: engine_lib.Engine,
    bench: bench_engine.Bench,
    folder: pathlib.Path,
  ):
    self._engine, self._bench, self._folder = engine, bench, folder
    self._parts: dict[str, str] = {}
    for program in engine.programs.decode.values():
      self._parts |= parts_by_instruction(program.as_text())

  def run(
    self, rows: int, *, prompt_len: int, num_tokens: int
  ) -> dict[str, Any]:
    """Times decode steps without the profiler, then again with it.

    Returns:
      `step_s` and `host_gap_s` of a step without the profiler, and its `parts`
      in seconds with it, which slows.

    Raises:
      ChatjaxError: the profiler saw nothing of the decode program.
    """
    ask = {'prompt_len': prompt_len, 'num_tokens': num_tokens}
    plain = self._measure(lambda: self._bench.decode(rows, **ask))
    folder = self._folder / f'rows_{rows}'
    with jax.profiler.trace(str(folder), create_perfetto_trace=True):
      traced = self._measure(lambda: self._bench.decode(rows, **ask))
    parts = sums(_events(folder), self._parts)
    if not any(parts.values()):
      raise types.ChatjaxError(
        f'The profiler saw no operation of the decode program on'
        f' {jax.devices()[0].device_kind}; its trace is in {folder}.'
      )
    return {
      'rows': rows,
      'step_s': plain['step_s'],
      'host_gap_s': plain['host_gap_s'],
      'traced_step_s': traced['step_s'],
      'parts': {
        part: seconds / traced['steps'] for part, seconds in parts.items()
      },
      'trace': str(folder),
    }

  def _measure(self, work) -> dict[str, float]:
    totals = self._engine.totals
    before = totals.decode_s, totals.host_gap_s, totals.decode_steps
    work()
    steps = totals.decode_steps - before[2]
    assert steps >= _MIN_STEPS, 'too few tokens to say anything'
    return {
      'steps': steps,
      'step_s': (totals.decode_s - before[0]) / steps,
      'host_gap_s': (totals.host_gap_s - before[1]) / steps,
    }


def _events(folder: pathlib.Path) -> Iterable[tuple[str, float]]:
  """(name, seconds) of all events in the newest trace of a folder."""
  files = sorted(folder.glob('plugins/profile/*/*.xplane.pb'))
  if not files:
    return
  data = jax.profiler.ProfileData.from_file(str(files[-1]))
  for plane in data.planes:
    for line in plane.lines:
      for event in line.events:
        yield event.name, event.duration_ns / 1e9


def table(
  profiles: Sequence[Mapping[str, Any]], limits_s: Sequence[float]
) -> str:
  """The profiles as Markdown: milliseconds of a step, and shares.

  Args:
    profiles: what `Profiler.run` returned.
    limits_s: the time that reading the step's bytes takes, for each.
  """
  heads = [f'{n} row{"s" * (n != 1)}' for n in (p['rows'] for p in profiles)]
  lines = [_line('ms of a step', heads), _line('---', ['---'] * len(heads))]
  for part in PARTS:
    cells = [
      _cell(one['parts'][part], one['traced_step_s']) for one in profiles
    ]
    lines.append(_line(part, cells))
  gaps = [_cell(one['host_gap_s'], one['step_s']) for one in profiles]
  lines.append(_line('between two blocks, on the host', gaps))
  steps = [f'{1e3 * one["step_s"]:.1f}' for one in profiles]
  lines.append(_line('a step, not traced', steps))
  shares = [
    f'{1e3 * limit:.1f} ({limit / one["step_s"]:.0%})'
    for one, limit in zip(profiles, limits_s, strict=True)
  ]
  lines.append(_line('the bandwidth limit (share reached)', shares))
  return '\n'.join(lines)


def _cell(seconds: float, step_s: float) -> str:
  return f'{1e3 * seconds:.2f} ({seconds / step_s:.0%})'


def _line(head: str, cells: Sequence[str]) -> str:
  return '| ' + ' | '.join([head, *cells]) + ' |'
