"""Bytes of tokens to text as they come, in whole characters."""

from __future__ import annotations

import codecs


class Detokenizer:
  """Turns a stream of bytes into text.

  All that `feed` and `flush` return, joined, is what decoding all bytes at
  once with errors='replace' gives. Bytes are held back only while they can
  still become a character, so at most three of them.
  """

  def __init__(self):
    self._decoder = codecs.getincrementaldecoder('utf-8')(errors='replace')

  @property
  def is_open(self) -> bool:
    """Whether bytes are held back."""
    return bool(self._decoder.getstate()[0])

  def feed(self, data: bytes) -> str:
    """The characters that these bytes complete."""
    text = self._decoder.decode(data)
    held, _ = self._decoder.getstate()
    # Half of a surrogate pair never becomes a character, but Python's decoder
    # says so only one byte later.
    if held[:1] == b'\xed' and held[1:] >= b'\xa0':
      text += self.flush()
    return text

  def flush(self) -> str:
    """What the end of the stream leaves: U+FFFD for a cut character."""
    return self._decoder.decode(b'', final=True)
