"""In which order the requests of a range are asked.

Two wishes: what begins alike goes together, while its beginning is in the
prefix cache; and what takes longest goes first, so that at the end no row
waits for one long answer. They are combined so: requests whose prompts share
at least half of the shorter one, and at least `_MIN_SHARED` characters, are
one group. Groups go by their longest request, longest first, and so do the
requests of a group. A short beginning that everybody shares (a system prompt)
makes no group: it stays in the cache anyway.

The order moves no bit of any answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
from typing import Any

from chatjax.batch import lines

# Longer than a chunk of the prefix cache, as most text goes.
_MIN_SHARED = 512
# What is looked at of a prompt.
_MAX_SHOWN = 4096
_CHARS_PER_TOKEN = 4
# A prompt's token is computed with many others.
_PROMPT_SHARE = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
  """A request that waits to be asked.

  Attributes:
    line, offset: where it stands in the file.
    key: see `content.key`.
    n: choices.
    work: tokens that it may take, about.
    beginning: of its prompt.
  """

  line: int
  offset: int
  key: str
  n: int
  work: float
  beginning: str


def item(
  line: int, offset: int, key: str, asked: lines.Asked, *, context: int
) -> Item:
  """What there is to know of a request before it is parsed.

  Args:
    line: of the item.
    offset: of the item.
    key: of the item.
    asked: the request; its fields need not be valid.
    context: the longest answer.
  """
  body = asked.body
  prompt = _prompt(body)
  most = [body.get('max_completion_tokens'), body.get('max_tokens')]
  told = [x for x in most if type(x) is int and 0 < x < context]
  n = body.get('n')
  n = (n if type(n) is int and n > 0 else 1) * _num_prompts(body)
  work = n * min(told, default=context)
  work += _PROMPT_SHARE * len(prompt) / _CHARS_PER_TOKEN
  return Item(
    line=line, offset=offset, key=key, n=n, work=work,
    beginning=prompt[:_MAX_SHOWN],
  )  # fmt: skip


def arrange(items: Sequence[Item]) -> list[Item]:
  """The items of a window in the order in which they are asked."""
  groups = [
    sorted(group, key=lambda one: (-one.work, one.line))
    for group in _groups(sorted(items, key=lambda one: one.beginning))
  ]
  groups.sort(key=lambda group: (-group[0].work, group[0].line))
  return [one for group in groups for one in group]


def _groups(items: Sequence[Item]) -> Iterator[list[Item]]:
  group: list[Item] = []
  for one in items:
    if group and not _is_alike(group[-1].beginning, one.beginning):
      yield group
      group = []
    group.append(one)
  if group:
    yield group


def _is_alike(one: str, other: str) -> bool:
  least = max(_MIN_SHARED, min(len(one), len(other)) // 2)
  return len(one) >= least and one[:least] == other[:least]


def _num_prompts(body: Mapping[str, Any]) -> int:
  """A request for plain texts may have several."""
  prompt = body.get('prompt')
  is_list = isinstance(prompt, list) and bool(prompt)
  return len(prompt) if is_list and type(prompt[0]) is not int else 1


def _prompt(body: Mapping[str, Any]) -> str:
  """Its text, or what stands for it, in the order of templates."""
  parts = [
    body.get(name)
    for name in ('cache_salt', 'prompt_cache_key', 'tools', 'prompt')
  ]
  messages = body.get('messages')
  for message in messages if isinstance(messages, list) else ():
    if isinstance(message, dict):
      parts += [message.get('role'), message.get('content')]
  return '\n'.join(
    part if isinstance(part, str) else json.dumps(part)
    for part in parts
    if part is not None
  )
