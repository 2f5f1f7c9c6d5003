"""Makes tiny mixtures of experts and what `transformers` says of them.

    python scripts/make_expert_goldens.py --out=tests/models/experts

Needs the `[parity]` extra. Each folder is laid out as on the hub, with random
weights; `golden.npz` beside them has a prompt, its logits and the tokens that
greedy decoding adds. `mxfp4.npz` has blocks, scales and their weight.
"""

from __future__ import annotations

from collections.abc import Callable
import json
import pathlib

from absl import app
from absl import flags
import numpy as np
from safetensors import torch as safetensors
import torch
import transformers
from transformers.integrations import mxfp4

_OUT = flags.DEFINE_string('out', None, 'Folder of goldens.', required=True)

_VOCAB, _PROMPT, _NEW_TOKENS = 128, 48, 16
_SIZES = {
  'vocab_size': _VOCAB,
  'hidden_size': 32,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'max_position_embeddings': 256,
  'tie_word_embeddings': False,
  'bos_token_id': None,
  'eos_token_id': None,
  'pad_token_id': None,
}


def _mixtral() -> transformers.PreTrainedModel:
  config = transformers.MixtralConfig(
    **_SIZES, intermediate_size=48, num_local_experts=5, num_experts_per_tok=2,
    rope_theta=1e4, sliding_window=20,
  )  # fmt: skip
  return transformers.MixtralForCausalLM(config)


def _qwen3_moe(norm_topk: bool) -> transformers.PreTrainedModel:
  config = transformers.Qwen3MoeConfig(
    **(_SIZES | {'num_hidden_layers': 2}), head_dim=16, intermediate_size=64,
    moe_intermediate_size=32, num_experts=6, num_experts_per_tok=3,
    norm_topk_prob=norm_topk,
  )  # fmt: skip
  return transformers.Qwen3MoeForCausalLM(config)


def _gpt_oss(
  num_layers: int, rope: dict[str, object] | None = None
) -> transformers.PreTrainedModel:
  config = transformers.GptOssConfig(
    **(_SIZES | {'num_hidden_layers': num_layers}), head_dim=16,
    intermediate_size=32, num_local_experts=4, num_experts_per_tok=2,
    sliding_window=16, rope_parameters=rope,
  )  # fmt: skip
  return transformers.GptOssForCausalLM(config)


# Stretches within a prompt of 48 tokens, between whole dimensions.
_YARN = {
  'rope_type': 'yarn', 'rope_theta': 1000.0, 'factor': 4.0, 'truncate': True,
  'beta_fast': 4.0, 'beta_slow': 1.0, 'original_max_position_embeddings': 64,
}  # fmt: skip
_MODELS: dict[str, Callable[[], transformers.PreTrainedModel]] = {
  'mixtral': _mixtral,
  'qwen3_moe': lambda: _qwen3_moe(True),
  'qwen3_moe_raw': lambda: _qwen3_moe(False),
  'gpt_oss': lambda: _gpt_oss(3),
  'gpt_oss_unquantized': lambda: _gpt_oss(2, _YARN),
}
_QUANTIZED = 'gpt_oss'


def _randomise(model: transformers.PreTrainedModel, seed: int) -> None:
  """No ones and zeros that something could hide behind; all fit bfloat16."""
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for name, x in model.named_parameters():
      draw = torch.randn(x.shape, generator=generator)
      if 'norm' in name:
        draw = 1 + 0.2 * draw
      elif name.endswith('bias') or 'sinks' in name:
        draw = 0.5 * draw
      elif 'experts' in name:
        draw *= 0.4  # some gates pass the clamp
      elif 'embed_tokens' not in name:
        draw *= x.shape[-1] ** -0.5
      x.copy_(draw.bfloat16())


def _quantize(
  model: transformers.PreTrainedModel, seed: int
) -> dict[str, torch.Tensor]:
  """Gives experts weights of random blocks and scales, and returns those."""
  generator = torch.Generator().manual_seed(seed)
  stored = {}
  for name, x in model.named_parameters():
    if not name.endswith(('gate_up_proj', 'down_proj')):
      stored[name] = x.detach().bfloat16().contiguous()
      continue
    num_experts, inputs, outputs = x.shape
    shape = (num_experts, outputs, inputs // 32)
    blocks = torch.randint(
      256, (*shape, 16), generator=generator, dtype=torch.uint8
    )
    scales = torch.randint(
      124, 127, shape, generator=generator, dtype=torch.uint8
    )
    with torch.no_grad():
      x.copy_(mxfp4.convert_moe_packed_tensors(
          blocks, scales, dtype=torch.float32
      ))  # fmt: skip
    stored[f'{name}_blocks'], stored[f'{name}_scales'] = blocks, scales
  return stored


def _save(model: transformers.PreTrainedModel, folder: pathlib.Path) -> None:
  stored = None
  if folder.name == _QUANTIZED:
    stored = _quantize(model, seed=8)
  ids = torch.randint(
    _VOCAB, (1, _PROMPT), generator=torch.Generator().manual_seed(3)
  )
  with torch.no_grad():
    logits = model(ids).logits[0].numpy()
    more = ids
    for _ in range(_NEW_TOKENS):
      best = model(more).logits[:, -1:].argmax(-1)
      more = torch.cat([more, best], dim=1)
  folder.mkdir(parents=True, exist_ok=True)
  np.savez_compressed(
    folder / 'golden.npz',
    ids=ids[0].numpy().astype(np.int32),
    logits=logits,
    greedy=more[0, _PROMPT:].numpy().astype(np.int32),
  )
  model.bfloat16().save_pretrained(folder)
  (folder / 'generation_config.json').unlink(missing_ok=True)
  if stored is not None:
    safetensors.save_file(stored, folder / 'model.safetensors')
    path = folder / 'config.json'
    config = json.loads(path.read_text())
    config['quantization_config'] = {'quant_method': 'mxfp4'}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + '\n')


def _save_mxfp4(path: pathlib.Path) -> None:
  generator = torch.Generator().manual_seed(0)
  blocks = torch.randint(
    256, (2, 3, 2, 16), generator=generator, dtype=torch.uint8
  )
  scales = torch.randint(100, 150, (2, 3, 2), generator=generator)
  scales = scales.to(torch.uint8)
  scales[0, 0] = torch.tensor([0, 251], dtype=torch.uint8)
  weight = mxfp4.convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
  np.savez_compressed(
    path, blocks=blocks.numpy(), scales=scales.numpy(), weight=weight.numpy()
  )


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError('Takes no arguments.')
  out = pathlib.Path(_OUT.value)
  for name, make in _MODELS.items():
    model = make().float().eval()
    _randomise(model, seed=7)
    _save(model, out / name)
  _save_mxfp4(out / 'mxfp4.npz')


if __name__ == '__main__':
  app.run(main)
