"""The messages of a terminal chat, and how to repeat every answer."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

from chatjax import types
from chatjax.cli import answer as answer_lib
from chatjax.protocol import request as request_lib


class SaveError(types.ChatjaxError):
  """A file that cannot be written."""


@dataclasses.dataclass
class Conversation:
  """What was said so far.

  Attributes:
    model: its id.
    params: fields of the request besides model, messages and seed.
    seed: of every answer; None draws one for each.
    system: the system message, '' for none.
    messages: user and assistant in turn, without the system message.
    turns: per answer what it takes to repeat it.
  """

  model: str
  params: Mapping[str, Any]
  seed: int | None = None
  system: str = ''
  messages: list[dict[str, str]] = dataclasses.field(default_factory=list)
  turns: list[dict[str, Any]] = dataclasses.field(default_factory=list)

  def request(self, prompt: str) -> types.Request:
    """The request that asks `prompt` next.

    Raises:
      types.RequestError: a parameter is out of its range.
    """
    body = {
      'model': self.model,
      'messages': [*self._all_messages(), {'role': 'user', 'content': prompt}],
      'seed': self.seed,
      **self.params,
    }
    return request_lib.parse(body).request

  def add(self, prompt: str, answer: answer_lib.Answer) -> None:
    """Records an answer; one that brought no text leaves no trace."""
    if not answer.text:
      return
    self.messages += [
      {'role': 'user', 'content': prompt},
      {'role': 'assistant', 'content': answer.text},
    ]
    self.turns.append(
      {
        'seed': answer.seed,
        'system': self.system,
        'finish_reason': answer.finish_reason,
        'completion_tokens': answer.num_tokens,
        'system_fingerprint': answer.fingerprint,
      }
    )

  def reset(self) -> None:
    """Forgets what was said; the system message stays."""
    self.messages.clear()
    self.turns.clear()

  def save(self, path: pathlib.Path, *, fingerprint: str) -> None:
    """Writes everything as JSON, whole or not at all.

    Raises:
      SaveError: the file cannot be written.
    """
    value = {
      'model': self.model,
      'system_fingerprint': fingerprint,
      'params': dict(self.params),
      'messages': self._all_messages(),
      'answers': self.turns,
    }
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
      partial.write_text(
        json.dumps(value, indent=2, ensure_ascii=False) + '\n',
        encoding='utf-8',
      )
      os.replace(partial, path)
    except OSError as error:
      partial.unlink(missing_ok=True)
      raise SaveError(
        f'Cannot write {str(path)!r} ({error.strerror}); choose another file.'
      ) from error

  def _all_messages(self) -> list[dict[str, str]]:
    if not self.system:
      return list(self.messages)
    return [{'role': 'system', 'content': self.system}, *self.messages]
