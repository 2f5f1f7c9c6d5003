"""Text to token ids and back, whatever kind of tokenizer a model has."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import itertools
from typing import Any
from typing import Protocol

from chatjax.text import bpe
from chatjax.text import spm
from chatjax.text import vocabulary

VocabularyError = vocabulary.VocabularyError

_NEITHER = (False, False)


class Tokenizer(Protocol):
  """What the other rooms may ask of a tokenizer. Thread-safe.

  Attributes:
    vocab_size: ids are 0 to vocab_size - 1.
    bos_id: the id that starts a text, if there is one.
    add_bos: whether every prompt starts with bos_id.
    eos_ids: ids that end a turn or a text.
    special_ids: spelling -> id of the tokens that only a template may put in
      a prompt. Among them may be tags that show in an answer (tool calls).
    control_ids: ids without visible text: `token_bytes` gives b''.
  """

  vocab_size: int
  bos_id: int | None
  add_bos: bool
  eos_ids: frozenset[int]
  special_ids: Mapping[str, int]
  control_ids: frozenset[int]

  def encode(self, text: str) -> list[int]:
    """Ids of ordinary text: never a special id, whatever the text spells."""

  def encode_later(self, text: str) -> list[int]:
    """Ids of ordinary text that follows other tokens.

    Some tokenizers put a space in front of a text; not of this one.
    """

  def encode_template(self, text: str, *, mark: str = '') -> list[int]:
    """Ids of a template's output: special spellings become their ids.

    Args:
      text: a rendered template.
      mark: a character that splits the spellings which must stay ordinary
        text; it is removed before the text is encoded.
    """

  def token_bytes(self, token_id: int) -> bytes:
    """The bytes a token adds to a text; b'' for control tokens."""

  def spelling(self, token_id: int) -> str:
    """How the vocabulary writes a token; for control tokens and displays."""

  def decode(self, ids: Iterable[int]) -> str:
    """The joined bytes as text; invalid UTF-8 becomes U+FFFD.

    A leading space stays: ids that follow a prompt continue its text.
    """


class _Codec(Protocol):
  """The part that differs between kinds of tokenizers."""

  def encode(self, text: str) -> list[int]: ...

  def encode_later(self, text: str) -> list[int]: ...

  def token_bytes(self, token_id: int) -> bytes: ...


class VocabularyTokenizer:
  """The `Tokenizer` of a model file."""

  def __init__(
    self,
    vocab: vocabulary.Vocabulary,
    codec: _Codec,
    strips: Mapping[int, tuple[bool, bool]] | None = None,
  ):
    """Puts the parts together.

    Args:
      vocab: pieces and special ids.
      codec: encodes ordinary text.
      strips: special ids that swallow white space of a template before and
        after them.
    """
    self._strips = strips or {}
    self.vocab_size = len(vocab.pieces)
    self.bos_id = vocab.bos_id
    self.add_bos = vocab.add_bos
    self.eos_ids = vocab.eos_ids
    self.special_ids = vocab.special_ids
    self.control_ids = vocab.control_ids
    self._pieces = vocab.pieces
    self._codec = codec
    self._splitter = vocabulary.SpecialSplitter(vocab.special_ids)

  def encode(self, text: str) -> list[int]:
    _check_characters(text)
    return self._codec.encode(text)

  def encode_later(self, text: str) -> list[int]:
    _check_characters(text)
    return self._codec.encode_later(text)

  def encode_template(self, text: str, *, mark: str = '') -> list[int]:
    _check_characters(text)
    ids: list[int] = []
    encode, strips_right = self._codec.encode, False
    parts = list(self._splitter.split(text))
    for part, following in itertools.zip_longest(parts, parts[1:]):
      if isinstance(part, int):
        ids.append(part)
        strips_right = self._strips.get(part, _NEITHER)[1]
      else:
        plain = part.replace(mark, '') if mark else part
        plain = plain.lstrip() if strips_right else plain
        if self._strips.get(following, _NEITHER)[0]:
          plain = plain.rstrip()
        ids.extend(encode(plain))
        strips_right = False
      encode = self._codec.encode_later
    return ids

  def token_bytes(self, token_id: int) -> bytes:
    self._check_id(token_id)
    if token_id in self.control_ids:
      return b''
    return self._codec.token_bytes(token_id)

  def spelling(self, token_id: int) -> str:
    self._check_id(token_id)
    return self._pieces[token_id]

  def decode(self, ids: Iterable[int]) -> str:
    return b''.join(map(self.token_bytes, ids)).decode(errors='replace')

  def _check_id(self, token_id: int) -> None:
    # A negative id would quietly count from the end.
    if not 0 <= token_id < self.vocab_size:
      raise ValueError(
        f'Token id {token_id} is not in the vocabulary; ids are 0 to '
        f'{self.vocab_size - 1}.'
      )


def _check_characters(text: str) -> None:
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise ValueError(
      f'The text holds half of a surrogate pair at character {error.start}; '
      'send whole characters.'
    ) from None


def from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
  """Builds the tokenizer that a GGUF file carries.

  Raises:
    VocabularyError: the file has no tokenizer, or one of another kind.
  """
  model = metadata.get('tokenizer.ggml.model')
  if model == 'gpt2':
    vocab = bpe.read_vocabulary(metadata)
    return VocabularyTokenizer(vocab, bpe.Codec(vocab, metadata))
  if model == 'llama':
    vocab = spm.read_vocabulary(metadata)
    return VocabularyTokenizer(
      vocab, spm.Codec(vocab, spm.model_of(vocab, metadata))
    )
  raise VocabularyError(
    f'tokenizer.ggml.model is {model!r}; supported are gpt2 (byte-level BPE) '
    'and llama (SentencePiece BPE).'
  )
