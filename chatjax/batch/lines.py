"""OpenAI's batch format: one line -> one request, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

from chatjax import types
from chatjax.batch import content
from chatjax.protocol import errors
from chatjax.protocol import json_body
from chatjax.protocol import limits as limits_lib

CHAT, TEXT = '/v1/chat/completions', '/v1/completions'
URLS = (CHAT, TEXT)
MAX_ID_CHARS = 512
_FIELDS = ('custom_id', 'method', 'url', 'body')
_ENVELOPE_BYTES = 2**13  # what a line may have beside its body
_BOM = b'\xef\xbb\xbf'


class LineError(types.ChatjaxError):
  """A line that is no request.

  Attributes:
    code: in one word.
    custom_id: as far as it is known.
  """

  def __init__(self, message: str, *, code: str, custom_id: str | None = None):
    super().__init__(message)
    self.code = code
    self.custom_id = custom_id


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
  """One request of a file."""

  custom_id: str
  url: str
  body: Mapping[str, Any]

  def key(self, fingerprint: str) -> str:
    return content.key(fingerprint, self.custom_id, self.url, self.body)


def max_bytes(limits: limits_lib.Limits) -> int:
  """How long a line may be."""
  return limits.max_body_bytes + _ENVELOPE_BYTES


def is_blank(data: bytes) -> bool:
  """Whether a line is there for the eye only."""
  return not data.removeprefix(_BOM).strip()


def parse(data: bytes, *, limits: limits_lib.Limits) -> Asked:
  """Reads a line.

  Raises:
    LineError: it is not UTF-8, not JSON, or not of the format.
  """
  fields = _object(data, max_bytes(limits))
  custom_id = _custom_id(fields)

  def wrong(message: str, code: str) -> LineError:
    return LineError(message, code=code, custom_id=custom_id)

  for name in fields:
    if name not in _FIELDS:
      raise wrong(
        f'Unknown field {errors.shorten(name)}; a line has'
        f' {", ".join(_FIELDS)}.',
        'unknown_field',
      )
  if fields.get('method') != 'POST':
    told = errors.shorten(fields.get('method'))
    raise wrong(f'method is {told}; it must be "POST".', 'invalid_method')
  if fields.get('url') not in URLS:
    told = errors.shorten(fields.get('url'))
    raise wrong(
      f'url is {told}; it must be {" or ".join(URLS)}.', 'invalid_url'
    )
  if not isinstance(fields.get('body'), dict):
    raise wrong('body must be a JSON object.', 'invalid_body')
  return Asked(custom_id=custom_id, url=fields['url'], body=fields['body'])


def custom_id_of(data: bytes) -> str | None:
  """The id of a line, if it has one."""
  try:
    return _custom_id(json_body.loads(data.removeprefix(_BOM)))
  except (ValueError, LineError):
    return None


def too_long(limits: limits_lib.Limits) -> LineError:
  return LineError(
    f'The line is longer than {max_bytes(limits)} bytes.',
    code='line_too_long',
  )


def duplicate(custom_id: str) -> LineError:
  return LineError(
    f'custom_id {errors.shorten(custom_id)} was given by an earlier line; only'
    ' the first one is answered.',
    code='duplicate_custom_id',
    custom_id=custom_id,
  )


def _object(data: bytes, bound: int) -> dict[str, Any]:
  if len(data) > bound:
    raise LineError(
      f'The line is longer than {bound} bytes.', code='line_too_long'
    )
  data = data.removeprefix(_BOM).strip()
  try:
    fields = json_body.loads(data)
    json_body.check_keys(data)
  except ValueError as error:  # a number may be too long for Python
    told = str(error).replace('The body', 'The line')
    raise LineError(told, code='invalid_json_line') from None
  return fields


def _custom_id(fields: Mapping[str, Any]) -> str:
  found = fields.get('custom_id')
  if not isinstance(found, str) or not 0 < len(found) <= MAX_ID_CHARS:
    raise LineError(
      f'custom_id is {errors.shorten(found)}; it must be a string of 1 to'
      f' {MAX_ID_CHARS} characters.',
      code='invalid_custom_id',
    )
  return found
