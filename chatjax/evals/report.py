"""Reports of a run and of a comparison: markdown, and a page for a browser.

They follow from the records and the manifest alone: no times, no paths. The
page stands for itself: nothing in it asks anything of anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import html
import json
from typing import Any

from chatjax.evals import plots
from chatjax.evals import statistics
from chatjax.evals import summary as summary_lib
from chatjax.store import manifest as manifest_lib

_MAX_WRONG = 50
_MAX_CELLS = 4000
_MAX_TEXT = 1200
_PERCENT = f'{100 * statistics.CONFIDENCE:g} %'
_METHODS = (
  f'Intervals hold the true mean in {_PERCENT} of all cases: Wilson'
  "'s score interval where an item is right or wrong, else the percentile"
  f' bootstrap over items ({statistics.RESAMPLES:,} resamples, seed {{seed}}).'
)

STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1d2129; --soft: #5b6472;
  --line: #dfe3ea; --panel: #f6f7f9; --main: #2563c9; --right: #2f8f5b;
  --wrong: #d9dee6; --part: #d9a53a; --bad: #c03d3d; --second: #d9a53a; }
@media (prefers-color-scheme: dark) { :root { --back: #14171c; --ink: #e6e9ee;
  --soft: #9aa4b2; --line: #2d333d; --panel: #1c2027; --main: #7aa7f0;
  --right: #4fb47f; --wrong: #3a424f; --part: #d9ae5a; --bad: #e06c6c;
  --second: #d9ae5a; } }
body { background: var(--back); color: var(--ink); margin: 2rem auto;
  max-width: 52rem; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem;
  margin-top: 2rem; } p.about, .axis { color: var(--soft); }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left;
  padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg text.axis { fill: var(--soft); } .grid { stroke: var(--line); }
.zero { stroke: var(--soft); stroke-dasharray: 3 3; }
.whisker { stroke: var(--main); stroke-width: 3; stroke-linecap: round;
  opacity: .55; } .point, .bar, .first { fill: var(--main); }
.right { fill: var(--right); } .wrong { fill: var(--wrong); }
.part { fill: var(--part); } .bad { fill: var(--bad); }
.second { fill: var(--second); } summary { cursor: pointer; }
details { border: 1px solid var(--line); border-radius: 6px;
  padding: .4rem .8rem; margin: .5rem 0; } pre { background: var(--panel);
  border-radius: 6px; padding: .6rem; overflow-x: auto; font-size: 12px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
""".strip()


def markdown(
  records: Sequence[Mapping[str, Any]],
  manifest: manifest_lib.Manifest,
) -> str:
  """The report of a run."""
  found = _summary(records, manifest)
  return '\n'.join([
      f'# Evaluation of {manifest.model}', '', _about(manifest, found), '',
      '| kind | metric | value | interval | by | items |',
      '|---|---|---:|---:|---|---:|',
      *(f'| {metric.kind} | {metric.name} | {_percent(metric.estimate.mean)} |'
        f' {_interval(metric.estimate)} | {metric.estimate.method} |'
        f' {metric.estimate.count} |' for metric in found.metrics),
      '', _METHODS.format(seed=manifest.settings['seed']), '', *_facts(found),
      '', '## What it came of', '', *_origin(manifest), '',
  ])  # fmt: skip


def page(
  records: Sequence[Mapping[str, Any]],
  manifest: manifest_lib.Manifest,
) -> str:
  """The same as one HTML file, with plots and the wrong answers."""
  found = _summary(records, manifest)
  rows = [
    [metric.kind, metric.name, _percent(metric.estimate.mean),
     _interval(metric.estimate), metric.estimate.method,
     str(metric.estimate.count)]
    for metric in found.metrics
  ]  # fmt: skip
  bars = [
    plots.Bar(
      label=f'{metric.kind}: {metric.name}',
      mean=metric.estimate.mean,
      low=metric.estimate.low,
      high=metric.estimate.high,
    )
    for metric in found.metrics
  ]
  body = [
      f'<h1>{_escape(f"Evaluation of {manifest.model}")}</h1>',
      f'<p class="about">{_escape(_about(manifest, found))}</p>',
      _table(['kind', 'metric', 'value', 'interval', 'by', 'items'], rows,
             numbers=(2, 3, 5)),
      plots.intervals(bars, title='All figures with their intervals'),
      f'<p class="about">{_METHODS.format(seed=manifest.settings["seed"])}</p>',
      *_items_picture(records),
      *_lengths_picture(found),
      *_wrong(records),
      *_manifest(manifest),
  ]  # fmt: skip
  return _page(f'Evaluation of {manifest.model}', body)


def comparison_markdown(
  found: summary_lib.Comparison,
  manifests: Sequence[manifest_lib.Manifest],
  names: Sequence[str],
) -> str:
  """The report of two runs side by side."""
  lines = []
  for one in found.differences:
    lines.append(f'| {" | ".join(_difference_row(one))} |')
  return '\n'.join([
      f'# {names[0]} against {names[1]}', '',
      _compared(found, manifests, names), '',
      f'| {" | ".join(_DIFFERENCE_HEAD)} |', f'|---|---{"|---:" * 7}|',
      *lines, '', _PAIRED.format(seed=manifests[0].settings['seed']), '',
      '## What differs', '', *_what_differs(manifests), '',
  ])  # fmt: skip


def comparison_page(
  found: summary_lib.Comparison,
  manifests: Sequence[manifest_lib.Manifest],
  names: Sequence[str],
) -> str:
  """The same as one HTML file, with plots."""
  title = f'{names[0]} against {names[1]}'
  body = [
      f'<h1>{_escape(title)}</h1>',
      f'<p class="about">{_escape(_compared(found, manifests, names))}</p>',
      _table(_DIFFERENCE_HEAD, [_difference_row(one) for one in
                                found.differences], numbers=range(2, 9)),
      '<h2>Second less first</h2>',
      plots.intervals(
          [plots.Bar(label=f'{one.kind}: {one.name}', mean=one.gain.mean,
                     low=one.gain.low, high=one.gain.high)
           for one in found.differences],
          is_difference=True, title='Differences with their intervals'),
      f'<p class="about">'
      f'{_escape(_PAIRED.format(seed=manifests[0].settings["seed"]))}</p>',
      *_pair_pictures(found),
      '<h2>What differs</h2>', '<ul>',
      *(f'<li>{_escape(line.removeprefix("* ").replace("`", ""))}</li>'
        for line in _what_differs(manifests)), '</ul>',
  ]  # fmt: skip
  return _page(title, body)


_DIFFERENCE_HEAD = (
  'kind', 'metric', 'first', 'second', 'difference', 'interval',
  'only first', 'only second', 'p',
)  # fmt: skip
_PAIRED = (
  'Both were asked the same items with the same seeds, so the noise of the draw'
  f' is common to them. Intervals ({_PERCENT}) of the difference are percentile'
  f' bootstraps over pairs ({statistics.RESAMPLES:,} resamples, seed {{seed}});'
  ' p is that of the exact two-sided McNemar test, where an item is right or'
  ' wrong.'
)


def _summary(records, manifest) -> summary_lib.Summary:
  return summary_lib.summarize(records, seed=manifest.settings['seed'])


def _about(manifest, found: summary_lib.Summary) -> str:
  tasks = ', '.join(sorted(manifest.inputs))
  engine = manifest.parts.get('engine')
  dtype = engine.get('dtype') if isinstance(engine, dict) else None
  told = f' ({dtype})' if dtype else ''
  return (
    f'{found.items} items of {tasks}, asked of {manifest.model}{told},'
    f' system_fingerprint {manifest.fingerprint}, chatjax'
    f' {manifest.code["version"]}.'
  )


def _facts(found: summary_lib.Summary) -> list[str]:
  lines = [f'* Refused, and counted as wrong: {found.errors}.']
  if found.samples:
    mean = sum(found.tokens) / found.samples
    lines += [
      f'* Answers: {found.samples}, of {mean:.1f} tokens on average; cut at the'
      f' limit: {found.cut}.'
    ]
  return lines


def _origin(manifest) -> list[str]:
  lines = [
    f'* {name}: {told["bytes"]} bytes, sha256 `{told["sha256"]}`'
    for name, told in sorted(manifest.inputs.items())
  ]
  return [
    *lines,
    f'* config: sha256 `{manifest.config_digest}`',
    f'* code: sha256 `{manifest.code["sha256"]}`',
    f'* settings: `{json.dumps(manifest.settings, sort_keys=True)}`',
    f'* seeds: {manifest.seed_rule}',
  ]


def _items_picture(records) -> list[str]:
  cells = [
    (
      f'{record["id"]} ({record["kind"]})',
      None if 'error' in record else summary_lib.score_of(record),
    )
    for record in records[:_MAX_CELLS]
  ]
  more = len(records) - len(cells)
  told = 'Green is right, grey wrong, yellow right in part, red refused.'
  rest = f'<p class="about">{told}{f" {more} more." if more else ""}</p>'
  return [
    '<h2>Items</h2>',
    plots.grid(cells, title='One square per item'),
    rest,
  ]


def _lengths_picture(found: summary_lib.Summary) -> list[str]:
  if not found.tokens:
    return []
  title = 'Tokens per answer'
  told = ' '.join(line.removeprefix('* ') for line in _facts(found))
  return [
    f'<h2>{title}</h2>',
    plots.histogram(found.tokens, unit='tokens', title=title),
    f'<p class="about">{_escape(told)}</p>',
  ]


def _wrong(records) -> list[str]:
  """The first items that were not answered right, with their answers."""
  wrong = [record for record in records if summary_lib.score_of(record) < 1]
  if not wrong:
    return []
  parts = [f'<h2>Not right: {len(wrong)} of {len(records)}</h2>']
  for record in wrong[:_MAX_WRONG]:
    told = record.get('error', '')
    texts = ''.join(map(_sample, record['samples']))
    parts.append(
      f'<details><summary>{_escape(record["id"])} ({record["kind"]})'
      f' {_escape(told)}</summary><pre>{_escape(_asked(record))}</pre>{texts}'
      '</details>'
    )
  if len(wrong) > _MAX_WRONG:
    parts.append(
      f'<p class="about">{len(wrong) - _MAX_WRONG} more in results.jsonl.</p>'
    )
  return parts


def _asked(record) -> str:
  item = record['item']
  for name in ('question', 'prompt'):
    if item.get(name) is not None:
      return item[name][:_MAX_TEXT]
  return json.dumps(item['messages'], indent=1, ensure_ascii=False)[:_MAX_TEXT]


def _sample(sample) -> str:
  if 'logprob' in sample:
    return f'<pre>{sample["logprob"]:.3f}  {_escape(sample["text"])}</pre>'
  why = f'<p class="about">{_escape(sample["detail"])}</p>'
  return f'<pre>{_escape(sample["text"][:_MAX_TEXT])}</pre>{why}'


def _manifest(manifest) -> list[str]:
  text = '\n'.join(_origin(manifest)).replace('`', '')
  return ['<h2>What it came of</h2>', f'<pre>{_escape(text)}</pre>']


def _compared(found, manifests, names) -> str:
  first, second = manifests
  return (
    f'{names[0]} ({first.model}, {first.fingerprint}) and {names[1]}'
    f' ({second.model}, {second.fingerprint}) on the same {found.items} items;'
    f' {found.equal_answers} of them were answered alike.'
  )


def _difference_row(one: summary_lib.Difference) -> list[str]:
  tested = one.p_value is not None
  return [
    one.kind, one.name, _percent(one.first.mean), _percent(one.second.mean),
    f'{100 * one.gain.mean:+.1f}',
    f'{100 * one.gain.low:+.1f} to {100 * one.gain.high:+.1f}',
    str(one.only_first) if tested else '',
    str(one.only_second) if tested else '',
    f'{one.p_value:.3g}' if tested else '',
  ]  # fmt: skip


def _pair_pictures(found: summary_lib.Comparison) -> list[str]:
  parts = []
  for one in found.differences:
    if one.p_value is None:
      continue
    title = f'{one.kind}: {one.name}'
    both = round(one.first.mean * one.first.count) - one.only_first
    neither = one.first.count - both - one.only_first - one.only_second
    parts += [
      f'<h2>{_escape(title)}</h2>',
      plots.pairs(both, one.only_first, one.only_second, neither, title=title),
    ]
  return parts


def _what_differs(manifests) -> list[str]:
  first, second = manifests
  found = first.differences(second)
  return [
    f'* {name}: `{_short(one)}` and `{_short(other)}`'
    for name, (one, other) in found.items()
  ] or ['* Nothing: it is the same run twice.']


def _short(value: Any) -> str:
  text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
  return text if len(text) <= 300 else f'{text[:300]}...'


def _percent(value: float) -> str:
  return f'{100 * value:.1f} %'


def _interval(estimate: statistics.Estimate) -> str:
  return f'{100 * estimate.low:.1f} to {100 * estimate.high:.1f}'


def _table(head: Sequence[str], rows, *, numbers) -> str:
  kinds = [' class="n"' if i in numbers else '' for i in range(len(head))]
  line = lambda tag, cells: ''.join(
    f'<{tag}{kind}>{_escape(cell)}</{tag}>'
    for kind, cell in zip(kinds, cells, strict=True)
  )
  body = ''.join(f'<tr>{line("td", row)}</tr>' for row in rows)
  return f'<table><tr>{line("th", head)}</tr>{body}</table>'


def _escape(text: str) -> str:
  return html.escape(text)


def _page(title: str, body: Sequence[str]) -> str:
  policy = "default-src 'none'; style-src 'unsafe-inline'"
  return '\n'.join([
      '<!doctype html>', '<html lang="en">', '<head>',
      '<meta charset="utf-8">',
      f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
      '<meta name="viewport" content="width=device-width">',
      f'<title>{_escape(title)}</title>', f'<style>{STYLE}</style>', '</head>',
      '<body>', *body, '</body>', '</html>', '',
  ])  # fmt: skip
