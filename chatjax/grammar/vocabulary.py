"""A tokenizer's tokens as llguidance wants them."""

from __future__ import annotations

from collections.abc import Sequence

import llguidance

from chatjax.text import tokenizer as tokenizer_lib


class _Wrapper:
  """The attributes that llguidance reads from a tokenizer object."""

  is_tokenizer_wrapper = True
  _accepts_bytes = False

  def __init__(self, tokenizer: tokenizer_lib.Tokenizer, num_tokens: int):
    special = tokenizer.control_ids | set(tokenizer.special_ids.values())
    self.eos_ids = sorted(i for i in tokenizer.eos_ids if i < num_tokens)
    self.eos_token_id = self.eos_ids[0]
    self.bos_token_id = tokenizer.bos_id
    self.special_token_ids = sorted(i for i in special if i < num_tokens)
    # A special token goes by its spelling: llguidance marks its bytes, so that
    # no ordinary text matches them and a grammar can name it.
    self.tokens = [
      tokenizer.spelling(i).encode()
      if i in special
      else tokenizer.token_bytes(i)
      for i in range(num_tokens)
    ]
    self._tokenizer = tokenizer

  def __call__(self, text: str) -> Sequence[int]:
    return self._tokenizer.encode(text)


def build(
  tokenizer: tokenizer_lib.Tokenizer, num_tokens: int
) -> llguidance.LLTokenizer:
  """The first `num_tokens` tokens of a tokenizer.

  Takes most of a second for 150,000 tokens.
  """
  wrapper = _Wrapper(tokenizer, num_tokens)
  return llguidance.LLTokenizer(
    wrapper, n_vocab=num_tokens, eos_token=wrapper.eos_ids
  )
