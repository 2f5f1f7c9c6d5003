"""Makes tiny models of all dense families and what `transformers` says of them.

    python scripts/make_family_goldens.py --out=tests/models/families

Needs the `[parity]` extra. Each folder is laid out as on the hub, with random
weights; `golden.npz` beside them has a prompt, its logits and the tokens that
greedy decoding adds.
"""

from __future__ import annotations

from collections.abc import Callable
import pathlib

from absl import app
from absl import flags
import numpy as np
import torch
import transformers

_OUT = flags.DEFINE_string('out', None, 'Folder of goldens.', required=True)

_VOCAB, _PROMPT, _NEW_TOKENS = 128, 48, 16
_SIZES = {
  'vocab_size': _VOCAB,
  'hidden_size': 32,
  'intermediate_size': 48,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'max_position_embeddings': 256,
  'tie_word_embeddings': False,
  'bos_token_id': None,
  'eos_token_id': None,
  'pad_token_id': None,
}
# All stretch within a prompt of 48 tokens.
_LLAMA3 = {
  'rope_type': 'llama3', 'rope_theta': 500.0, 'factor': 4.0,
  'low_freq_factor': 1.0, 'high_freq_factor': 4.0,
  'original_max_position_embeddings': 64,
}  # fmt: skip
_YARN = {
  'rope_type': 'yarn', 'rope_theta': 1000.0, 'factor': 4.0,
  'beta_fast': 4.0, 'beta_slow': 1.0, 'original_max_position_embeddings': 64,
}  # fmt: skip
_LINEAR = {'rope_type': 'linear', 'rope_theta': 1000.0, 'factor': 4.0}
_LONG = {
  'rope_type': 'longrope', 'rope_theta': 1000.0,
  'partial_rotary_factor': 0.75,
  'short_factor': [1.0, 1.1, 1.3, 1.7, 2.0, 2.5],
  'long_factor': [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
}  # fmt: skip


def _llama() -> transformers.PreTrainedModel:
  config = transformers.LlamaConfig(**_SIZES, rope_parameters=_LLAMA3)
  return transformers.LlamaForCausalLM(config)


def _smollm2() -> transformers.PreTrainedModel:
  config = transformers.LlamaConfig(
    **(_SIZES | {'tie_word_embeddings': True, 'num_key_value_heads': 4}),
    rope_parameters={'rope_type': 'default', 'rope_theta': 1e5},
  )
  return transformers.LlamaForCausalLM(config)


def _qwen2() -> transformers.PreTrainedModel:
  return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**_SIZES))


def _qwen2_windows() -> transformers.PreTrainedModel:
  config = transformers.Qwen2Config(
    **(_SIZES | {'tie_word_embeddings': True}), rope_parameters=_YARN,
    use_sliding_window=True, sliding_window=20, max_window_layers=1,
  )  # fmt: skip
  return transformers.Qwen2ForCausalLM(config)


def _qwen3() -> transformers.PreTrainedModel:
  config = transformers.Qwen3Config(
    **(_SIZES | {'tie_word_embeddings': True}), head_dim=16
  )
  return transformers.Qwen3ForCausalLM(config)


def _mistral(window: int | None) -> transformers.PreTrainedModel:
  config = transformers.MistralConfig(
    **_SIZES, sliding_window=window, head_dim=16
  )
  return transformers.MistralForCausalLM(config)


def _gemma2() -> transformers.PreTrainedModel:
  config = transformers.Gemma2Config(
    **(_SIZES | {'tie_word_embeddings': True}), head_dim=16,
    sliding_window=20, query_pre_attn_scalar=24, attn_logit_softcapping=2.0,
    final_logit_softcapping=3.0,
  )  # fmt: skip
  return transformers.Gemma2ForCausalLM(config)


def _gemma3_text() -> transformers.Gemma3TextConfig:
  return transformers.Gemma3TextConfig(
    **(_SIZES | {'tie_word_embeddings': True}), head_dim=16,
    sliding_window=20, query_pre_attn_scalar=24,
    layer_types=['sliding_attention', 'full_attention', 'sliding_attention'],
    rope_parameters={
      'full_attention': _LINEAR,
      'sliding_attention': {'rope_type': 'default', 'rope_theta': 100.0},
    },
  )  # fmt: skip


def _gemma3() -> transformers.PreTrainedModel:
  return transformers.Gemma3ForCausalLM(_gemma3_text())


def _gemma3_multimodal() -> transformers.PreTrainedModel:
  vision = transformers.SiglipVisionConfig(
    hidden_size=8, intermediate_size=8, num_hidden_layers=1,
    num_attention_heads=1, image_size=16, patch_size=8,
  )  # fmt: skip
  config = transformers.Gemma3Config(
    text_config=_gemma3_text(), vision_config=vision, mm_tokens_per_image=1,
    boi_token_index=101, eoi_token_index=102, image_token_index=103,
  )  # fmt: skip
  return transformers.Gemma3ForConditionalGeneration(config)


def _smollm3() -> transformers.PreTrainedModel:
  config = transformers.SmolLM3Config(
    **(_SIZES | {'tie_word_embeddings': True}), no_rope_layer_interval=2,
    rope_parameters={'rope_type': 'default', 'rope_theta': 1e4},
  )  # fmt: skip
  return transformers.SmolLM3ForCausalLM(config)


def _olmo2() -> transformers.PreTrainedModel:
  return transformers.Olmo2ForCausalLM(transformers.Olmo2Config(**_SIZES))


def _phi3() -> transformers.PreTrainedModel:
  config = transformers.Phi3Config(**_SIZES, sliding_window=20)
  return transformers.Phi3ForCausalLM(config)


def _phi4_mini() -> transformers.PreTrainedModel:
  config = transformers.Phi3Config(
    **(_SIZES | {'hidden_size': 64, 'tie_word_embeddings': True}),
    rope_parameters=_LONG, original_max_position_embeddings=64,
  )  # fmt: skip
  return transformers.Phi3ForCausalLM(config)


_MODELS: dict[str, Callable[[], transformers.PreTrainedModel]] = {
  'llama': _llama,
  'smollm2': _smollm2,
  'qwen2': _qwen2,
  'qwen2_windows': _qwen2_windows,
  'qwen3': _qwen3,
  'mistral': lambda: _mistral(None),
  'mistral_window': lambda: _mistral(20),
  'gemma2': _gemma2,
  'gemma3': _gemma3,
  'gemma3_multimodal': _gemma3_multimodal,
  'smollm3': _smollm3,
  'olmo2': _olmo2,
  'phi3': _phi3,
  'phi4_mini': _phi4_mini,
}


def _randomise(model: transformers.PreTrainedModel, seed: int) -> None:
  """No ones and zeros that something could hide behind; all fit bfloat16."""
  generator = torch.Generator().manual_seed(seed)
  less_one = model.config.model_type.startswith('gemma')
  with torch.no_grad():
    for name, x in model.named_parameters():
      draw = torch.randn(x.shape, generator=generator)
      if 'norm' in name:
        draw = 0.2 * draw + (not less_one)
      elif name.endswith('bias'):
        draw = 0.5 * draw
      elif 'embed_tokens' not in name:
        draw *= 1.5 * x.shape[-1] ** -0.5
      x.copy_(draw.bfloat16())


def _save(model: transformers.PreTrainedModel, folder: pathlib.Path) -> None:
  ids = torch.randint(
    100, (1, _PROMPT), generator=torch.Generator().manual_seed(3)
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


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError('Takes no arguments.')
  out = pathlib.Path(_OUT.value)
  for name, make in _MODELS.items():
    model = make().float().eval()
    _randomise(model, seed=7)
    _save(model, out / name)


if __name__ == '__main__':
  app.run(main)
