"""Reports of a run and of a comparison: markdown, and a page for a browser.

They follow from the records and the manifest alone: no times, no paths. The
page stands for itself: nothing in it asks anything of anybody. The markdown
shows the same pictures from files beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import html
import json
from typing import Any

from chatjax.evals import pictures as pictures_lib
from chatjax.evals import plots
from chatjax.evals import statistics
from chatjax.evals import summary as summary_lib
from chatjax.store import manifest as manifest_lib

_MAX_WRONG = 50
_MAX_TEXT = 1200
_PERCENT = f'{100 * statistics.CONFIDENCE:g} %'
_BOUND = (
  f' Of fewer than {statistics.FEW} items, or of equal values, which a'
  ' bootstrap would take for certain, it is a bound made of Wilson'
  "'s score interval."
)
_METHODS = (
  f'Intervals hold the true mean in {_PERCENT} of all cases: Wilson'
  "'s score interval where an item is right or wrong, else the percentile"
  f' bootstrap over items ({statistics.RESAMPLES:,} resamples, seed {{seed}}).'
  f'{_BOUND}'
)

STYLE = f"""
{plots.COLOURS}
body {{ background: var(--back); color: var(--ink); margin: 2rem auto;
  max-width: 52rem; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.5rem; margin-bottom: .2rem; }} h2 {{ font-size: 1.1rem;
  margin-top: 2rem; }} p.about, .axis {{ color: var(--soft); }}
table {{ border-collapse: collapse; width: 100%; }} td, th {{ text-align: left;
  padding: .35rem .6rem; border-bottom: 1px solid var(--line); }}
td.n, th.n {{ text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }}
svg {{ width: 100%; height: auto; display: block; }}
{plots.STYLE} summary {{ cursor: pointer; }}
details {{ border: 1px solid var(--line); border-radius: 6px;
  padding: .4rem .8rem; margin: .5rem 0; }} pre {{ background: var(--panel);
  border-radius: 6px; padding: .6rem; overflow-x: auto; font-size: 12px;
  white-space: pre-wrap; overflow-wrap: anywhere; }}
""".strip()


def markdown(
  records: Sequence[Mapping[str, Any]],
  manifest: manifest_lib.Manifest,
) -> str:
  """The report of a run; the files of `pictures` lie beside it."""
  found = _summary(records, manifest)
  return '\n'.join([
      f'# Evaluation of {manifest.model}', '', _about(manifest, found), '',
      '| kind | metric | value | interval | by | items |',
      '|---|---|---:|---:|---|---:|',
      *(f'| {metric.kind} | {metric.name} | {_percent(metric.estimate.mean)} |'
        f' {_interval(metric.estimate)} | {metric.estimate.method} |'
        f' {metric.estimate.count} |' for metric in found.metrics),
      '', _METHODS.format(seed=manifest.settings['seed']), '', *_facts(found),
      '', *pictures_lib.links(pictures_lib.of_run(records, found)),
      '## What it came of', '', *_origin(manifest), '',
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
  facts = ' '.join(line.removeprefix('* ') for line in _facts(found))
  body = [
      f'<h1>{_escape(f"Evaluation of {manifest.model}")}</h1>',
      f'<p class="about">{_escape(_about(manifest, found))}</p>',
      _table(['kind', 'metric', 'value', 'interval', 'by', 'items'], rows,
             numbers=(2, 3, 5)),
      f'<p class="about">{_METHODS.format(seed=manifest.settings["seed"])}</p>',
      f'<p class="about">{_escape(facts)}</p>',
      *_shown(pictures_lib.of_run(records, found)),
      *_wrong(records),
      *_manifest(manifest),
  ]  # fmt: skip
  return _page(f'Evaluation of {manifest.model}', body)


def pictures(
  records: Sequence[Mapping[str, Any]],
  manifest: manifest_lib.Manifest,
) -> dict[str, str]:
  """The pictures of a run: name -> text of their files."""
  found = _summary(records, manifest)
  return pictures_lib.files(pictures_lib.of_run(records, found))


def comparison_markdown(
  found: summary_lib.Comparison,
  manifests: Sequence[manifest_lib.Manifest],
  names: Sequence[str],
  *,
  has_pictures: bool = True,
) -> str:
  """The report of two runs side by side.

  Args:
    found: what they come to.
    manifests: of both.
    names: of both.
    has_pictures: whether the files of `comparison_pictures` lie beside it.
  """
  made = pictures_lib.of_comparison(found) if has_pictures else []
  lines = []
  for one in found.differences:
    lines.append(f'| {" | ".join(_difference_row(one))} |')
  return '\n'.join([
      f'# {names[0]} against {names[1]}', '',
      _compared(found, manifests, names), '',
      f'| {" | ".join(_DIFFERENCE_HEAD)} |', f'|---|---{"|---:" * 7}|',
      *lines, '', _PAIRED.format(seed=manifests[0].settings['seed']), '',
      *pictures_lib.links(made), '## What differs', '',
      *_what_differs(manifests), '',
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
      f'<p class="about">'
      f'{_escape(_PAIRED.format(seed=manifests[0].settings["seed"]))}</p>',
      *_shown(pictures_lib.of_comparison(found)),
      '<h2>What differs</h2>', '<ul>',
      *(f'<li>{_escape(line.removeprefix("* ").replace("`", ""))}</li>'
        for line in _what_differs(manifests)), '</ul>',
  ]  # fmt: skip
  return _page(title, body)


def comparison_pictures(found: summary_lib.Comparison) -> dict[str, str]:
  """The pictures of two runs: name -> text of their files."""
  return pictures_lib.files(pictures_lib.of_comparison(found))


_DIFFERENCE_HEAD = (
  'kind', 'metric', 'first', 'second', 'difference', 'interval',
  'only first', 'only second', 'p',
)  # fmt: skip
_PAIRED = (
  'Both were asked the same items with the same seeds, so the noise of the draw'
  f' is common to them. Intervals ({_PERCENT}) of the difference are percentile'
  f' bootstraps over pairs ({statistics.RESAMPLES:,} resamples, seed {{seed}}).'
  f'{_BOUND} p is that of the exact'
  ' two-sided McNemar test, where an item is right or wrong.'
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


def _shown(pictures: Sequence[pictures_lib.Picture]) -> list[str]:
  parts = []
  for one in pictures:
    parts += [f'<h2>{_escape(one.title)}</h2>', one.svg]
    if one.legend:
      parts.append(f'<p class="about">{_escape(one.legend)}</p>')
  return parts


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
