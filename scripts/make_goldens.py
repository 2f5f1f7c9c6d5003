"""Makes the goldens of one real model: what the oracle says of its weights.

    python scripts/make_goldens.py --model=ID --gguf=FILE \
        --out=tests/models/goldens

Needs the `[parity]` extra. What the files hold: README.md beside them.
"""

from __future__ import annotations

import hashlib
import heapq
import importlib.metadata
import inspect
import json
import pathlib
import platform
from pydoc_data import topics
import textwrap

from absl import app
from absl import flags
from absl import logging
import numpy as np
import oracle
import oracle_text
import torch
import transformers

_MODEL = flags.DEFINE_string('model', None, 'Model id.', required=True)
_GGUF = flags.DEFINE_string('gguf', None, 'Its GGUF file.', required=True)
_OUT = flags.DEFINE_string('out', None, 'Folder of goldens.', required=True)

_TOP = 20
_SAMPLED_IDS = 200
_NEW_TOKENS = 32
_LONG_PROMPT = 700
# Borders of 64-token chunks and of Gemma's window of 512, and their mates.
_LONG_POSITIONS = (
  *(0, 1, 31, 62, 63, 64, 65, 127, 128, 191, 255, 256, 320, 383, 384, 448),
  *(510, 511, 512, 513, 514, 575, 576, 600, 639, 640, 641, 698, 699),
)
_KL_WIDTH = 576
_PROMPTS = pathlib.Path(__file__).with_name('golden_prompts.json')

# Text of the Python distribution (PSF licence): its documentation, which
# every interpreter carries as `pydoc_data.topics`, and its standard library.
_LONG_TEXT = 'pydoc_data.topics: import'
_KL_TEXTS = (
  'pydoc_data.topics: execmodel',
  'pydoc_data.topics: customization',
  'heapq.py',
  'textwrap.py',
)


def _text(source: str) -> str:
  modules = {'heapq.py': heapq, 'textwrap.py': textwrap}
  if source in modules:
    return inspect.getsource(modules[source])
  return topics.topics[source.removeprefix('pydoc_data.topics: ')]


def _first_ids(
  tokenizer: oracle_text.Tokenizer, source: str, count: int
) -> list[int]:
  ids = tokenizer.encode(_text(source))[:count]
  if len(ids) < count:
    raise ValueError(f'{source} has {len(ids)} tokens; {count} are wanted.')
  return ids


@torch.inference_mode()
def _logits_golden(
  model: transformers.PreTrainedModel, tokenizer: oracle_text.Tokenizer
) -> dict[str, np.ndarray]:
  """Logits of four prompts: three short ones whole, a long one in places."""
  prompts = json.loads(_PROMPTS.read_text())['logits']
  rows = [(ids, range(len(ids))) for ids in map(tokenizer.encode, prompts)]
  long_ids = _first_ids(tokenizer, _LONG_TEXT, _LONG_PROMPT)
  rows.append((long_ids, _LONG_POSITIONS))
  vocab = model.config.vocab_size
  sampled = np.random.default_rng(0).choice(vocab, _SAMPLED_IDS, replace=False)
  out = {'sampled_ids': np.sort(sampled).astype(np.int32)}
  for i, (ids, positions) in enumerate(rows):
    picked = torch.tensor(positions)
    logits = model(torch.tensor([ids]), logits_to_keep=picked).logits[0]
    top = torch.topk(logits, _TOP)
    out |= {
      f'ids_{i}': np.array(ids, np.int32),
      f'positions_{i}': np.array(positions, np.int32),
      f'top_ids_{i}': top.indices.numpy().astype(np.int32),
      f'top_logits_{i}': top.values.numpy(),
      f'sampled_logits_{i}': logits[:, out['sampled_ids']].numpy(),
      f'logsumexp_{i}': torch.logsumexp(logits, -1).numpy(),
    }
  return out


@torch.inference_mode()
def _greedy(
  model: transformers.PreTrainedModel, prompt: list[int]
) -> list[tuple[int, int, float, float]]:
  """Takes the best token over and over, past any end of the answer.

  Returns: (best id, second id, gap of their logits, log-probability of the
  best) per step.
  """
  cache = transformers.DynamicCache(config=model.config)
  ids, steps = prompt, []
  for _ in range(_NEW_TOKENS):
    out = model(
      torch.tensor([ids]), past_key_values=cache, use_cache=True,
      logits_to_keep=1,
    )  # fmt: skip
    logits = out.logits[0, -1]
    (first, second), best = (x.tolist() for x in torch.topk(logits, 2))
    logprob = first - torch.logsumexp(logits, -1).item()
    steps.append((best[0], best[1], first - second, logprob))
    ids = best[:1]
  return steps


def _greedy_golden(
  model: transformers.PreTrainedModel, tokenizer: oracle_text.Tokenizer
) -> dict[str, np.ndarray]:
  texts = json.loads(_PROMPTS.read_text())
  if tokenizer.has_template:
    prompts = [
      tokenizer.chat([{'role': 'user', 'content': text}])
      for text in texts['chat']
    ]
  else:
    prompts = [tokenizer.encode(text) for text in texts['plain']]
  out = {}
  columns = []
  for i, prompt in enumerate(prompts):
    out[f'prompt_{i}'] = np.array(prompt, np.int32)
    columns.append(list(zip(*_greedy(model, prompt), strict=True)))
    logging.info('greedy %d of %d', i + 1, len(prompts))
  tokens, seconds, gaps, logprobs = zip(*columns, strict=True)
  return out | {
    'tokens': np.array(tokens, np.int32),
    'second': np.array(seconds, np.int32),
    'gap': np.array(gaps, np.float32),
    'logprob': np.array(logprobs, np.float32),
  }


def _kl_golden(tokenizer: oracle_text.Tokenizer) -> dict[str, np.ndarray]:
  rows = [_first_ids(tokenizer, text, _KL_WIDTH) for text in _KL_TEXTS]
  return {'ids': np.array(rows, np.int32), 'sources': np.array(_KL_TEXTS)}


def _made_with(gguf_path: str) -> str:
  """Versions and digest, as one line of JSON beside the arrays."""
  packages = ('gguf', 'numpy', 'tokenizers', 'torch', 'transformers')
  with open(gguf_path, 'rb') as file:
    digest = hashlib.file_digest(file, 'sha256').hexdigest()
  versions = {name: importlib.metadata.version(name) for name in packages}
  versions['python'] = platform.python_version()
  return json.dumps({'sha256': digest} | versions)


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments {argv[1:]}; use flags.')
  folder = pathlib.Path(_OUT.value)
  folder.mkdir(parents=True, exist_ok=True)
  tokenizer = oracle_text.Tokenizer(oracle.Reader(_GGUF.value))
  model = oracle.load(_GGUF.value)
  made_with = np.array(_made_with(_GGUF.value))
  goldens = {
    'logits': _logits_golden(model, tokenizer),
    'greedy': _greedy_golden(model, tokenizer),
    'kl_text': _kl_golden(tokenizer),
  }
  for name, arrays in goldens.items():
    path = folder / f'{_MODEL.value}.{name}.npz'
    np.savez_compressed(path, made_with=made_with, **arrays)
    logging.info('%s: %d bytes', path, path.stat().st_size)


if __name__ == '__main__':
  app.run(main)
