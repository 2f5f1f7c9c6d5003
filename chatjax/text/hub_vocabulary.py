"""The vocabulary of a `tokenizer.json`: pieces, special tokens, stop ids."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import re
import types as builtin_types
from typing import Any

from chatjax.text import vocabulary

Kind = vocabulary.Kind
_BYTE = re.compile('<0x[0-9A-F]{2}>')
# How the tokenizer's config names the tokens that have a role.
_ROLES = (
  'bos_token', 'eos_token', 'unk_token', 'pad_token', 'sep_token', 'cls_token',
  'mask_token',
)  # fmt: skip
_NO_ID = -1  # how some configs say that there is none
_MORE_ROLES = 'additional_special_tokens'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
  """What a model's folder says of its tokenizer, as parsed JSON.

  Attributes:
    tokenizer: `tokenizer.json`.
    tokenizer_config: `tokenizer_config.json`, with what `with_roles` adds;
      empty if there is none.
    generation_config: `generation_config.json`; the same.
    config: `config.json`, or the part of it that is about text.
    vocab_size: rows of the model's table of embeddings.
    template: the chat template, which spells some of the special tokens.
  """

  tokenizer: Mapping[str, Any]
  tokenizer_config: Mapping[str, Any]
  generation_config: Mapping[str, Any]
  config: Mapping[str, Any]
  vocab_size: int
  template: str = ''


def with_roles(
  tokenizer_config: Mapping[str, Any], special_tokens_map: Mapping[str, Any]
) -> dict[str, Any]:
  """A tokenizer's config, and the roles that only the other file names."""
  roles = {
    key: special_tokens_map[key]
    for key in (*_ROLES, _MORE_ROLES)
    if key in special_tokens_map
  }
  return roles | dict(tokenizer_config)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Added:
  """A token that stands beside the pieces of the model.

  Attributes:
    is_special: only a template may put it into a prompt.
    strips_left: swallows white space before it in a template; and so on.
  """

  id: int
  content: str
  is_special: bool
  strips_left: bool
  strips_right: bool


def with_decoder(files: Files) -> Files:
  """The same, its `tokenizer.json` with the tokens that only the config adds.

  Raises:
    vocabulary.VocabularyError: an entry that cannot be read.
  """
  stated = files.tokenizer_config.get('added_tokens_decoder')
  if not isinstance(stated, Mapping):
    return files
  present = list(files.tokenizer.get('added_tokens') or ())
  names = ('id', 'content')
  known = {
    (name, str(entry.get(name)))
    for entry in present
    if isinstance(entry, Mapping)
    for name in names
  }
  try:
    more = [_entry(int(i), entry) for i, entry in stated.items()]
  except (TypeError, KeyError, ValueError):
    raise vocabulary.VocabularyError(
      'The added_tokens_decoder of tokenizer_config.json cannot be read.'
    ) from None
  more = [
    entry
    for entry in more
    if known.isdisjoint((name, str(entry[name])) for name in names)
  ]
  added = [*present, *sorted(more, key=lambda entry: entry['id'])]
  whole = {**files.tokenizer, 'added_tokens': added}
  return dataclasses.replace(files, tokenizer=whole)


def _entry(token_id: int, stated: Mapping[str, Any]) -> dict[str, Any]:
  flags = ('single_word', 'lstrip', 'rstrip', 'normalized', 'special')
  return {'id': token_id, 'content': str(stated['content'])} | {
    flag: bool(stated.get(flag)) for flag in flags
  }


def read_added(files: Files, *, is_byte_level: bool) -> tuple[Added, ...]:
  """The added tokens that the model has an embedding for.

  White space, letters and markup are added too, and are ordinary text: a tag of
  the chat format is what is called special somewhere, what the chat template
  spells, or what looks like one.

  Raises:
    vocabulary.VocabularyError: an entry that cannot be read.
  """
  special = set(_named(files.tokenizer_config))
  ends = _stated_ends(files)
  made = []
  for entry in files.tokenizer.get('added_tokens') or ():
    try:
      token_id, content = int(entry['id']), str(entry['content'])
      strips = bool(entry.get('lstrip')), bool(entry.get('rstrip'))
    except (TypeError, KeyError, ValueError):
      raise vocabulary.VocabularyError(
        f'tokenizer.json has an added token {str(entry)[:100]}, which cannot'
        ' be read.'
      ) from None
    if not 0 <= token_id < files.vocab_size:
      continue  # Gemma names one of a larger model
    is_tag = token_id in ends or vocabulary.is_tag(
      content, files.template, has_markup=not is_byte_level
    )
    made.append(
      Added(
        id=token_id,
        content=content,
        is_special=bool(entry.get('special')) or content in special or is_tag,
        strips_left=strips[0],
        strips_right=strips[1],
      )
    )
  return tuple(made)


def strips(added: Iterable[Added]) -> dict[int, tuple[bool, bool]]:
  """Special ids that swallow white space: before them, and after."""
  return {
    token.id: (token.strips_left, token.strips_right)
    for token in added
    if token.is_special
  }


def build(
  files: Files, added: Iterable[Added], pieces: Mapping[int, str]
) -> vocabulary.Vocabulary:
  """The vocabulary.

  Args:
    files: what the folder says.
    added: as `read_added` has them.
    pieces: id -> piece of the model itself.

  Raises:
    vocabulary.VocabularyError: ids that contradict each other.
  """
  if strange := [i for i in pieces if not 0 <= i < files.vocab_size]:
    raise vocabulary.VocabularyError(
      f'tokenizer.json has the id {strange[0]}; the model has embeddings for 0'
      f' to {files.vocab_size - 1}.'
    )
  spelled = [f'[PAD{i}]' for i in range(files.vocab_size)]
  kinds = [Kind.UNUSED] * files.vocab_size
  is_byte = bool(files.tokenizer['model'].get('byte_fallback'))
  for i, piece in pieces.items():
    spelled[i] = piece
    kinds[i] = Kind.BYTE if is_byte and _BYTE.fullmatch(piece) else Kind.NORMAL
  special_ids = {}
  tags = _control(files)
  for token in added:
    spelled[token.id] = token.content
    if not token.is_special:
      kinds[token.id] = Kind.NORMAL
      continue
    is_control = token.content in tags
    kinds[token.id] = Kind.CONTROL if is_control else Kind.USER_DEFINED
    if len(token.content) > 1:
      special_ids[token.content] = token.id
  by_spelling = {piece: i for i, piece in enumerate(spelled)}
  bos_id = _bos_id(files, by_spelling)
  return vocabulary.Vocabulary(
    pieces=tuple(spelled),
    kinds=tuple(kinds),
    special_ids=builtin_types.MappingProxyType(special_ids),
    control_ids=frozenset(
      i for i, kind in enumerate(kinds) if kind in (Kind.CONTROL, Kind.UNUSED)
    ),
    eos_ids=_eos_ids(files, by_spelling),
    bos_id=bos_id,
    add_bos=bos_id is not None and _adds(files, spelled[bos_id]),
  )


def _control(files: Files) -> set[str]:
  """Special tokens without visible text; other tags show in an answer."""
  called = {
    str(entry.get('content'))
    for entry in files.tokenizer.get('added_tokens') or ()
    if entry.get('special')
  }
  return called | set(_named(files.tokenizer_config))


def _named(tokenizer_config: Mapping[str, Any]) -> Iterable[str]:
  """Spellings that the tokenizer's config calls special."""
  values = [tokenizer_config.get(role) for role in _ROLES]
  values += tokenizer_config.get(_MORE_ROLES) or ()
  extra = tokenizer_config.get('extra_special_tokens') or ()
  values += extra.values() if isinstance(extra, Mapping) else extra
  return [content for content in map(spelling, values) if content]


def spelling(value: Any) -> str | None:
  """A token in the config is a string, or an object with more than that."""
  if isinstance(value, Mapping):
    value = value.get('content')
  return value if isinstance(value, str) else None


def _bos_id(files: Files, by_spelling: Mapping[str, int]) -> int | None:
  content = spelling(files.tokenizer_config.get('bos_token'))
  return by_spelling.get(content) if content is not None else None


def _adds(files: Files, bos: str) -> bool:
  """Whether the file's own post-processor puts BOS before every text."""

  def starts(processor: Any) -> bool:
    if not isinstance(processor, Mapping):
      return False
    if processor.get('type') == 'Sequence':
      return any(map(starts, processor.get('processors') or ()))
    first = (processor.get('single') or [{}])[0]
    special = first.get('SpecialToken') if isinstance(first, Mapping) else None
    return isinstance(special, Mapping) and special.get('id') == bos

  if files.tokenizer.get('post_processor') is None:
    return bool(files.tokenizer_config.get('add_bos_token'))
  return starts(files.tokenizer['post_processor'])


def _eos_ids(files: Files, by_spelling: Mapping[str, int]) -> frozenset[int]:
  """Ids that end a turn or a text.

  Raises:
    vocabulary.VocabularyError: an id that the model does not have.
  """
  stated = _stated_ends(files)
  for token_id in stated:
    if type(token_id) is not int or not 0 <= token_id < files.vocab_size:
      raise vocabulary.VocabularyError(
        f'eos_token_id is {str(token_id)[:100]}; the model has the ids 0 to'
        f' {files.vocab_size - 1}.'
      )
  # A folder that does not say how its model ends: what is usual.
  names = set() if stated else set(vocabulary.END_PIECES)
  if content := spelling(files.tokenizer_config.get('eos_token')):
    names.add(content)
  return frozenset(
    {*stated, *(by_spelling[name] for name in names if name in by_spelling)}
  )


def _stated_ends(files: Files) -> list[Any]:
  """What the folder says of the ids that end, as it stands there."""
  for source in (files.generation_config, files.config):
    value = source.get('eos_token_id')
    if value not in (None, _NO_ID):
      return value if isinstance(value, list) else [value]
  return []
