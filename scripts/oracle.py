"""The oracle: a GGUF file's own numbers in `transformers`, float32, CPU.

Every tensor is dequantized here and put into a model built from the file's
metadata. `transformers` has a GGUF loader of its own; going around it leaves
no doubt about what an oracle's logits came from (permuted rows, tied or
untied head, norms with the 1 already added), and it opens a file in a second.

Needs the `[parity]` extra and nothing of chatjax, so that a slip in our own
reader cannot hide in both sides of a comparison.
"""

from __future__ import annotations

import re
import struct
from typing import Any

import gguf
from gguf import quants
import numpy as np
import torch
import transformers

_STRING = gguf.GGUFValueType.STRING

# GGUF name of a tensor -> the name of the same tensor in `transformers`.
_TOP = {
  'token_embd.weight': 'model.embed_tokens.weight',
  'output_norm.weight': 'model.norm.weight',
  'output.weight': 'lm_head.weight',
}
_BLOCK = {
  'attn_norm': 'input_layernorm',
  'attn_q': 'self_attn.q_proj',
  'attn_k': 'self_attn.k_proj',
  'attn_v': 'self_attn.v_proj',
  'attn_output': 'self_attn.o_proj',
  'attn_q_norm': 'self_attn.q_norm',
  'attn_k_norm': 'self_attn.k_norm',
  'ffn_norm': 'post_attention_layernorm',
  'ffn_gate': 'mlp.gate_proj',
  'ffn_up': 'mlp.up_proj',
  'ffn_down': 'mlp.down_proj',
}
_GEMMA_BLOCK = _BLOCK | {
  'ffn_norm': 'pre_feedforward_layernorm',
  'post_attention_norm': 'post_attention_layernorm',
  'post_ffw_norm': 'post_feedforward_layernorm',
}


class Reader(gguf.GGUFReader):
  """A GGUF reader that takes each array of the header in one go.

  The parent makes several numpy objects per entry: 20 s for a vocabulary.
  """

  def _get_field_parts(self, orig_offs: int, raw_type: int):
    if raw_type != gguf.GGUFValueType.ARRAY:
      return super()._get_field_parts(orig_offs, raw_type)
    kind, count = struct.unpack_from('<IQ', self.data, orig_offs)
    offset = orig_offs + 12
    if kind == _STRING:
      part, offset = self._strings(offset, count)
    else:
      dtype = np.dtype(self.gguf_scalar_to_np[gguf.GGUFValueType(kind)])
      part = np.frombuffer(self.data, dtype, count, offset)
      offset += part.nbytes
    types = [gguf.GGUFValueType.ARRAY, gguf.GGUFValueType(kind)]
    return offset - orig_offs, [part], [0], types

  def _strings(self, offset: int, count: int) -> tuple[np.ndarray, int]:
    strings = []
    for _ in range(count):
      (size,) = struct.unpack_from('<Q', self.data, offset)
      start = offset + 8
      strings.append(self.data[start : start + size].tobytes().decode())
      offset = start + size
    return np.array(strings, dtype=object), offset

  def value(self, key: str, default: Any = None) -> Any:
    """A metadata value: a scalar, a string, or a list."""
    field = self.fields.get(key)
    if field is None:
      return default
    is_array = field.types[0] == gguf.GGUFValueType.ARRAY
    return field.parts[-1].tolist() if is_array else field.contents()


def _sizes(reader: Reader, arch: str) -> dict[str, Any]:
  """The config fields that all three families share."""
  heads = reader.value(f'{arch}.attention.head_count')
  width = reader.value(f'{arch}.embedding_length')
  return {
    'vocab_size': len(reader.value('tokenizer.ggml.tokens')),
    'hidden_size': width,
    'intermediate_size': reader.value(f'{arch}.feed_forward_length'),
    'num_hidden_layers': reader.value(f'{arch}.block_count'),
    'num_attention_heads': heads,
    'num_key_value_heads': reader.value(f'{arch}.attention.head_count_kv'),
    'head_dim': reader.value(f'{arch}.attention.key_length', width // heads),
    'max_position_embeddings': reader.value(f'{arch}.context_length'),
    'rms_norm_eps': reader.value(f'{arch}.attention.layer_norm_rms_epsilon'),
    'tie_word_embeddings': all(
      tensor.name != 'output.weight' for tensor in reader.tensors
    ),
  }


def config(reader: Reader) -> transformers.PreTrainedConfig:
  """Builds the config of a file's architecture from its metadata.

  Raises:
    ValueError: an architecture that this oracle does not know.
  """
  arch = reader.value('general.architecture')
  sizes = _sizes(reader, arch)
  rope = {
    'rope_type': 'default',
    'rope_theta': reader.value(f'{arch}.rope.freq_base'),
  }
  if arch == 'qwen2':
    del sizes['head_dim']  # always hidden_size / heads there
    return transformers.Qwen2Config(rope_parameters=rope, **sizes)
  if arch == 'llama':
    return transformers.LlamaConfig(rope_parameters=rope, **sizes)
  if arch == 'gemma3':
    # The file names neither the local base nor the pattern of layers nor the
    # activation: they are constants of the architecture (the config's
    # defaults say every 6th layer global, tanh gelu, local base 10,000).
    local = {'rope_type': 'default', 'rope_theta': 10_000.0}
    return transformers.Gemma3TextConfig(
      sliding_window=reader.value('gemma3.attention.sliding_window'),
      query_pre_attn_scalar=sizes['head_dim'],
      rope_parameters={'full_attention': rope, 'sliding_attention': local},
      **sizes,
    )
  raise ValueError(
    f'Unknown architecture {arch!r}; the oracle has qwen2, llama and gemma3.'
  )


def _hf_name(name: str, arch: str) -> str:
  if name in _TOP:
    return _TOP[name]
  layer, part, kind = re.fullmatch(
    r'blk\.(\d+)\.(\w+)\.(weight|bias)', name
  ).groups()
  table = _GEMMA_BLOCK if arch == 'gemma3' else _BLOCK
  return f'model.layers.{layer}.{table[part]}.{kind}'


def _unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
  """Interleaved rope rows back to half-split ones: [heads * H, D]."""
  half = weight.shape[0] // heads // 2
  pairs = weight.reshape(heads, half, 2, weight.shape[1])
  return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weight.shape)


def tensors(reader: Reader) -> dict[str, torch.Tensor]:
  """All tensors of a file, float32, named and laid out as in transformers."""
  arch = reader.value('general.architecture')
  heads = {
    'attn_q': reader.value(f'{arch}.attention.head_count'),
    'attn_k': reader.value(f'{arch}.attention.head_count_kv'),
  }
  out = {}
  for tensor in reader.tensors:
    array = quants.dequantize(tensor.data, tensor.tensor_type)
    array = np.array(array, dtype=np.float32)  # a writable copy
    part = tensor.name.split('.')[-2]
    if arch == 'llama' and part in heads:
      array = _unpermute(array, heads[part])
    if arch == 'gemma3' and part.endswith('norm'):
      array -= np.float32(1)
    out[_hf_name(tensor.name, arch)] = torch.from_numpy(array)
  return out


def load(
  path: str, *, attention: str = 'eager'
) -> transformers.PreTrainedModel:
  """Loads a GGUF file as a float32 model.

  Args:
    path: the file.
    attention: `eager` is plain arithmetic, `sdpa` is torch's fast one.
  """
  reader = Reader(path)
  model = transformers.AutoModelForCausalLM.from_config(
    config(reader), dtype=torch.float32, attn_implementation=attention
  )
  state = tensors(reader)
  if model.config.tie_word_embeddings:
    state['lm_head.weight'] = state['model.embed_tokens.weight']
  model.load_state_dict(state, strict=True, assign=True)
  model.tie_weights()
  return model.eval()
