"""Texts drawn at random under a constraint, and the tokenizers they are of."""

import functools
import random

import numpy as np

from chatjax import types
from chatjax.grammar import bits
from chatjax.grammar import compiler as compiler_lib
from chatjax.testing import byte_tokenizer
from chatjax.testing import vocabularies
from chatjax.text import tokenizer as tokenizer_lib

BYTES = byte_tokenizer.ByteTokenizer()
# JSON in pieces that cross every border of its grammar.
_PIECES = (
  '" :', '", "', '": "', '": ', ', "', '{"', '"}', '}}', '}, {', '[1', '], ',
  'true', 'false', 'null', ' {', '[]', '{}', '12', '-0', '.5', 'e-', '\\n',
  '> ', '>x', '/think', '</', 'nk>', 'nk>a', '  ', '\n\n', '": {"', '["', 'é"',
)  # fmt: skip


@functools.cache
def merging() -> tokenizer_lib.Tokenizer:
  """A byte-level BPE with special tokens and pieces of JSON."""
  metadata = vocabularies.bpe_metadata()
  tokens = metadata['tokenizer.ggml.tokens']
  spelled = [_spelled(piece) for piece in _PIECES]
  new = [piece for piece in dict.fromkeys(spelled) if piece not in tokens]
  metadata['tokenizer.ggml.tokens'] = [*tokens, *new]
  metadata['tokenizer.ggml.token_type'] = [
    *metadata['tokenizer.ggml.token_type'],
    *[1] * len(new),
  ]
  return tokenizer_lib.from_gguf(metadata)


def _spelled(piece: str) -> str:
  """As byte-level BPE writes it."""
  letters = {0x20: 'Ġ', 0x0A: 'Ċ', 0xC3: 'Ã', 0xA9: '©'}
  return ''.join(letters.get(byte, chr(byte)) for byte in piece.encode())


@functools.cache
def compiler(tokenizer) -> compiler_lib.Compiler:
  return compiler_lib.Compiler(tokenizer)


def compiled(source, tokenizer=BYTES, *, kind='json_schema', is_strict=False):
  return compiler(tokenizer).compile(
    types.Grammar(
      kind=kind, source=source, is_strict=is_strict, param='response_format'
    )
  )


def mask_of(constraint, num_words):
  mask_GW = np.zeros((1, num_words), np.uint32)
  assert constraint.masks((), mask_GW) == 0
  return mask_GW[0]


def ids_of(mask_W):
  return np.flatnonzero(np.unpackbits(mask_W.view(np.uint8), bitorder='little'))


def allowed(constraint, tokenizer) -> list[int]:
  words = bits.num_words(tokenizer.vocab_size)
  return ids_of(mask_of(constraint, words)).tolist()


def spells(compiled_grammar, text: str, tokenizer=BYTES) -> bool:
  """Whether a text is one of the grammar's, by the tokenizer's own ids."""
  matcher = compiled_grammar.matcher()
  for token in tokenizer.encode(text):
    if token not in allowed(matcher, tokenizer):
      return False
    matcher.advance([token])
  return matcher.is_complete


def walk(matcher, tokenizer, seed: int, *, steps: int = 600) -> str | None:
  """Draws allowed tokens until the end; None if it does not come.

  What closes is liked the more, the longer the text: so that it ends.
  """
  rng, ids = random.Random(seed), []
  closing = [t for x in '"}]' for t in tokenizer.encode(x)]
  for step in range(steps):
    choices = allowed(matcher, tokenizer)
    assert choices, tokenizer.decode(ids)
    if ends := tokenizer.eos_ids.intersection(choices):
      if len(ends) == len(choices) or rng.random() < 0.5:
        return tokenizer.decode(ids)
      choices = [x for x in choices if x not in ends]
    plain = [x for x in tokenizer.encode('abz') if x in choices]
    if plain and rng.random() < 0.3:
      choices = plain
    liked = [x for x in closing if x in choices]
    if liked and rng.random() < 0.1 + step / 100:
      choices = liked
    token = rng.choice(choices)
    matcher.advance([token])
    ids.append(token)
  return None
