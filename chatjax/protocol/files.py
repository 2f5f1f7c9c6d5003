"""Files in messages: those that are text become a part of the prompt."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Self

import pydantic

from chatjax import types
from chatjax.protocol import errors
from chatjax.protocol import strict

# What can be read, by the endings of names for data that does not say.
_KINDS = {
  'txt': 'text/plain',
  'md': 'text/markdown',
  'markdown': 'text/markdown',
  'json': 'application/json',
  'csv': 'text/csv',
}
_READABLE = frozenset(_KINDS.values())


def _filename(name: str) -> str:
  if not name.isprintable():
    raise types.RequestError('it must be one line of printable characters.')
  return name


def _bounded(data: Any, info: pydantic.ValidationInfo) -> Any:
  """Four characters of base64 are three bytes."""
  max_bytes = info.context.max_file_bytes
  if isinstance(data, str) and len(data.rpartition(',')[2]) > max_bytes * 4 / 3:
    raise types.RequestError(
      f'the file is too big; at most {max_bytes} bytes are allowed.'
    )
  return data


class File(strict.Strict):
  """A file, as base64 or as a data URL.

  Attributes:
    shown: what the model reads.
  """

  path: ClassVar[str] = 'messages[].content[].file'
  filename: (
    Annotated[
      strict.Filled, strict.at_most(255), pydantic.AfterValidator(_filename)
    ]
    | None
  ) = None
  file_data: Annotated[strict.Filled, pydantic.BeforeValidator(_bounded)]
  _text: str = pydantic.PrivateAttr()

  @pydantic.model_validator(mode='after')
  def _decode(self) -> Self:
    kind, data = _split(self.file_data)
    kind = kind or _KINDS.get((self.filename or '').rpartition('.')[2].lower())
    if kind not in _READABLE:
      raise types.RequestError(
        f'{errors.shorten(kind or self.filename)} is no type of file that can '
        f'be read; the types are {sorted(_READABLE)}, given in a data URL or '
        f'by the ending of filename ({", ".join(_KINDS)}).',
        param='file_data',
        code='unsupported_parameter',
      )
    self._text = _decoded(data)
    return self

  @property
  def shown(self) -> str:
    header = f'{self.filename}\n' if self.filename else ''
    end = '' if self._text.endswith('\n') else '\n'
    return header + self._text + end


def _split(data: str) -> tuple[str | None, str]:
  """Type and base64 of 'data:text/plain;charset=utf-8;base64,...'."""
  if not data.startswith('data:'):
    return None, data
  head, _, rest = data.removeprefix('data:').partition(',')
  kind, *options = head.split(';')
  if 'base64' not in options:
    raise types.RequestError(
      'a data URL must hold base64: data:text/plain;base64,...',
      param='file_data',
    )
  return kind.lower(), rest


def _decoded(data: str) -> str:
  try:
    raw = base64.b64decode(data, validate=True)
    return raw.decode('utf-8-sig')
  except (binascii.Error, UnicodeDecodeError, ValueError) as error:
    fault = 'UTF-8' if isinstance(error, UnicodeDecodeError) else 'base64'
    raise types.RequestError(
      f'the file is not valid {fault}.', param='file_data'
    ) from None
