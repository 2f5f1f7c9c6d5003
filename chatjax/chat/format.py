"""Messages to prompt, by the chat template of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import re
from typing import Any
from typing import NamedTuple

from chatjax import types
from chatjax.chat import history
from chatjax.chat import marks
from chatjax.chat import named_formats
from chatjax.chat import sandbox
from chatjax.text import tokenizer as tokenizer_lib

ROLES = ('developer', 'system', 'user', 'assistant', 'tool', 'function')

# Names that a caller's keyword arguments must not replace.
_RESERVED = frozenset(
  {
    'add_generation_prompt',
    'bos_token',
    'eos_token',
    'messages',
    'tools',
  }
)

# As in `'</think>' in content`, or in `content.split('</think>')`.
_FINDS_THOUGHTS = re.compile(rf'(["\']){marks.THOUGHT[1]}\1')


class Prompt(NamedTuple):
  """A rendered prompt."""

  text: str
  token_ids: tuple[int, ...]


class ChatFormat:
  """How a model wants its prompt. Immutable and thread-safe.

  Special tokens in a prompt are the template's: what users write is encoded
  as ordinary text, even where it spells a special token. Only the tags of a
  thought that an assistant's content begins with are left to a template that
  looks for them. Otherwise the ids are those of `apply_chat_template` in
  `transformers`, but for BOS: where the tokenizer puts it before every text, a
  prompt has it exactly once, however often the template writes it.

  Attributes:
    template_source: the Jinja source.
  """

  def __init__(
    self,
    template_source: str,
    *,
    bos_token: str,
    eos_token: str,
    tokenizer: tokenizer_lib.Tokenizer,
    other_tokens: Mapping[str, str] | None = None,
  ):
    self.template_source = template_source
    self._template = sandbox.compile_template(template_source)
    self._tokens = {
      **(other_tokens or {}),
      'bos_token': bos_token,
      'eos_token': eos_token,
    }
    self._tokenizer = tokenizer
    self._knows_developer = 'developer' in template_source
    self._finds_thoughts = bool(_FINDS_THOUGHTS.search(template_source))

  @classmethod
  def from_template(
    cls,
    template_source: str,
    *,
    bos_token: str,
    eos_token: str,
    tokenizer: tokenizer_lib.Tokenizer,
    other_tokens: Mapping[str, str] | None = None,
  ) -> ChatFormat:
    """The format of a checkpoint.

    Raises:
      sandbox.TemplateError: the template cannot be compiled.
    """
    return cls(
      template_source,
      bos_token=bos_token,
      eos_token=eos_token,
      tokenizer=tokenizer,
      other_tokens=other_tokens,
    )

  @classmethod
  def named(cls, name: str, tokenizer: tokenizer_lib.Tokenizer) -> ChatFormat:
    """A format of `named_formats`, for files without a template."""
    if name not in named_formats.TEMPLATES:
      raise ValueError(
        f'Unknown chat format {name!r}; choose one of '
        f'{sorted(named_formats.TEMPLATES)}.'
      )
    bos_id = tokenizer.bos_id
    return cls(
      named_formats.TEMPLATES[name],
      bos_token='' if bos_id is None else tokenizer.spelling(bos_id),
      eos_token='',
      tokenizer=tokenizer,
    )

  @classmethod
  def plain(cls, tokenizer: tokenizer_lib.Tokenizer) -> ChatFormat:
    """Completion style for base models: see `named_formats.PLAIN`."""
    return cls.named('plain', tokenizer)

  def prompt(
    self,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    tools: Sequence[Mapping[str, Any]] | None = None,
    **kwargs: Any,
  ) -> Prompt:
    """The prompt; with exactly one BOS if the tokenizer adds one.

    Args:
      messages: `role`, `content` (a string) and what else the template reads.
      add_generation_prompt: whether the prompt opens the assistant's turn.
      continue_final_message: the prompt ends with the last message's content,
        and the model goes on there.
      tools: function definitions.
      **kwargs: further variables of the template.

    Raises:
      types.RequestError: the template does not take the messages, or has no
        use for the tools or for one of kwargs.
    """
    self._check_variables(tools, kwargs)
    _check_roles(messages)
    messages = history.fit(messages, self.template_source)
    marker = self._marker([list(messages), tools, dict(kwargs)])
    shown = [self._mark_message(message, marker) for message in messages]
    if continue_final_message:
      content = shown[-1]['content'] or ''
      # A template that trims takes the space; the mark in front of it stays.
      shown[-1]['content'] = f'{content}{marker.end} '
    try:
      marked = self._template.render(
        messages=shown,
        tools=marks.map_strings(tools, marker.text),
        add_generation_prompt=add_generation_prompt
        and not continue_final_message,
        **self._tokens,
        # Nothing, unless a caller has some: templates ask whether it is none.
        **{'documents': None, **marks.map_strings(dict(kwargs), marker.text)},
      )
    except sandbox.TemplateError as error:
      raise types.RequestError(str(error), param='messages') from error
    if continue_final_message:
      marked = _up_to(marked, content, marker.end)
    return Prompt(
      text=marked.replace(marker.mark, ''), token_ids=self._ids(marked, marker)
    )

  def render(self, messages: Sequence[Mapping[str, Any]], **kwargs: Any) -> str:
    """The prompt as text; see `prompt`."""
    return self.prompt(messages, **kwargs).text

  def encode(
    self, messages: Sequence[Mapping[str, Any]], **kwargs: Any
  ) -> list[int]:
    """The prompt as token ids; see `prompt`."""
    return list(self.prompt(messages, **kwargs).token_ids)

  @property
  def variables(self) -> frozenset[str]:
    """What the template reads besides what every template is given."""
    return self._template.variables - _RESERVED - frozenset(self._tokens)

  def _ids(self, marked: str, marker: marks.Marker) -> tuple[int, ...]:
    ids = self._tokenizer.encode_template(marked, mark=marker.mark)
    bos_id = self._tokenizer.bos_id
    if not self._tokenizer.add_bos or bos_id is None:
      return tuple(ids)
    first = next((i for i, t in enumerate(ids) if t != bos_id), len(ids))
    return (bos_id, *ids[first:])

  def _marker(self, data: Any) -> marks.Marker:
    try:
      strings = marks.strings_of(data)
      for text in strings:
        text.encode()
    except UnicodeEncodeError:
      raise types.RequestError(
        'A string holds half of a surrogate pair; send whole characters.',
        param='messages',
      ) from None
    except RecursionError:
      raise types.RequestError(
        'The messages are nested too deep.', param='messages'
      ) from None
    return marks.Marker(
      self._tokenizer.special_ids, [*strings, self.template_source]
    )

  def _mark_message(
    self, message: Mapping[str, Any], marker: marks.Marker
  ) -> dict[str, Any]:
    marked = {}
    for key, value in message.items():
      if key == 'role':
        marked[key] = self._shown_role(value)
      elif key == 'content' and self._holds_thought(message):
        marked[key] = marker.answer(value)
      elif isinstance(value, str):
        marked[key] = marker.whole(value)
      else:
        marked[key] = marks.map_strings(value, marker.text)
    return marked

  def _holds_thought(self, message: Mapping[str, Any]) -> bool:
    """Whether the template may look for a thought in the content."""
    return (
      self._finds_thoughts
      and message['role'] == 'assistant'
      and isinstance(message['content'], str)
      and not message.get('reasoning_content')
    )

  def _shown_role(self, role: str) -> str:
    if role == 'developer' and not self._knows_developer:
      return 'system'
    return role

  def _check_variables(self, tools: Any, kwargs: Mapping[str, Any]) -> None:
    if tools and 'tools' not in self._template.variables:
      raise types.RequestError(
        "This model's chat template has no place for tools.", param='tools'
      )
    readable = self.variables
    if unknown := sorted(set(kwargs) - readable):
      raise types.RequestError(
        f"This model's chat template does not read {unknown}; it reads "
        f'{sorted(readable)}.',
        param='chat_template_kwargs',
      )


def _check_roles(messages: Sequence[Mapping[str, Any]]) -> None:
  """Templates put roles next to special tokens, so they must be known."""
  for i, message in enumerate(messages):
    if message.get('role') not in ROLES:
      raise types.RequestError(
        f'messages[{i}].role is {str(message.get("role"))[:50]!r}; choose one '
        f'of {list(ROLES)}.',
        param='messages',
      )


def _up_to(marked: str, content: str, end: str) -> str:
  """A rendered prompt up to the end of its last message's content.

  Args:
    marked: the prompt, with `end` and a space behind the content.
    content: of the last message.
    end: a character that stands nowhere else.
  """
  found = marked.rfind(end)
  kept = marked[: max(found, 0)].replace(end + ' ', '').replace(end, '')
  if not marked.startswith(end + ' ', found):
    kept = kept.rstrip()  # as the template trims without the mark
  core = content.strip()
  if not core or not kept.rstrip().endswith(core):
    raise types.RequestError(
      "The last message cannot be continued: it is empty, or this model's chat"
      ' template changes it.',
      param='continue_final_message',
    )
  return kept
