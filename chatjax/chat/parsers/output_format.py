"""What every output format offers."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import types as builtin_types
from typing import Protocol

from chatjax import types
from chatjax.chat.parsers import call_object
from chatjax.chat.parsers import lark as lark_lib
from chatjax.chat.parsers import parser as parser_lib
from chatjax.chat.parsers import stream

# How often a model that must call may call again: small ones never stop.
MORE = '{0,7}'
NO_SPECIAL: Mapping[str, int] = builtin_types.MappingProxyType({})


class OutputFormat(Protocol):
  """How a family of models writes calls and reasoning.

  Attributes:
    name: what the format is chosen by.
    reasoning_tags: around reasoning; None if the family has no such tags.
    controls: the tokens that `Parser.feed` wants to see as controls where
      they are hidden otherwise.
    wraps_content: whether content itself stands between control tokens.
  """

  name: str
  reasoning_tags: tuple[str, str] | None
  controls: frozenset[str]
  wraps_content: bool

  def parser(
    self, tools: Sequence[types.Tool], prompt_tail: str = ''
  ) -> parser_lib.Parser:
    """A parser of one choice.

    Args:
      tools: those that may be called.
      prompt_tail: how the rendered prompt ends; it decides what comes first.
    """

  def grammar(
    self,
    tools: Sequence[types.Tool],
    *,
    is_parallel: bool,
    special: Mapping[str, int] = NO_SPECIAL,
  ) -> str | None:
    """Lark that matches well-formed calls of these tools and nothing else.

    Args:
      tools: at least one.
      is_parallel: one call to eight; otherwise exactly one.
      special: spellings that are one token in the tokenizer, and their ids.

    Returns: None if the format has no calls.

    Raises:
      types.RequestError: the format cannot hold a custom tool's grammar.
    """

  def strict_grammar(
    self,
    tools: Sequence[types.Tool],
    *,
    is_parallel: bool,
    special: Mapping[str, int] = NO_SPECIAL,
  ) -> str | None:
    """Lark that matches any text in which all calls are well-formed.

    The arguments are those of `grammar`. The schemas of tools that are not
    strict are not looked at.

    Returns: None if the format cannot tell a call from other text at once.
    """

  def answer(self, lark: lark_lib.Lark, content: str) -> str:
    """Lark of a whole answer without calls, whose content is this rule."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaggedFormat:
  """A format that marks calls and reasoning with tags; an `OutputFormat`.

  Attributes:
    markup: the tags, given the tools.
    block: writes the grammar of what follows the opening tag, given the tools
      and whether many calls may come; returns a rule.
    opener: the opening tag; None if calls have no clear one.
    is_list: whether one block holds all calls.
    separator: between blocks.
  """

  name: str
  markup: Callable[[call_object.Tools], stream.Markup]
  block: Callable[[lark_lib.Lark, Sequence[types.Tool], bool], str]
  opener: str | None
  is_list: bool = False
  wraps_content: bool = False
  separator: str = ''

  @property
  def reasoning_tags(self) -> tuple[str, str] | None:
    return self.markup({}).reasoning

  @property
  def controls(self) -> frozenset[str]:
    return self.markup({}).controls

  def parser(
    self, tools: Sequence[types.Tool], prompt_tail: str = ''
  ) -> parser_lib.Parser:
    markup = self.markup(call_object.by_name(tools))
    if not tools:
      markup = dataclasses.replace(markup, openers={}, line_openers={})
    is_reasoning = stream.starts_in_reasoning(prompt_tail, markup.reasoning)
    return stream.StreamParser(markup, is_reasoning=is_reasoning)

  def grammar(
    self,
    tools: Sequence[types.Tool],
    *,
    is_parallel: bool,
    special: Mapping[str, int] = NO_SPECIAL,
  ) -> str | None:
    lark = lark_lib.Lark(special)
    block = self.block(lark, tools, is_parallel)
    if self.opener is not None:
      block = lark.rule(f'{lark.tag(self.opener)} {block}')
    if not is_parallel or self.is_list:
      return lark.source(block)
    separator = lark_lib.literal(self.separator) if self.separator else ''
    return lark.source(f'{block} ({separator} {block}){MORE}')

  def strict_grammar(
    self,
    tools: Sequence[types.Tool],
    *,
    is_parallel: bool,
    special: Mapping[str, int] = NO_SPECIAL,
  ) -> str | None:
    if self.opener is None:
      return None
    lark = lark_lib.Lark(special)
    block = self.block(lark, [eased(tool) for tool in tools], is_parallel)
    text = lark.without(self.opener)
    call = lark.rule(f'{lark.until(self.opener)} {block}')
    count = '*' if is_parallel and not self.is_list else '?'
    return lark.source(f'{call}{count} {text}')

  def answer(self, lark: lark_lib.Lark, content: str) -> str:
    del lark
    return content


def eased(tool: types.Tool) -> types.Tool:
  """A tool whose arguments may be any, unless it is strict."""
  if tool.is_strict or tool.is_custom:
    return tool
  return dataclasses.replace(tool, parameters={})
