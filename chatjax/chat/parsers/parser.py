"""What every parser of a model's output does."""

from __future__ import annotations

from typing import Protocol

from chatjax.chat.parsers import events


class Parser(Protocol):
  """Splits one choice's output into content, reasoning and calls.

  However the output is cut into `feed`s, the events are the same once
  touching spans are joined. Calls come whole. What is not a well-formed call
  of a known tool is content, tags included.

  Attributes:
    is_reasoning: whether the next character would be reasoning.
  """

  is_reasoning: bool

  def feed(self, text: str, is_control: bool = False) -> list[events.Event]:
    """Takes more output.

    Args:
      text: the next characters.
      is_control: `text` is the spelling of one control token. If the format
        does not know the token, it is in no span.
    """

  def finish(self) -> list[events.Event]:
    """Takes the end of the output: what was held back comes out."""
