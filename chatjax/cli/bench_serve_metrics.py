"""What a server says of itself at /metrics, before a run and after it."""

from __future__ import annotations

from collections.abc import Mapping
import math
import re

from chatjax.cli import bench_serve_client

PATH = '/metrics'
COMPILATIONS = 'chatjax:compilations_total'
HOST_GAP_S = 'chatjax:host_gap_seconds_total'
DECODE_S = 'chatjax:decode_seconds_total'
DECODE_STEPS = 'chatjax:decode_steps_total'
WEIGHT_BYTES = 'chatjax:weight_bytes'
_LINE = re.compile(
  r'(?P<name>[a-zA-Z_:][\w:]*)(\{.*\})?\s+(?P<value>\S+)(\s+-?\d+)?'
)


async def read(client: bench_serve_client.Client) -> dict[str, float]:
  """All values by name, series with labels added up; {} if there are none."""
  status, body = await client.get(PATH)
  return parse(body.decode(errors='replace')) if status == 200 else {}


def parse(text: str) -> dict[str, float]:
  """Reads Prometheus' text format."""
  values: dict[str, float] = {}
  for line in text.splitlines():
    found = _LINE.fullmatch(line.strip())
    if found is None:
      continue  # a comment, or an empty line
    try:
      value = float(found['value'])
    except ValueError:
      continue
    if math.isfinite(value):
      values[found['name']] = values.get(found['name'], 0.0) + value
  return values


def figures(
  before: Mapping[str, float], after: Mapping[str, float]
) -> dict[str, float]:
  """What happened in between; what the server does not tell is left out.

  `host_gap_share` is the time in which the device waited for the host, out of
  that time and the decode steps' together.
  """
  gained = {
    name: after[name] - before[name] for name in after if name in before
  }
  out = {}
  if COMPILATIONS in gained:
    out['compilations'] = gained[COMPILATIONS]
  gap_s, decode_s = gained.get(HOST_GAP_S), gained.get(DECODE_S)
  if gap_s is not None and decode_s:
    out['host_gap_share'] = gap_s / (gap_s + decode_s)
  if gained.get(DECODE_STEPS) and decode_s:
    out['decode_step_ms'] = decode_s / gained[DECODE_STEPS] * 1000
  if WEIGHT_BYTES in after:
    out['weight_bytes'] = after[WEIGHT_BYTES]
  return out


def bandwidth_share(
  figures: Mapping[str, float], *, weight_bytes: float, read_bytes_per_s: float
) -> float:
  """Weights that decode steps read a second, out of what memory delivers.

  Keys and values are not counted, so the true share is a little larger.

  Args:
    figures: of `figures`, with `decode_step_ms`.
    weight_bytes: read by a step.
    read_bytes_per_s: of the machine that the server is on.
  """
  return weight_bytes / (figures['decode_step_ms'] / 1000) / read_bytes_per_s
