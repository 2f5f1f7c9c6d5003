"""A tokenizer whose tokens are the 256 bytes, then BOS and EOS."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import types
from typing import Any

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
  """`role: content` lines after a BOS."""

  def encode(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
    lines = [f'{message["role"]}: {message["content"]}' for message in messages]
    return [BOS, *'\n'.join(lines).encode()]
