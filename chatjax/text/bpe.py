"""Byte-level BPE (GPT-2's kind) on the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tokenizers
from tokenizers import models
from tokenizers import normalizers
from tokenizers import pre_tokenizers

from chatjax.text import vocabulary

Kind = vocabulary.Kind

# How text is cut before merging; merges never cross a cut. The patterns are
# those of the published tokenizers and differ in how digits stand together.
_WORDS = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS"
  r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
_QWEN = _WORDS.replace('DIGITS', r'\p{N}')
# Mistral's from Nemo on: a capital within a word begins another one.
_TEKKEN = (
  r'[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*'
  r'[\p{Ll}\p{Lm}\p{Lo}\p{M}]+'
  r'|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+'
  r'[\p{Ll}\p{Lm}\p{Lo}\p{M}]*'
  r'|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
_PATTERNS = {
  # DeepSeek's distills of Qwen: cut alike, without its normal form.
  'deepseek-r1-qwen': _QWEN,
  'qwen2': _QWEN,
  'llama-bpe': _WORDS.replace('DIGITS', r'\p{N}{1,3}'),
  'tekken': _TEKKEN,
}
# Other names for the same.
_ALIASES = {
  'llama3': 'llama-bpe', 'llama-v3': 'llama-bpe', 'falcon3': 'llama-bpe',
  'phi-2': 'gpt-2', 'refact': 'smollm', 'starcoder': 'smollm',
}  # fmt: skip
_PRE_NAMES = (*_PATTERNS, 'gpt-2', 'smollm', *_ALIASES)
# Prompts begin with BOS where files do not say it, and a word that is in the
# vocabulary is taken whole.
_WHOLE = ('llama-bpe', 'tekken')


def read_vocabulary(metadata: Mapping[str, Any]) -> vocabulary.Vocabulary:
  return vocabulary.from_gguf(
    metadata,
    has_markup=False,
    add_bos=_pre(metadata) in _WHOLE,
  )


class Codec:
  """Encodes ordinary text and knows the bytes of each token.

  A byte for which the vocabulary has no token (SmolLM2 lacks some control
  characters) is left out, as the published tokenizer does.
  """

  def __init__(self, vocab: vocabulary.Vocabulary, metadata: Mapping[str, Any]):
    self._pieces = vocab.pieces
    self._kinds = vocab.kinds
    self._tokenizer = _build(vocab, metadata)

  def encode(self, text: str) -> list[int]:
    return self._tokenizer.encode(text, add_special_tokens=False).ids

  def encode_later(self, text: str) -> list[int]:
    """Ids of text that follows a special token: the same as of any other."""
    return self.encode(text)

  def token_bytes(self, token_id: int) -> bytes:
    piece = self._pieces[token_id]
    if self._kinds[token_id] == Kind.NORMAL:
      return bytes_of(piece)
    return piece.encode()


def _build(
  vocab: vocabulary.Vocabulary, metadata: Mapping[str, Any]
) -> tokenizers.Tokenizer:
  # No special pieces: no text can then become one of them.
  ids = {vocab.pieces[i]: i for i in vocab.ids_of(Kind.NORMAL)}
  _check_alphabet(ids)
  words = {
    vocab.pieces[i]: i
    for i in vocab.ids_of(Kind.USER_DEFINED)
    if vocab.pieces[i] not in vocab.special_ids
  }
  ids = words | ids
  try:
    model = models.BPE(
      vocab=ids, merges=merges(metadata), ignore_merges=takes_words(metadata)
    )
  except Exception as error:  # noqa: BLE001 - the library raises nothing finer
    raise vocabulary.VocabularyError(
      f'The merges do not fit the vocabulary: {error}.'
    ) from None
  tokenizer = tokenizers.Tokenizer(model)
  normalizer, tokenizer.pre_tokenizer = pipeline(metadata)
  if normalizer is not None:
    tokenizer.normalizer = normalizer
  # Runs of spaces and other words, which are taken before all else. They get
  # the ids that they have in the model.
  tokenizer.add_tokens(
    [tokenizers.AddedToken(word, normalized=False) for word in words]
  )
  return tokenizer


def takes_words(metadata: Mapping[str, Any]) -> bool:
  """Whether a whole word of the vocabulary is taken as it is (Llama 3)."""
  return _pre(metadata) in _WHOLE


def pipeline(
  metadata: Mapping[str, Any],
) -> tuple[normalizers.Normalizer | None, pre_tokenizers.PreTokenizer]:
  """What happens to a text before it is merged."""
  pre = _pre(metadata)
  normalizer = normalizers.NFC() if pre == 'qwen2' else None
  return normalizer, _pre_tokenizer(pre)


def _pre(metadata: Mapping[str, Any]) -> str:
  pre = str(metadata.get('tokenizer.ggml.pre'))
  return _ALIASES.get(pre, pre)


def _check_alphabet(ids: Mapping[str, int]) -> None:
  if strange := set(''.join(ids)) - set(_BYTES):
    raise vocabulary.VocabularyError(
      f'The vocabulary is not byte-level BPE: it has {sorted(strange)[:5]}.'
    )


def merges(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
  """Pairs of pieces, the most important first."""
  written = metadata.get('tokenizer.ggml.merges')
  if written is None:
    raise vocabulary.VocabularyError('The file has no tokenizer.ggml.merges.')
  pairs = [tuple(str(merge).split(' ')) for merge in written]
  if wrong := [pair for pair in pairs if len(pair) != 2]:
    raise vocabulary.VocabularyError(
      f'{" ".join(wrong[0])!r} is not a merge of two pieces.'
    )
  return pairs


def _pre_tokenizer(pre: str) -> pre_tokenizers.PreTokenizer:
  if pre in _PATTERNS:
    cut = pre_tokenizers.Split(
      tokenizers.Regex(_PATTERNS[pre]), behavior='isolated'
    )
    return pre_tokenizers.Sequence([cut, _byte_level(use_regex=False)])
  if pre == 'smollm':
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, _byte_level(use_regex=True)])
  if pre == 'gpt-2':
    return _byte_level(use_regex=True)
  raise vocabulary.VocabularyError(
    f'tokenizer.ggml.pre is {pre!r}; supported are {list(_PRE_NAMES)}. '
    'Another way to cut words would give wrong ids.'
  )


def _byte_level(*, use_regex: bool) -> pre_tokenizers.ByteLevel:
  return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def _byte_alphabet() -> dict[str, int]:
  """GPT-2's letter for each byte: printable ones as they are."""
  printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
  others = [byte for byte in range(256) if byte not in printable]
  letters = {chr(byte): byte for byte in printable}
  return letters | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_alphabet()


def bytes_of(piece: str) -> bytes:
  """What a piece stands for: itself, if it has other letters."""
  try:
    return bytes(map(_BYTES.__getitem__, piece))
  except KeyError:
    return piece.encode()
