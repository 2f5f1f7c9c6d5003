"""Tokenizers of hub folders that have a `tokenizer.model` of SentencePiece."""

from __future__ import annotations

import dataclasses
from typing import Any

from google.protobuf import message
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from chatjax.text import hub_vocabulary
from chatjax.text import spm
from chatjax.text import tokenizer as tokenizer_lib
from chatjax.text import vocabulary

Kind = vocabulary.Kind
_Proto = model_pb2.ModelProto
_HIDDEN = (Kind.CONTROL, Kind.UNKNOWN)


def build(
  model: bytes, files: hub_vocabulary.Files, added_tokens: dict[str, Any]
) -> tokenizer_lib.Tokenizer:
  """The tokenizer of a folder.

  Args:
    model: what `tokenizer.model` holds.
    files: what the folder says besides; its `tokenizer` is left out.
    added_tokens: `added_tokens.json`, spelling to id.

  Raises:
    vocabulary.VocabularyError: a file that is damaged, or of another kind.
  """
  proto = _read(model)
  pieces = {i: piece.piece for i, piece in enumerate(proto.pieces)}
  files = dataclasses.replace(
    files,
    tokenizer={
      'model': {'byte_fallback': proto.trainer_spec.byte_fallback},
      'added_tokens': _added(proto),
    },
    tokenizer_config=_config(proto, files, added_tokens),
  )
  files = hub_vocabulary.with_decoder(files)
  added = hub_vocabulary.read_added(files, is_byte_level=False)
  vocab = hub_vocabulary.build(files, added, pieces)
  _rewrite(proto, vocab, {token.id for token in added})
  first = proto.SerializeToString()
  if not files.tokenizer_config.get('legacy', True):
    proto.normalizer_spec.add_dummy_prefix = False
  return tokenizer_lib.VocabularyTokenizer(
    vocab,
    spm.Codec(vocab, first, later=proto.SerializeToString()),
    strips=hub_vocabulary.strips(added),
  )


def _read(model: bytes) -> _Proto:
  try:
    proto = _Proto.FromString(model)
  except message.DecodeError:
    proto = _Proto()
  if not proto.pieces:
    raise vocabulary.VocabularyError(
      'tokenizer.model is not of SentencePiece; choose a folder that has a'
      ' tokenizer.json.'
    )
  return proto


def _added(proto: _Proto) -> list[dict[str, Any]]:
  """Pieces of the model that other files would call added."""
  return [
    {'id': i, 'content': piece.piece, 'special': piece.type in _HIDDEN}
    for i, piece in enumerate(proto.pieces)
    if piece.type in (*_HIDDEN, Kind.USER_DEFINED)
  ]


def _config(
  proto: _Proto, files: hub_vocabulary.Files, added_tokens: dict[str, Any]
) -> dict[str, Any]:
  """The tokenizer's config, with what holds where it does not say it."""
  trainer, usual = proto.trainer_spec, {'add_bos_token': True}
  for role in ('bos', 'eos', 'unk'):
    token_id = getattr(trainer, f'{role}_id')
    if 0 <= token_id < len(proto.pieces):
      usual[f'{role}_token'] = proto.pieces[token_id].piece
  named = files.tokenizer_config.get('added_tokens_decoder')
  decoder = {
    str(i): {'content': content} for content, i in added_tokens.items()
  } | (named if isinstance(named, dict) else {})
  return usual | dict(files.tokenizer_config, added_tokens_decoder=decoder)


def _rewrite(
  proto: _Proto, vocab: vocabulary.Vocabulary, added: set[int]
) -> None:
  """Brings a model's pieces to those of a vocabulary, its tags out of reach."""
  unknown_id = proto.trainer_spec.unk_id
  for i, spelled in enumerate(vocab.pieces):
    if i < len(proto.pieces):
      piece = proto.pieces[i]
    else:
      kind = Kind.USER_DEFINED if i in added else Kind.UNUSED
      piece = proto.pieces.add(type=kind, score=0.0)
    piece.piece = spelled.replace(' ', spm.SPACE) if i in added else spelled
    if i != unknown_id and spelled in vocab.special_ids:
      piece.type = Kind.CONTROL
