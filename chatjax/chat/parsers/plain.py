"""Models that call no tools."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from chatjax import types
from chatjax.chat.parsers import hermes
from chatjax.chat.parsers import lark as lark_lib
from chatjax.chat.parsers import output_format
from chatjax.chat.parsers import parser as parser_lib
from chatjax.chat.parsers import stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlainFormat:
  """Content, after reasoning if there are tags; an `OutputFormat`."""

  name: str
  reasoning_tags: tuple[str, str] | None = None
  wraps_content: bool = False

  @property
  def controls(self) -> frozenset[str]:
    return frozenset(self.reasoning_tags or ())

  def parser(
    self, tools: Sequence[types.Tool], prompt_tail: str = ''
  ) -> parser_lib.Parser:
    del tools  # they cannot be called
    tags = self.reasoning_tags
    markup = stream.Markup(openers={}, reasoning=tags, controls=self.controls)
    return stream.StreamParser(
      markup, is_reasoning=stream.starts_in_reasoning(prompt_tail, tags)
    )

  def grammar(
    self,
    tools: Sequence[types.Tool],
    *,
    is_parallel: bool,
    special: Mapping[str, int] = output_format.NO_SPECIAL,
  ) -> None:
    del tools, is_parallel, special
    return None

  strict_grammar = grammar

  def answer(self, lark: lark_lib.Lark, content: str) -> str:
    del lark
    return content


PLAIN = PlainFormat(name='plain')
THINK = PlainFormat(name='think', reasoning_tags=hermes.THINK)
