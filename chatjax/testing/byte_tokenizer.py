"""A tokenizer whose tokens are the 256 bytes, then BOS and EOS."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import json
import types
from typing import Any

from chatjax.chat import format as format_lib

BOS = 256
EOS = 257


class ByteTokenizer:
  """Small enough to reason about in a test; splits every wide character."""

  vocab_size = 258
  bos_id = BOS
  add_bos = True
  eos_ids = frozenset({EOS})
  special_ids = types.MappingProxyType({'<bos>': BOS, '<eos>': EOS})
  control_ids = frozenset({BOS, EOS})

  def encode(self, text: str) -> list[int]:
    return list(text.encode())

  def encode_later(self, text: str) -> list[int]:
    return self.encode(text)

  def encode_template(self, text: str, *, mark: str = '') -> list[int]:
    """Knows no special spellings: `ByteChatFormat` places BOS itself."""
    return self.encode(text.replace(mark, '') if mark else text)

  def token_bytes(self, token_id: int) -> bytes:
    return bytes([token_id]) if token_id < BOS else b''

  def spelling(self, token_id: int) -> str:
    if token_id < BOS:
      return f'<0x{token_id:02X}>'
    return '<bos>' if token_id == BOS else '<eos>'

  def decode(self, ids: Iterable[int]) -> str:
    return b''.join(map(self.token_bytes, ids)).decode(errors='replace')


class ByteChatFormat:
  """`role: content` lines after a BOS; tools and variables in front of them.

  Attributes:
    opening: what the generation prompt adds.
  """

  variables = frozenset({'enable_thinking'})

  def __init__(self, *, template_source: str = '', opening: str = ''):
    self.template_source = template_source
    self.opening = opening

  def prompt(
    self,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    tools: Sequence[Mapping[str, Any]] | None = None,
    **kwargs: Any,
  ) -> format_lib.Prompt:
    lines = [json.dumps(tool, sort_keys=True) for tool in tools or ()]
    lines += [f'{name}={value}' for name, value in sorted(kwargs.items())]
    lines += [f'{one["role"]}: {one["content"]}' for one in messages]
    text = '\n'.join(lines)
    if add_generation_prompt and not continue_final_message:
      text += self.opening
    return format_lib.Prompt(text, (BOS, *text.encode()))

  def encode(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
    return list(self.prompt(messages).token_ids)
