"""A small byte-level BPE vocabulary in the shape of GGUF metadata."""

from __future__ import annotations

from typing import Any

from tokenizers import pre_tokenizers

_MERGES = (
  'h e', 'l l', 'he ll', 'hell o', 'Ġ w', 'o r', 'Ġw or', 'l d', 'Ġwor ld',
  'i m', '< |', '| >', '_ s', 't a', 'r t', 'ta rt', 'Ã ©',
)  # fmt: skip
_CONTROL = ('<|endoftext|>', '<|im_start|>', '<|im_end|>')
_TAGS = ('<tool_call>', '</tool_call>')
_UNUSED = ('[PAD0]',)

CHATML = (
  '{% for message in messages %}'
  "{{ '<|im_start|>' + message.role + '\\n' + message.content }}"
  "{{ '<|im_end|>\\n' }}"
  '{% endfor %}'
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def bpe_metadata(**changes: Any) -> dict[str, Any]:
  """All bytes, a few merges, ChatML's tokens, tool tags and padding.

  Args:
    **changes: values by key, `tokenizer.ggml.` left out.
  """
  letters = sorted(pre_tokenizers.ByteLevel.alphabet())
  normal = [*letters, *(merge.replace(' ', '') for merge in _MERGES)]
  values = {
    'model': 'gpt2',
    'pre': 'qwen2',
    'tokens': [*normal, *_CONTROL, *_TAGS, *_UNUSED],
    'token_type': (
      [1] * len(normal)
      + [3] * len(_CONTROL)
      + [4] * len(_TAGS)
      + [5] * len(_UNUSED)
    ),
    'merges': list(_MERGES),
    'bos_token_id': len(normal),
    'eos_token_id': len(normal) + len(_CONTROL) - 1,
    'add_bos_token': False,
  }
  return {f'tokenizer.ggml.{k}': v for k, v in (values | changes).items()}
