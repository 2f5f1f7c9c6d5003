"""A run's figures as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatjax.cli import bench_serve_figures

_COLUMNS = ('mean', *(f'p{p}' for p in bench_serve_figures.PERCENTILES))


def text(result: Mapping[str, Any]) -> str:
  """The table, then what the server says of itself, then failures."""
  lines = [_head(result), '', *_totals(result), '']
  lines.append(f'{"":6}' + ''.join(f'{name + ", ms":>11}' for name in _COLUMNS))
  for name, (title, meaning) in bench_serve_figures.TIMES.items():
    cells = ''.join(
      f'{_number(result[f"{column}_{name}_ms"]):>11}' for column in _COLUMNS
    )
    lines.append(f'{title:6}{cells}  {meaning}')
  lines += _server(result['server'])
  for reason, count in result['failures'].items():
    lines.append(f'failed: {count} of {result["num_prompts"]}: {reason}')
  return '\n'.join(lines)


def _head(result: Mapping[str, Any]) -> str:
  bound = result['max_concurrency']
  return (
    f'{result["model_id"]} at {result["base_url"]}: {result["num_prompts"]}'
    f' requests, {result["dataset_name"]}, rate {result["request_rate"]} a'
    f' second, {f"at most {bound}" if bound else "any number"} at once'
  )


def _totals(result: Mapping[str, Any]) -> list[str]:
  row = lambda name, value, note='': f'{name:28}{value:>12}  {note}'.rstrip()
  failed = result['failed']
  cached = result['total_cached_tokens']
  return [
    row('completed', result['completed'], f'{failed} failed' * bool(failed)),
    row('duration, s', _number(result['duration'])),
    row('requests/s', _number(result['request_throughput'])),
    row(
      'input tokens',
      result['total_input_tokens'],
      f'{cached} of them cached' * bool(cached),
    ),
    row(
      'output tokens',
      result['total_output_tokens'],
      _short(result),
    ),
    row('output tok/s', _number(result['output_throughput'])),
    row('input and output tok/s', _number(result['total_token_throughput'])),
    row('most requests at once', result['max_concurrent_requests']),
  ]


def _short(result: Mapping[str, Any]) -> str:
  """Lengths are forced; a server that ends early makes times incomparable."""
  if result['failed'] or (
    result['total_output_tokens'] == result['expected_output_tokens']
  ):
    return ''
  return f'not the {result["expected_output_tokens"]} that were asked for'


def _server(figures: Mapping[str, float]) -> list[str]:
  rows = []
  if 'compilations' in figures:
    rows.append(f'compilations after warm-up  {figures["compilations"]:.0f}')
  if 'decode_step_ms' in figures:
    rows.append(f'a decode step, ms           {figures["decode_step_ms"]:.4g}')
  if 'host_gap_share' in figures:
    rows.append(
      f'host gap share              {figures["host_gap_share"]:.1%} of the'
      ' decode time the device waited for the host'
    )
  if 'bandwidth_share' in figures:
    rows.append(
      f'share of bandwidth limit    {figures["bandwidth_share"]:.0%}: bytes of'
      ' weights that decode steps read a second,\n'
      f'{"":28}out of {figures["read_bytes_per_s"] / 1e9:.1f} GB/s that this'
      " machine's memory delivers"
    )
  return ['', 'the server says:', *rows] if rows else []


def _number(value: float | None) -> str:
  return 'n/a' if value is None else f'{value:.4g}'
