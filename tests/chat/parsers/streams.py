"""Feeds parsers and tells what came out."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import itertools
import re

from chatjax import types
from chatjax.chat.parsers import events
from chatjax.chat.parsers import formats

CONTROL = re.compile(r'(<\|[a-z]+\|>)')


@dataclasses.dataclass(frozen=True)
class Parsed:
  content: str
  reasoning: str
  calls: tuple[events.Call, ...]


def tools(*names: str) -> tuple[types.Tool, ...]:
  return tuple(types.Tool(name=name) for name in names)


def pieces_of(name: str, text: str) -> list[tuple[str, bool]]:
  """A stream as a tokenizer would have it: harmony's tags are controls."""
  if name != 'harmony':
    return [(text, False)]
  controls = formats.get(name).controls
  return [(p, p in controls) for p in CONTROL.split(text) if p]


def cut(pieces, cuts: Sequence[int]) -> list[tuple[str, bool]]:
  """Cuts the text of a stream; control tokens stay whole."""
  out, at = [], 0
  for text, is_control in pieces:
    inside = sorted({c - at for c in cuts if at < c < at + len(text)})
    if is_control:
      inside = []
    borders = [0, *inside, len(text)]
    out += [(text[a:b], is_control) for a, b in itertools.pairwise(borders)]
    at += len(text)
  return out


def events_of(parser, pieces) -> list[events.Event]:
  """All events, touching spans joined."""
  found = []
  for text, is_control in pieces:
    found += parser.feed(text, is_control)
  return joined(found + parser.finish())


def joined(found) -> list[events.Event]:
  out = []
  for event in found:
    last = out[-1] if out else None
    if (
      isinstance(event, events.Span)
      and isinstance(last, events.Span)
      and (last.kind, last.stop) == (event.kind, event.start)
    ):
      out[-1] = events.Span(event.kind, last.start, event.stop)
    else:
      out.append(event)
  return out


def show(found, text: str) -> Parsed:
  """What a reader sees, given the whole stream."""
  parts = {'content': [], 'reasoning': []}
  calls = []
  for event in found:
    if isinstance(event, events.Call):
      calls.append(event)
    else:
      parts[event.kind].append(text[event.start : event.stop])
  return Parsed(
    ''.join(parts['content']), ''.join(parts['reasoning']), tuple(calls)
  )


def parse(
  name: str,
  text: str,
  given: Sequence[types.Tool],
  *,
  prompt_tail: str = '',
  cuts: Sequence[int] = (),
) -> Parsed:
  parser = formats.get(name).parser(given, prompt_tail)
  pieces = cut(pieces_of(name, text), cuts)
  return show(events_of(parser, pieces), text)
