"""What the peers' benchmark measures: figures, summary and table."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import statistics

import peers

CHATJAX, TRANSFORMERS, LLAMA = 'chatjax', 'transformers', 'llama.cpp'

# Name of a figure -> (title, what it is).
Metrics = Mapping[str, tuple[str, str]]
# The same for every peer.
METRICS: Metrics = {
  'decode_1': ('one stream, decode, tok/s', 'tokens after the first arrival'),
  'decode_n': (
    'all streams, decode, tok/s',
    'between the last first token and the first last token',
  ),
  'total_n': (
    'all streams, whole, tok/s',
    'all tokens over all the time, prefill included',
  ),
  'edit_1': (
    'one stream that edits code, tok/s',
    'tokens after the first arrival',
  ),
  'quote_1': (
    'one stream that quotes, tok/s',
    'tokens after the first arrival',
  ),
  'prefill': (
    'prefill, tok/s',
    'prompt tokens over the time to the first token',
  ),
  'ttft_n_s': (
    'all at once, p50 first token, s',
    'from sending to the first token',
  ),
}
# What chatjax's ratio to transformers is meant to reach.
TARGETS = {'decode_1': 4.0, 'decode_n': 5.0, 'prefill': 1.5}


def decode_rate(timelines: Sequence[peers.Timeline]) -> float | None:
  """Tokens a second while every stream is decoding; None if never so."""
  start_s = max(line.first_s for line in timelines)
  end_s = min(line.last_s for line in timelines)
  if end_s <= start_s:
    return None
  tokens = sum(
    line.tokens_by(end_s) - line.tokens_by(start_s) for line in timelines
  )
  return tokens / (end_s - start_s)


def figures(
  one: peers.Timeline,
  crowd: Sequence[peers.Timeline],
  long: peers.Timeline,
  edited: peers.Timeline,
  quoted: peers.Timeline,
) -> dict[str, float | None]:
  """All figures of one peer in one round.

  Args:
    one: a single answer.
    crowd: answers that were asked for at the same time.
    long: one token after a long prompt.
    edited: a single answer that repeats code of its prompt.
    quoted: a single answer that repeats a text of its prompt.
  """
  whole_s = max(line.last_s for line in crowd)
  return {
    'decode_1': decode_rate([one]),
    'decode_n': decode_rate(crowd),
    'total_n': sum(line.arrivals[-1][1] for line in crowd) / whole_s,
    'prefill': long.prompt_tokens / long.first_s,
    'edit_1': decode_rate([edited]),
    'quote_1': decode_rate([quoted]),
    'ttft_n_s': statistics.median(line.first_s for line in crowd),
    'long_prompt_tokens': long.prompt_tokens,
  }


def brief(sample: dict, metrics: Metrics = METRICS) -> str:
  shown = {name: sample[name] for name in metrics if name in sample} | {
    'idle_peers_cpu': sample['idle_peers_cpu']
  }
  return ', '.join(f'{name} {number(v)}' for name, v in shown.items())


def number(value: float | None) -> str:
  if value is None:
    return 'n/a'
  return f'{value:.3g}' if value < 1000 else f'{value:.0f}'


def summarise(
  samples: Sequence[dict], metrics: Metrics = METRICS
) -> dict[str, dict[str, dict]]:
  """Per metric and peer: min, median, max, and chatjax's ratio to it."""
  names = list(dict.fromkeys(sample['peer'] for sample in samples))
  out = {}
  for metric in metrics:
    columns = {
      name: [s[metric] for s in samples if s['peer'] == name and metric in s]
      for name in names
    }
    out[metric] = {
      name: _spread(values, columns.get(CHATJAX), name)
      for name, values in columns.items()
      if values  # not every peer is measured in every way
    }
  return out


def _spread(
  values: Sequence[float | None],
  ours: Sequence[float | None] | None,
  name: str,
) -> dict[str, float | None]:
  known = [value for value in values if value is not None]
  row = {'min': None, 'median': None, 'max': None, 'chatjax_ratio': None}
  if known:
    row |= {
      'min': min(known),
      'median': statistics.median(known),
      'max': max(known),
    }
  if ours and name != CHATJAX:
    pairs = zip(ours, values, strict=True)
    ratios = [a / b for a, b in pairs if a is not None and b is not None]
    row['chatjax_ratio'] = statistics.median(ratios) if ratios else None
  return row


def print_table(
  summary: dict,
  rss_mb: dict[str, float | None],
  metrics: Metrics = METRICS,
) -> None:
  """The figures, the ratios, the targets."""
  print(f'\n{"":36}{"peer":19}{"min":>8}{"median":>8}{"max":>8}  ratio')
  for metric, (title, meaning) in metrics.items():
    for name, row in summary[metric].items():
      cells = ''.join(
        f'{number(row[key]):>8}' for key in ('min', 'median', 'max')
      )
      verdict = _verdict(metric, name, row['chatjax_ratio'])
      print(f'{title:36}{name:19}{cells}  {verdict}')
      title = ''
    print(f'  ({meaning})')
  for name, megabytes in rss_mb.items():
    print(f'{"peak RSS, MB":36}{name:19}{number(megabytes):>16}')


def _verdict(metric: str, name: str, ratio: float | None) -> str:
  if ratio is None:
    return ''
  text = f'x{ratio:.2f}'
  if name == TRANSFORMERS and metric in TARGETS:
    met = 'met' if ratio >= TARGETS[metric] else 'MISSED'
    text += f' (target x{TARGETS[metric]:g}: {met})'
  return text
