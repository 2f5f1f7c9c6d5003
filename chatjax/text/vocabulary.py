"""The vocabulary of a model file: pieces, their kinds, the special ones."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import enum
import re
import types as builtin_types
from typing import Any

from chatjax import types


class VocabularyError(types.ChatjaxError, ValueError):
  """A tokenizer that cannot be built from what the file says."""


class Kind(enum.IntEnum):
  """Token types as GGUF and SentencePiece number them."""

  NORMAL = 1
  UNKNOWN = 2
  CONTROL = 3
  USER_DEFINED = 4
  UNUSED = 5
  BYTE = 6


# Pieces by which models end a turn or a text, beside the file's own eos.
END_PIECES = (
  '<|im_end|>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<|eot_id|>',
  '<|eom_id|>',
  '<end_of_turn>',
)

# Roles of those, and of others, in the keys of GGUF files.
_ENDS = ('eos', 'eot', 'eom')

# Gemma's vocabulary calls these user defined, which would let any text spell
# them; for the model they stand for pictures.
_MEDIA_PIECES = frozenset(
  {'[multimodal]', '<start_of_image>', '<end_of_image>', '<image_soft_token>'}
)

# How the tags of chat formats look; tokens of letters and spaces do not.
_BARRED = re.compile(r'<[|\uff5c].+[|\uff5c]>', re.DOTALL)
_BRACKETED = re.compile(r'<.*\w.*>|\[.*\w.*\]|\|.*\w.*\|', re.DOTALL)
_MARKUP = re.compile(r'[<\[|].+|[^\w\s].*\w.*[^\w\s]', re.DOTALL)

# Kinds that never show in a text.
_HIDDEN = frozenset({Kind.UNKNOWN, Kind.CONTROL, Kind.UNUSED})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vocabulary:
  """Pieces by id and what is known about them.

  Attributes:
    kinds: one per piece.
    special_ids: spelling -> id of what only a template may put in a prompt;
      spellings have two characters or more.
    control_ids: ids that have no visible text.
    eos_ids: ids that end a turn or a text.
    bos_id: None if the file names none.
    add_bos: whether every prompt starts with bos_id.
  """

  pieces: tuple[str, ...]
  kinds: tuple[Kind, ...]
  special_ids: Mapping[str, int]
  control_ids: frozenset[int]
  eos_ids: frozenset[int]
  bos_id: int | None
  add_bos: bool

  def ids_of(self, *kinds: Kind) -> list[int]:
    return [i for i, kind in enumerate(self.kinds) if kind in kinds]


def from_gguf(
  metadata: Mapping[str, Any], *, has_markup: bool, add_bos: bool
) -> Vocabulary:
  """Reads what all kinds of tokenizers share.

  Args:
    metadata: GGUF keys and values.
    has_markup: tags of HTML are ordinary text (SentencePiece files).
    add_bos: what holds if the file does not say.

  Raises:
    VocabularyError: pieces are missing or contradict each other.
  """
  pieces = _pieces(metadata)
  kinds = _kinds(metadata, pieces, has_markup=has_markup)
  templates = _templates(metadata)
  roles = {_id_of(metadata, role, len(pieces)) for role in ('bos', *_ENDS)}

  def is_special(i: int, piece: str, kind: Kind) -> bool:
    if kind == Kind.USER_DEFINED:
      return i in roles or is_tag(piece, templates, has_markup=has_markup)
    return kind == Kind.CONTROL

  special_ids = {
    piece: i
    for i, (piece, kind) in enumerate(zip(pieces, kinds, strict=True))
    # One character alone could not be told from text by marks in it.
    if is_special(i, piece, kind) and len(piece) > 1
  }
  bos_id = _id_of(metadata, 'bos', len(pieces))
  return Vocabulary(
    pieces=pieces,
    kinds=kinds,
    special_ids=builtin_types.MappingProxyType(special_ids),
    control_ids=frozenset(i for i, kind in enumerate(kinds) if kind in _HIDDEN),
    eos_ids=_eos_ids(metadata, pieces, kinds, special_ids),
    bos_id=bos_id,
    add_bos=bos_id is not None
    and bool(metadata.get('tokenizer.ggml.add_bos_token', add_bos)),
  )


def _pieces(metadata: Mapping[str, Any]) -> tuple[str, ...]:
  pieces = metadata.get('tokenizer.ggml.tokens')
  if pieces is None or not len(pieces):
    raise VocabularyError(
      'The file has no tokenizer.ggml.tokens; choose a GGUF file that '
      'carries its tokenizer.'
    )
  return tuple(map(str, pieces))


def _kinds(
  metadata: Mapping[str, Any], pieces: tuple[str, ...], *, has_markup: bool
) -> tuple[Kind, ...]:
  numbers = metadata.get('tokenizer.ggml.token_type')
  if numbers is None:
    numbers = [Kind.NORMAL] * len(pieces)
  if len(numbers) != len(pieces):
    raise VocabularyError(
      f'The file has {len(pieces)} tokens but {len(numbers)} token types.'
    )
  by_number = {int(kind): kind for kind in Kind}
  try:
    kinds = [by_number[int(number)] for number in numbers]
  except KeyError as error:
    raise VocabularyError(
      f'Token type {error} is none of {sorted(by_number)}.'
    ) from None
  # Where all added tokens are user defined, those that end a turn are too.
  ends = END_PIECES if has_markup else ()
  return tuple(
    Kind.CONTROL
    if piece in _MEDIA_PIECES or (kind == Kind.USER_DEFINED and piece in ends)
    else kind
    for piece, kind in zip(pieces, kinds, strict=True)
  )


def _templates(metadata: Mapping[str, Any]) -> str:
  """All chat templates of a file; there may be others for tools."""
  return '\n'.join(
    str(value)
    for key, value in metadata.items()
    if key.startswith('tokenizer.chat_template')
  )


def _id_of(
  metadata: Mapping[str, Any], role: str, vocab_size: int
) -> int | None:
  key = f'tokenizer.ggml.{role}_token_id'
  if (value := metadata.get(key)) is None:
    return None
  if not 0 <= int(value) < vocab_size:
    raise VocabularyError(
      f'{key} is {value}; the vocabulary has the ids 0 to {vocab_size - 1}.'
    )
  return int(value)


def _eos_ids(
  metadata: Mapping[str, Any],
  pieces: tuple[str, ...],
  kinds: tuple[Kind, ...],
  special_ids: Mapping[str, int],
) -> frozenset[int]:
  named = (_id_of(metadata, r, len(pieces)) for r in _ENDS)
  known = (special_ids.get(piece) for piece in END_PIECES)
  return frozenset(i for i in named if i is not None) | frozenset(
    i for i in known if i is not None and kinds[i] == Kind.CONTROL
  )


def is_tag(content: str, template: str, *, has_markup: bool) -> bool:
  """Whether a token that is not called special is a tag of the chat format.

  Text that users write must not become one.

  Args:
    content: its spelling.
    template: the chat template.
    has_markup: the vocabulary has tags of HTML that are ordinary text.
  """
  core = content.strip()
  looks_it = (_BARRED if has_markup else _BRACKETED).fullmatch(core)
  is_spelled = content in template and _MARKUP.fullmatch(core)
  return bool(looks_it or is_spelled)


class SpecialSplitter:
  """Finds special spellings in a text: leftmost first, then longest."""

  def __init__(self, special_ids: Mapping[str, int]):
    self._ids = special_ids
    self._lengths = sorted({len(piece) for piece in special_ids}, reverse=True)
    # A look-up per possible start and length: a regex with thousands of
    # alternatives would try them one by one.
    self._starts = starts_pattern(piece[0] for piece in special_ids)

  def split(self, text: str) -> Iterator[str | int]:
    """Yields special ids and the non-empty texts between them."""
    done = 0
    for match in self._starts.finditer(text):
      start = match.start()
      if start < done:
        continue
      for length in self._lengths:
        token_id = self._ids.get(text[start : start + length])
        if token_id is not None:
          if done < start:
            yield text[done:start]
          yield token_id
          done = start + length
          break
    if done < len(text):
      yield text[done:]


def starts_pattern(characters: Iterable[str]) -> re.Pattern[str]:
  """Matches any one of the characters; nothing if there are none."""
  distinct = sorted(set(characters))
  if not distinct:
    return re.compile(r'(?!)')
  return re.compile('|'.join(map(re.escape, distinct)))
