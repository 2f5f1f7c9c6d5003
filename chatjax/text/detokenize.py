"""Token ids to text as they come, in whole characters."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from collections.abc import Iterable


class Detokenizer:
  """Turns a stream of ids into text.

  All that `feed` and `flush` return, joined, is what decoding all bytes at
  once with errors='replace' gives. Bytes are held back only while they can
  still become a character, so at most three of them.
  """

  def __init__(self, token_bytes: Callable[[int], bytes]):
    """Starts a stream; `token_bytes` is that of the tokenizer."""
    self._token_bytes = token_bytes
    self._decoder = codecs.getincrementaldecoder('utf-8')(errors='replace')

  def feed(self, ids: Iterable[int]) -> str:
    """The characters that these ids complete."""
    text = self._decoder.decode(b''.join(map(self._token_bytes, ids)))
    held, _ = self._decoder.getstate()
    # Half of a surrogate pair never becomes a character, but Python's decoder
    # says so only one byte later.
    if held[:1] == b'\xed' and held[1:] >= b'\xa0':
      text += self.flush()
    return text

  def flush(self) -> str:
    """What the end of the stream leaves: U+FFFD for a cut character."""
    return self._decoder.decode(b'', final=True)
