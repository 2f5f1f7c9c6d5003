"""Times `transformers` on prompts read from stdin, one JSON job a line.

A job is `{"prompts": [...], "max_tokens": n}`: one left-padded greedy batch of
`generate` with its dynamic cache. The answer: `{"prompt_tokens": [...],
"times_s": [...]}`, the second at which each token of the batch was there.
Needs the `[parity]` extra. Started by scripts/bench_peers.py.
"""

from __future__ import annotations

import json
import sys
import time

from absl import app
from absl import flags
import oracle
import oracle_text
import torch
import transformers

_GGUF = flags.DEFINE_string('gguf', None, 'The weights.', required=True)
_THREADS = flags.DEFINE_integer('threads', 2, 'Threads of torch.')


class _Clock(transformers.StoppingCriteria):
  """Writes down when each token came; never stops anything."""

  def __init__(self):
    self._start_s = time.perf_counter()
    self.times_s = []

  def __call__(self, input_ids, scores, **kwargs):
    del scores, kwargs
    self.times_s.append(time.perf_counter() - self._start_s)
    return torch.zeros(input_ids.shape[0], dtype=torch.bool)


def _left_padded(rows: list[list[int]]) -> dict[str, torch.Tensor]:
  width = max(map(len, rows))
  pads = [width - len(row) for row in rows]
  return {
    'input_ids': torch.tensor(
      [[0] * pad + row for pad, row in zip(pads, rows, strict=True)]
    ),
    'attention_mask': torch.tensor(
      [[0] * pad + [1] * (width - pad) for pad in pads]
    ),
  }


@torch.inference_mode()
def _answer(
  model: transformers.PreTrainedModel,
  tokenizer: oracle_text.Tokenizer,
  job: dict,
) -> dict[str, list]:
  clock = _Clock()
  if tokenizer.has_template:
    rows = [
      tokenizer.chat([{'role': 'user', 'content': prompt}])
      for prompt in job['prompts']
    ]
  else:
    rows = [tokenizer.encode(prompt) for prompt in job['prompts']]
  model.generate(
    **_left_padded(rows),
    do_sample=False,
    eos_token_id=-1,  # nothing ends an answer early
    pad_token_id=0,
    max_new_tokens=job['max_tokens'],
    stopping_criteria=transformers.StoppingCriteriaList([clock]),
  )
  return {'prompt_tokens': [len(row) for row in rows], 'times_s': clock.times_s}


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments {argv[1:]}; use flags.')
  torch.set_num_threads(_THREADS.value)
  tokenizer = oracle_text.Tokenizer(oracle.Reader(_GGUF.value))
  model = oracle.load(_GGUF.value, attention='sdpa')
  versions = {
    'torch': torch.__version__,
    'transformers': transformers.__version__,
  }
  print(json.dumps(versions), flush=True)
  for line in sys.stdin:
    print(json.dumps(_answer(model, tokenizer, json.loads(line))), flush=True)


if __name__ == '__main__':
  app.run(main)
