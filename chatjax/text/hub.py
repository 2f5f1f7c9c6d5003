"""Tokenizers of hub folders: `tokenizer.json` on the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Mapping
import json
from typing import Any

import tokenizers

from chatjax.text import bpe
from chatjax.text import hub_vocabulary
from chatjax.text import tokenizer as tokenizer_lib
from chatjax.text import vocabulary

Files = hub_vocabulary.Files
with_roles = hub_vocabulary.with_roles
VocabularyError = vocabulary.VocabularyError

_SPACE = '\u2581'  # how SentencePiece writes a space
_KINDS = ('BPE', 'Unigram')
_OTHER_TOKENS = frozenset(
  f'{name}_token' for name in ('cls', 'mask', 'pad', 'sep', 'unk')
)


def build(files: Files) -> tokenizer_lib.Tokenizer:
  """The tokenizer of a folder.

  Raises:
    VocabularyError: a kind that cannot be run, or a file that is damaged.
  """
  model = files.tokenizer.get('model')
  if not isinstance(model, Mapping) or model.get('type', 'BPE') not in _KINDS:
    kind = model.get('type') if isinstance(model, Mapping) else model
    raise VocabularyError(
      f'tokenizer.json holds a {str(kind)[:50]!r} model; supported are'
      f' {", ".join(_KINDS)}.'
    )
  is_byte_level = _uses(files.tokenizer, 'ByteLevel')
  if not is_byte_level and not _writes_spaces(files.tokenizer):
    raise VocabularyError(
      'tokenizer.json is neither byte-level nor of the SentencePiece kind; the'
      ' bytes of its tokens would be guesses.'
    )
  files = hub_vocabulary.with_decoder(files)
  added = hub_vocabulary.read_added(files, is_byte_level=is_byte_level)
  pieces = _pieces(model)
  vocab = hub_vocabulary.build(files, added, pieces)
  codec = _Codec(files.tokenizer, vocab, added, is_byte_level=is_byte_level)
  return tokenizer_lib.VocabularyTokenizer(
    vocab,
    codec,
    strips=hub_vocabulary.strips(added),
  )


def eos_token(tokenizer_config: Mapping[str, Any]) -> str | None:
  """What a chat template is told of the end of a text."""
  return hub_vocabulary.spelling(tokenizer_config.get('eos_token'))


def other_tokens(tokenizer_config: Mapping[str, Any]) -> dict[str, str]:
  """What a chat template is told of tokens besides BOS and EOS, by name."""
  extra = tokenizer_config.get('extra_special_tokens')
  extra = extra if isinstance(extra, Mapping) else {}
  found = {
    name: hub_vocabulary.spelling(value)
    for name, value in {**tokenizer_config, **extra}.items()
    if name in _OTHER_TOKENS or (name in extra and name.endswith('_token'))
  }
  return {
    name: token
    for name, token in found.items()
    if token is not None and name not in ('bos_token', 'eos_token')
  }


def _pieces(model: Mapping[str, Any]) -> dict[int, str]:
  """The model's own pieces by id."""
  vocab = model.get('vocab')
  try:
    if isinstance(vocab, Mapping):
      return {int(i): str(piece) for piece, i in vocab.items()}
    return {i: str(piece) for i, (piece, _) in enumerate(vocab)}
  except (TypeError, ValueError):
    raise VocabularyError(
      'The vocab of tokenizer.json cannot be read.'
    ) from None


def _uses(part: Any, kind: str) -> bool:
  """Whether a part of the pipeline of that type is anywhere in the file."""
  if isinstance(part, Mapping):
    return part.get('type') == kind or any(
      _uses(part.get(key), kind)
      for key in ('pre_tokenizer', 'pretokenizers', 'decoder', 'decoders')
    )
  return isinstance(part, list) and any(_uses(item, kind) for item in part)


def _writes_spaces(file: Mapping[str, Any]) -> bool:
  """Whether spaces become `_SPACE`, by whichever part of the pipeline."""
  parts = {key: file.get(key) for key in ('normalizer', 'pre_tokenizer')}
  text = json.dumps(parts, ensure_ascii=False)
  return _SPACE in text or '"Metaspace"' in text


class _Codec:
  """Encodes ordinary text and knows the bytes of each token.

  The library's tokenizer is built without the special tokens: no text can
  then become one of them.
  """

  def __init__(
    self,
    file: Mapping[str, Any],
    vocab: vocabulary.Vocabulary,
    added: tuple[hub_vocabulary.Added, ...],
    *,
    is_byte_level: bool,
  ):
    self._pieces = vocab.pieces
    self._kinds = vocab.kinds
    self._is_byte_level = is_byte_level
    self._literal = frozenset(token.id for token in added)
    special = {token.id for token in added if token.is_special}
    plain = _plain(file, special, vocab.pieces)
    self._later = self._first = _tokenizer(plain)
    cuts = plain.get('pre_tokenizer')
    if (later := _never_first(cuts)) != cuts:
      self._later = _tokenizer({**plain, 'pre_tokenizer': later})
    # Without the others the library numbers those that are left anew.
    numbered = {self._first.token_to_id(x.content): x.id for x in added}
    self._id_of = {
      i: x for i, x in numbered.items() if i is not None and i != x
    }

  def encode(self, text: str) -> list[int]:
    return self._ids(self._first, text)

  def encode_later(self, text: str) -> list[int]:
    """Ids of text that follows a special token."""
    return self._ids(self._later, text)

  def _ids(self, tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return [self._id_of.get(i, i) for i in ids] if self._id_of else ids

  def token_bytes(self, token_id: int) -> bytes:
    piece = self._pieces[token_id]
    if self._kinds[token_id] == vocabulary.Kind.BYTE:
      return bytes([int(piece[3:5], 16)])  # spelled <0x0A>
    if not self._is_byte_level:
      return piece.replace(_SPACE, ' ').encode()
    # DeepSeek's tags have the letter that is a space elsewhere.
    return piece.encode() if token_id in self._literal else bpe.bytes_of(piece)


def _tokenizer(file: Mapping[str, Any]) -> tokenizers.Tokenizer:
  try:
    return tokenizers.Tokenizer.from_str(json.dumps(file))
  except Exception as error:  # noqa: BLE001 - the library raises nothing finer
    raise VocabularyError(
      f'tokenizer.json cannot be used: {str(error)[:200]}.'
    ) from None


def _plain(
  file: Mapping[str, Any], special: set[int], pieces: tuple[str, ...]
) -> dict[str, Any]:
  """The file without special tokens, and without what it adds around text."""
  model = dict(file['model'])
  # What is taken out keeps its place: added tokens are numbered after all
  # pieces. A space never reaches the model.
  if isinstance(model['vocab'], Mapping):
    # What stands for unknown characters is never made of known ones.
    names = {pieces[i] for i in special} - {model.get('unk_token')}
    if not names.isdisjoint(model['vocab']):
      model['vocab'] = {
        f' special {i} ' if piece in names else piece: i
        for piece, i in model['vocab'].items()
      }
      model['merges'] = [
        merge
        for merge in model.get('merges') or ()
        if not names & _pieces_of(merge)
      ]
  else:
    # Pieces are numbered by their places.
    model['vocab'] = [
      [f' special {i} ' if i in special else piece, score]
      for i, (piece, score) in enumerate(model['vocab'])
    ]
  added = [
    entry
    for entry in file.get('added_tokens') or ()
    if entry['id'] not in special and entry['id'] < len(pieces)
  ]
  return {
    **file,
    'model': model,
    'added_tokens': added,
    'post_processor': None,
    'truncation': None,
    'padding': None,
  }


def _pieces_of(merge: Any) -> set[str]:
  """The two pieces of a merge, and what it makes."""
  pair = merge.split(' ') if isinstance(merge, str) else merge
  return {*pair, ''.join(pair)}


def _never_first(cuts: Any) -> Any:
  """A pre-tokenizer as if no text were the first of its prompt."""
  if isinstance(cuts, list):
    return [_never_first(cut) for cut in cuts]
  if not isinstance(cuts, Mapping):
    return cuts
  made = {key: _never_first(value) for key, value in cuts.items()}
  if made.get('prepend_scheme') == 'first':
    made['prepend_scheme'] = 'never'
  return made
