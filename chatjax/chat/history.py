"""Earlier calls, as the chat templates of some families want them."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import hashlib
import re
from typing import Any

_ID_CHARS = 9
_SHORT = re.compile(r'[A-Za-z0-9]{9}')
# Mistral's refuse ids that are not nine letters and digits.
_WANTS_SHORT = re.compile(r'\|\s*length\s*!=\s*9\b')
# Llama's refuse messages with several calls.
_WANTS_SINGLE = re.compile(
  r'tool_calls\s*\|\s*length\s*(?:[!=]=|>)\s*1\s*-?%\}\s*\{\{-?\s*'
  r'raise_exception'
)

# Those of DeepSeek's distills tell by it that there are calls and no text.
_WANTS_NONE = re.compile(r'\bcontent[\'"]?\]?\s+is\s+(?:not\s+)?none')
_SAID = frozenset({'content', 'reasoning_content', 'thinking'})

Message = Mapping[str, Any]


def fit(messages: Sequence[Message], template_source: str) -> list[Message]:
  """The same conversation in the words that a template takes.

  Whatever ids the calls have, and however many a message has: they are those
  that an answer had, of this model or of another.
  """
  fitted = list(messages)
  if _WANTS_SINGLE.search(template_source):
    fitted = _one_by_one(fitted)
  if _WANTS_NONE.search(template_source):
    fitted = [_without_empty_text(message) for message in fitted]
  if _WANTS_SHORT.search(template_source):
    fitted = [_with_short_ids(message) for message in fitted]
  return fitted


def _one_by_one(messages: Sequence[Message]) -> list[Message]:
  """Call, result, call, result, in place of all calls and then all results."""
  out: list[Message] = []
  at = 0
  while at < len(messages):
    message = messages[at]
    at += 1
    calls = message.get('tool_calls') or ()
    if len(calls) < 2:
      out.append(message)
      continue
    results: dict[Any, list[Message]] = {call['id']: [] for call in calls}
    while at < len(messages) and messages[at].get('tool_call_id') in results:
      results[messages[at]['tool_call_id']].append(messages[at])
      at += 1
    for i, call in enumerate(calls):
      # What was said before the calls is said once.
      said = message if i == 0 else dict.fromkeys(message.keys() & _SAID, '')
      out.append({**message, **said, 'tool_calls': [call]})
      out.extend(results[call['id']])
  return out


def _without_empty_text(message: Message) -> Message:
  has_calls_alone = message.get('tool_calls') and message.get('content') == ''
  return {**message, 'content': None} if has_calls_alone else message


def _with_short_ids(message: Message) -> Message:
  changed = {}
  if message.get('tool_calls'):
    changed['tool_calls'] = [
      {**call, 'id': _short(call['id'])} for call in message['tool_calls']
    ]
  if message.get('tool_call_id') is not None:
    changed['tool_call_id'] = _short(message['tool_call_id'])
  return {**message, **changed} if changed else message


def _short(call_id: str) -> str:
  if _SHORT.fullmatch(call_id):
    return call_id
  return hashlib.sha256(call_id.encode()).hexdigest()[:_ID_CHARS]
