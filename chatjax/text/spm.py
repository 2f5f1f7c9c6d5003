"""SentencePiece (Gemma, Llama 2), its model rebuilt from a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from chatjax.text import vocabulary

Kind = vocabulary.Kind

# SentencePiece writes a space as this letter, GGUF keeps some as spaces.
SPACE = '\u2581'


def read_vocabulary(metadata: Mapping[str, Any]) -> vocabulary.Vocabulary:
  return vocabulary.from_gguf(metadata, has_markup=True, add_bos=True)


class Codec:
  """Encodes ordinary text and knows the bytes of each token."""

  def __init__(
    self, vocab: vocabulary.Vocabulary, model: bytes, later: bytes | None = None
  ):
    """Loads the library's models.

    Args:
      vocab: pieces and their kinds.
      model: serialized.
      later: the one for text that follows a special token, if it is another.

    Raises:
      vocabulary.VocabularyError: the library does not take them.
    """
    self._pieces = vocab.pieces
    self._kinds = vocab.kinds
    self._first = self._later = _load(model)
    if later not in (None, model):
      self._later = _load(later)

  def encode(self, text: str) -> list[int]:
    return self._first.encode(text)

  def encode_later(self, text: str) -> list[int]:
    """Ids of text that follows a special token."""
    return self._later.encode(text)

  def token_bytes(self, token_id: int) -> bytes:
    piece = self._pieces[token_id]
    if self._kinds[token_id] == Kind.BYTE:
      return bytes([int(piece[3:5], 16)])  # spelled <0x0A>
    return piece.replace(SPACE, ' ').encode()


def _load(model: bytes) -> sentencepiece.SentencePieceProcessor:
  processor = sentencepiece.SentencePieceProcessor()
  try:
    processor.LoadFromSerializedProto(model)
  except RuntimeError as error:
    raise vocabulary.VocabularyError(
      f'SentencePiece cannot use the vocabulary: {str(error)[:200]}.'
    ) from None
  return processor


def model_of(
  vocab: vocabulary.Vocabulary, metadata: Mapping[str, Any]
) -> bytes:
  """The library's model, rebuilt from GGUF metadata."""
  proto = model_pb2.ModelProto()
  unknown_id = _unknown_id(vocab, metadata)
  scores = _scores(vocab, metadata)
  _check_bytes(vocab)
  for i, piece in enumerate(vocab.pieces):
    proto.pieces.add(
      piece=piece.replace(' ', SPACE),
      score=scores[i],
      type=Kind.UNKNOWN if i == unknown_id else _kind(vocab, i),
    )
  trainer = proto.trainer_spec
  trainer.model_type = model_pb2.TrainerSpec.BPE
  trainer.byte_fallback = True
  trainer.unk_id = unknown_id
  # The default normalizer would fold characters; these models take all.
  normalizer = proto.normalizer_spec
  normalizer.name = 'identity'
  normalizer.remove_extra_whitespaces = False
  normalizer.escape_whitespaces = True
  normalizer.add_dummy_prefix = bool(
    metadata.get('tokenizer.ggml.add_space_prefix', True)
  )
  return proto.SerializeToString()


def _kind(vocab: vocabulary.Vocabulary, token_id: int) -> Kind:
  """A piece's type for the library, which puts no control piece into text."""
  is_special = vocab.pieces[token_id] in vocab.special_ids
  return Kind.CONTROL if is_special else vocab.kinds[token_id]


def _unknown_id(
  vocab: vocabulary.Vocabulary, metadata: Mapping[str, Any]
) -> int:
  """SentencePiece wants exactly one unknown piece; files may call it control.

  With all bytes in the vocabulary it is never used.
  """
  ids = vocab.ids_of(Kind.UNKNOWN)
  if len(ids) > 1:
    raise vocabulary.VocabularyError(
      f'The file has {len(ids)} unknown pieces; there may be one.'
    )
  unknown_id = int(
    ids[0] if ids else metadata.get('tokenizer.ggml.unknown_token_id', -1)
  )
  hidden = unknown_id in vocab.control_ids
  if not hidden:
    raise vocabulary.VocabularyError(
      'The file names no unknown piece, neither by its type nor by a '
      'tokenizer.ggml.unknown_token_id of a control piece.'
    )
  return unknown_id


def _scores(
  vocab: vocabulary.Vocabulary, metadata: Mapping[str, Any]
) -> list[float]:
  scores = metadata.get('tokenizer.ggml.scores')
  if scores is None or len(scores) != len(vocab.pieces):
    found = 'no' if scores is None else len(scores)
    raise vocabulary.VocabularyError(
      f'The file has {len(vocab.pieces)} tokens but {found} scores.'
    )
  return [float(score) for score in scores]


def _check_bytes(vocab: vocabulary.Vocabulary) -> None:
  spelled = {vocab.pieces[i] for i in vocab.ids_of(Kind.BYTE)}
  if spelled != {f'<0x{byte:02X}>' for byte in range(256)}:
    raise vocabulary.VocabularyError(
      f'The file has {len(spelled)} byte pieces; all of <0x00> to <0xFF> are '
      'needed, or some texts could not be encoded.'
    )
