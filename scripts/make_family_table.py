"""Writes the tables of evidence per family into docs/models.md.

    python scripts/make_family_table.py

Each row is computed from a tiny model in the hub's layout and what
`transformers` said of it (scripts/make_family_goldens.py and
scripts/make_expert_goldens.py), and from real tokenizers and templates
(scripts/make_render_goldens.py), which are fetched. A few minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import functools
import json
import pathlib
import sys
import tempfile

import numpy as np

from chatjax.chat import format as format_lib
from chatjax.ckpt import gguf
from chatjax.models import gguf_source
from chatjax.models import registry

ROOT = pathlib.Path(__file__).parents[1]
PATH = ROOT / 'docs' / 'models.md'
BEGIN = '<!-- made by scripts/make_family_table.py -->\n'
END = '<!-- end -->\n'

# Folder -> models that are computed so, and what is theirs.
MODELS: Mapping[str, tuple[str, str]] = {
  'llama': (
    'Llama 3, 3.1, 3.2, 3.3',
    'stretched slow frequencies',
  ),
  'smollm2': ('SmolLM2', 'tied table'),
  'qwen2': ('Qwen2, Qwen2.5; DeepSeek-R1-Distill-Qwen', 'biases on q, k, v'),
  'qwen2_windows': (
    'Qwen2.5 for long texts',
    'YaRN, windows on the last layers',
  ),
  'qwen3': ('Qwen3', 'norms on q and k'),
  'qwen3_moe': ('Qwen3 MoE', 'experts, their weights made to sum to one'),
  'qwen3_moe_raw': ('Qwen3 MoE', 'experts, their weights as they are'),
  'mistral': ('Mistral Nemo', ''),
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
# Folder -> real tokenizers of its models, by the names of
# tests/chat/real_tokenizers.py; those of SmolLM2 is in its GGUF file.
RENDERS: Mapping[str, tuple[str, ...]] = {
  'llama': ('llama3', 'llama3_1', 'llama3_1_instruct', 'llama3_2'),
  'smollm2': ('smollm2-135m-instruct',),
  'qwen2': ('qwen2_5', 'deepseek_r1_distill_qwen'),
  'qwen2_windows': ('qwen2_5',),
  'qwen3': ('qwen3',),
  'qwen3_moe': ('qwen3',),
  'qwen3_moe_raw': ('qwen3',),
  'mistral': ('mistral_nemo',),
  'gemma2': ('gemma2',),
  'gemma3': ('gemma3',),
  'gemma3_multimodal': ('gemma3',),
  'gpt_oss': ('gptoss',),
  'gpt_oss_unquantized': ('gptoss',),
}
_COLUMNS = (
  'models', 'folder', 'what is theirs', 'logits', 'chunks and steps', 'greedy',
  'seeds', 'prompts',
)  # fmt: skip
_APART = """
Not counted, for no real tokenizer and chat template of theirs was at hand:

"""


def render(page: str, tables: str) -> str:
  """The page with the tables between its marks."""
  head, _, rest = page.partition(BEGIN)
  _, _, tail = rest.partition(END)
  return f'{head}{BEGIN}{tables}{END}{tail}'


def tables() -> str:
  """Computes all rows: of families that count, and of the others."""
  counted = [name for name in MODELS if name in RENDERS]
  others = [name for name in MODELS if name not in RENDERS]
  return _table(counted) + _APART + _table(others)


def _table(names: Sequence[str]) -> str:
  lines = [_line(_COLUMNS), _line(['---'] * len(_COLUMNS))]
  return '\n'.join([*lines, *map(_row, names)]) + '\n'


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
  print(name)
  return _line([
      models, f'`{name}`', what, *(f'{x:.0e}' for x in differences),
      f'{(greedy == answer).sum()} of {len(answer)}', _seeds(name),
      _prompts(name),
  ])  # fmt: skip


def _seeds(name: str) -> str:
  """How many seeded answers have the same bits alone and in a crowd."""
  from tests.engine import family_engine

  with tempfile.TemporaryDirectory() as checkpoints:
    engine = family_engine.start(name, pathlib.Path(checkpoints))
    alone, crowd = family_engine.alone_and_in_a_crowd(engine)
    engine.close()
  same = sum(x == y for x, y in zip(alone, crowd, strict=True))
  return f'{same} of {len(alone)}'


def _prompts(name: str) -> str:
  """How many prompts of real templates have the ids of `transformers`."""
  if name not in RENDERS:
    return 'none'
  pairs = [pair for each in RENDERS[name] for pair in _rendered(each)]
  same = sum(ours == theirs for ours, theirs in pairs)
  return f'{same} of {len(pairs)}'


@functools.cache
def _rendered(tokenizer: str) -> list[tuple[list[int], list[int]]]:
  from tests.chat import conversations
  from tests.chat import real_tokenizers

  if tokenizer in registry.REGISTRY:
    return _rendered_by_file(tokenizer)
  path = ROOT / 'tests' / 'chat' / 'renders' / f'{tokenizer}.json'
  golden = json.loads(path.read_text())
  _, form = real_tokenizers.read(tokenizer)
  asked = conversations.asked(tokenizer)
  return [(form.encode(**asked[key]), golden[key]) for key in golden]


def _rendered_by_file(model: str) -> list[tuple[list[int], list[int]]]:
  path = ROOT / 'tests' / 'text' / 'goldens' / f'{model}.json'
  with gguf.GGUF.open(registry.fetch_weights(model)) as file:
    form = gguf_source.read(file, '').texts
    tokenizer = form.make_tokenizer()
    chat = format_lib.ChatFormat.from_template(
      form.chat_template,
      bos_token='',
      eos_token=tokenizer.spelling(form.eos_token),
      tokenizer=tokenizer,
    )
  return [
    (chat.encode(**{k: v for k, v in case.items() if k != 'ids'}), case['ids'])
    for case in json.loads(path.read_text())['chats']
  ]


def _line(cells) -> str:
  return f'| {" | ".join(cells)} |'


if __name__ == '__main__':
  sys.path.insert(0, str(ROOT))
  PATH.write_text(render(PATH.read_text(), tables()))
