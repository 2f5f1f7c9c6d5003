"""Makes the goldens of HumanEval: what the oracle answers, greedily.

    python scripts/make_humaneval_goldens.py --model=ID --gguf=FILE \
        --out=tests/evals/goldens

The weights of the GGUF file in float32 in `transformers`, some prompts at a
time, left-padded; a prompt whose answer has ended leaves the batch. Answers are
kept beside the goldens while they come, so that a run that was killed goes on.
Needs the `[parity]` extra. The problems are chatjax's own; the model, the
tokenizer and the template are the oracle's.
"""

from __future__ import annotations

from collections.abc import Iterator
import hashlib
import importlib.metadata
import json
import pathlib
import platform
import time

from absl import app
from absl import flags
from absl import logging
import oracle
import oracle_text
import torch
import transformers

from chatjax.ckpt import home as home_lib
from chatjax.evals import humaneval

_MODEL = flags.DEFINE_string('model', None, 'Model id.', required=True)
_GGUF = flags.DEFINE_string('gguf', None, 'Its GGUF file.', required=True)
_OUT = flags.DEFINE_string('out', None, 'Folder of goldens.', required=True)
_BATCH = flags.DEFINE_integer('batch', 16, 'Prompts at a time.')
_THREADS = flags.DEFINE_integer('threads', 2, 'Threads of torch.')

_END_IDS = ('eos', 'eot', 'bos', 'padding')
_TAIL = 8  # tokens that may hold the stop string


class _Row:
  """One prompt and what has been written after it."""

  def __init__(self, problem: humaneval.Problem, prompt: list[int]):
    self.problem, self.prompt = problem, prompt
    self.ids: list[int] = []
    self.least_gap = float('inf')
    self.finish_reason = ''

  def take(self, token: int, gap: float, *, ends: set[int], texts) -> None:
    """Adds the best token of a step."""
    self.least_gap = min(self.least_gap, gap)
    if token in ends:
      self.finish_reason = 'stop'
      return
    self.ids.append(token)
    if humaneval.STOP in texts.decode(self.ids[-_TAIL:]):
      self.finish_reason = 'stop'
    elif len(self.ids) == humaneval.MAX_TOKENS:
      self.finish_reason = 'length'

  def record(self, texts: oracle_text.Tokenizer) -> dict:
    text = texts.decode(self.ids)
    return {
      'task_id': self.problem.task_id,
      'text': text.split(humaneval.STOP)[0],
      'finish_reason': self.finish_reason,
      'num_tokens': len(self.ids),
      'least_gap': round(self.least_gap, 6),
    }


@torch.inference_mode()
def _answer(
  model: transformers.PreTrainedModel,
  texts: oracle_text.Tokenizer,
  rows: list[_Row],
  ends: set[int],
) -> None:
  """Writes all answers of a batch to their ends."""
  width = max(len(row.prompt) for row in rows)
  pads = [width - len(row.prompt) for row in rows]
  ids_BT = torch.tensor(
    [[0] * n + row.prompt for n, row in zip(pads, rows, strict=True)]
  )
  mask_BT = torch.tensor([[0] * n + [1] * (width - n) for n in pads])
  cache = transformers.DynamicCache(config=model.config)
  while rows:
    position_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
    out = model(
      ids_BT, attention_mask=mask_BT, position_ids=position_BT,
      past_key_values=cache, use_cache=True, logits_to_keep=1,
    )  # fmt: skip
    best = torch.topk(out.logits[:, -1], 2)
    gaps = (best.values[:, 0] - best.values[:, 1]).tolist()
    for row, token, gap in zip(
      rows, best.indices[:, 0].tolist(), gaps, strict=True
    ):
      row.take(token, gap, ends=ends, texts=texts)
    going = [i for i, row in enumerate(rows) if not row.finish_reason]
    if len(going) < len(rows):
      cache.batch_select_indices(torch.tensor(going, dtype=torch.int64))
    rows = [rows[i] for i in going]
    ids_BT = best.indices[going, :1]
    mask_BT = torch.cat([mask_BT[going], torch.ones_like(ids_BT)], dim=1)


def _batches(rows: list[_Row]) -> Iterator[list[_Row]]:
  """Prompts of like length together, the shortest first."""
  rows = sorted(rows, key=lambda row: len(row.prompt))
  for start in range(0, len(rows), _BATCH.value):
    yield rows[start : start + _BATCH.value]


def _made_with() -> dict[str, str]:
  """Versions and digests."""
  packages = ('gguf', 'numpy', 'tokenizers', 'torch', 'transformers')
  with open(_GGUF.value, 'rb') as file:
    digest = hashlib.file_digest(file, 'sha256').hexdigest()
  versions = {name: importlib.metadata.version(name) for name in packages}
  return {
    'weights_sha256': digest,
    'problems_sha256': humaneval.SOURCE.sha256,
    'python': platform.python_version(),
    **versions,
  }


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments {argv[1:]}; use flags.')
  torch.set_num_threads(_THREADS.value)
  folder = pathlib.Path(_OUT.value)
  folder.mkdir(parents=True, exist_ok=True)
  kept = folder / f'{_MODEL.value}.humaneval.partial.jsonl'
  done = {}
  if kept.exists():
    records = map(json.loads, kept.read_text().splitlines())
    done = {record['task_id']: record for record in records}
  reader = oracle.Reader(_GGUF.value)
  texts = oracle_text.Tokenizer(reader)
  found = (reader.value(f'tokenizer.ggml.{name}_token_id') for name in _END_IDS)
  ends = {token for token in found if token is not None}
  model = oracle.load(_GGUF.value, attention='sdpa')
  problems = humaneval.problems(home_lib.home())
  rows = [
    _Row(problem, texts.chat([{'role': 'user', 'content': problem.question}]))
    for problem in problems
    if problem.task_id not in done
  ]
  for batch in _batches(rows):
    start_s = time.monotonic()
    _answer(model, texts, batch, ends)
    with open(kept, 'a') as file:
      for row in batch:
        done[row.problem.task_id] = row.record(texts)
        file.write(f'{json.dumps(done[row.problem.task_id])}\n')
    took_s = time.monotonic() - start_s
    logging.info('%d of %d, %.0f s', len(done), len(problems), took_s)
  path = folder / f'{_MODEL.value}.humaneval.json'
  answers = [done[problem.task_id] for problem in problems]
  golden = {'made_with': _made_with(), 'answers': answers}
  path.write_text(f'{json.dumps(golden, indent=1)}\n')
  kept.unlink()
  logging.info('%s: %d bytes', path, path.stat().st_size)


if __name__ == '__main__':
  app.run(main)
