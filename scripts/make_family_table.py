"""Writes the table of evidence per family into docs/models.md.

python scripts/make_family_table.py

Each row is computed from a tiny model in the hub's layout and what
`transformers` said of it (scripts/make_family_goldens.py and
scripts/make_expert_goldens.py).
"""

from __future__ import annotations

from collections.abc import Mapping
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
PATH = ROOT / 'docs' / 'models.md'
BEGIN = '<!-- made by scripts/make_family_table.py -->\n'
END = '<!-- end -->\n'

# Folder -> models that are computed so, and what is theirs.
MODELS: Mapping[str, tuple[str, str]] = {
  'llama': (
    'Llama 3, 3.1, 3.2, 3.3; DeepSeek-R1-Distill-Llama',
    'stretched slow frequencies',
  ),
  'smollm2': ('SmolLM2; Llama 2', 'tied table'),
  'qwen2': ('Qwen2, Qwen2.5; DeepSeek-R1-Distill-Qwen', 'biases on q, k, v'),
  'qwen2_windows': (
    'Qwen2.5 for long texts',
    'YaRN, windows on the last layers',
  ),
  'qwen3': ('Qwen3', 'norms on q and k'),
  'qwen3_moe': ('Qwen3 MoE', 'experts, their weights made to sum to one'),
  'qwen3_moe_raw': ('Qwen3 MoE', 'experts, their weights as they are'),
  'mistral': ('Mistral 7B 0.2 and newer, Nemo, Small', ''),
  'mistral_window': ('Mistral 7B 0.1', 'a window on all layers'),
  'mixtral': ('Mixtral', 'experts'),
  'gemma2': (
    'Gemma 2',
    'bounded logits, windows on every other layer, sandwich norms',
  ),
  'gemma3': (
    'Gemma 3 1B, 270M',
    'windows on five of six layers, two rotary bases, norms on q and k',
  ),
  'gemma3_multimodal': ('Gemma 3 4B, 12B, 27B', 'the text half of its folder'),
  'smollm3': ('SmolLM3', 'layers that do not rotate'),
  'olmo2': ('OLMo 2', 'norms after, and over whole q and k'),
  'phi3': ('Phi-3 4k, Phi-4', 'fused weights, a window'),
  'phi4_mini': (
    'Phi-4-mini, Phi-3 128k',
    'a factor per frequency, heads rotated in part',
  ),
  'gpt_oss': ('gpt-oss', 'experts in MXFP4, sinks, windows, biases'),
  'gpt_oss_unquantized': ('gpt-oss in bfloat16', 'YaRN'),
}
_COLUMNS = (
  'models', 'folder', 'what is theirs', 'logits', 'chunks and steps', 'greedy',
)  # fmt: skip


def render(page: str, table: str) -> str:
  """The page with a table between its marks."""
  head, _, rest = page.partition(BEGIN)
  _, _, tail = rest.partition(END)
  return f'{head}{BEGIN}{table}{END}{tail}'


def table() -> str:
  """Computes all rows."""
  lines = [_line(_COLUMNS), _line(['---'] * len(_COLUMNS))]
  return '\n'.join([*lines, *map(_row, MODELS)]) + '\n'


def _row(name: str) -> str:
  # Tests have no package of their own until here.
  from tests.models import folders

  golden = folders.golden(name)
  ids, answer = golden['ids'], golden['greedy']
  dense = folders.dense_logits(name, ids)
  steps = folders.by_programs(name)
  whole = folders.dense_logits(name, np.concatenate([ids, answer]))
  greedy = steps[len(ids) - 1 : -1].argmax(axis=-1)
  models, what = MODELS[name]
  differences = (
    folders.relative_difference(dense, golden['logits']),
    folders.relative_difference(steps, whole),
  )
  return _line([
      models, f'`{name}`', what, *(f'{x:.0e}' for x in differences),
      f'{(greedy == answer).sum()} of {len(answer)}',
  ])  # fmt: skip


def _line(cells) -> str:
  return f'| {" | ".join(cells)} |'


if __name__ == '__main__':
  sys.path.insert(0, str(ROOT))
  PATH.write_text(render(PATH.read_text(), table()))
