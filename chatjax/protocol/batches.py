"""The endpoints of files and batches: what they are asked."""

from __future__ import annotations

from collections.abc import Mapping
import re
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal

import pydantic

from chatjax import types
from chatjax.protocol import errors
from chatjax.protocol import faults
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import metadata as metadata_lib
from chatjax.protocol import strict

MIN_LIFE_S, MAX_LIFE_S = 3600, 30 * 24 * 3600
BATCH_LIFE_S = MAX_LIFE_S  # of files for batches that say nothing
MAX_FILENAME_CHARS = 255
_EXPIRY = ('expires_after[anchor]', 'expires_after[seconds]')
_ANCHOR = 'created_at'


class Expiry(strict.Strict):
  """When a file goes."""

  path: ClassVar[str] = 'output_expires_after'
  anchor: Literal['created_at']
  seconds: Annotated[int, strict.between(MIN_LIFE_S, MAX_LIFE_S)]


class CreateBatch(strict.Strict):
  """What a batch is made of."""

  path: ClassVar[str] = ''
  input_file_id: Annotated[strict.Filled, strict.at_most(64)]
  endpoint: Literal['/v1/chat/completions', '/v1/completions']
  completion_window: Literal['24h']
  metadata: metadata_lib.Metadata = pydantic.Field(default_factory=dict)
  output_expires_after: Expiry | None = None


def parse(
  body: Mapping[str, Any], *, limits: limits_lib.Limits
) -> dict[str, Any]:
  """The fields of a new batch.

  Raises:
    types.RequestError: naming the field at fault.
  """
  given = {name: value for name, value in body.items() if value is not None}
  try:
    made = CreateBatch.model_validate(given, context=limits)
  except pydantic.ValidationError as error:
    raise faults.translate(error, given) from None
  expiry = made.output_expires_after
  return {
    'input_file_id': made.input_file_id,
    'endpoint': made.endpoint,
    'metadata': dict(made.metadata),
    'output_lives_s': expiry and expiry.seconds,
  }


def parse_upload(fields: Mapping[str, str]) -> tuple[str, int | None]:
  """(purpose, seconds of life) of a file that comes.

  Raises:
    types.RequestError: naming the field at fault.
  """
  for name in fields:
    if name not in ('purpose', *_EXPIRY):
      raise errors.unknown(name)
  if 'purpose' not in fields:
    raise errors.missing('purpose')
  if fields['purpose'] != 'batch':
    raise types.RequestError(
      f'purpose is {errors.shorten(fields["purpose"])}; files are for batches'
      " here: it must be 'batch'.",
      param='purpose',
    )
  given = [name for name in _EXPIRY if name in fields]
  if not given:
    return 'batch', BATCH_LIFE_S
  return 'batch', _seconds(fields)


def _seconds(fields: Mapping[str, str]) -> int:
  anchor, seconds = (fields.get(name, '') for name in _EXPIRY)
  if anchor != _ANCHOR:
    raise types.RequestError(
      f'{_EXPIRY[0]} is {errors.shorten(anchor)}; it must be {_ANCHOR!r}.',
      param=_EXPIRY[0],
    )
  found = int(seconds) if re.fullmatch('[0-9]{1,9}', seconds) else 0
  if not MIN_LIFE_S <= found <= MAX_LIFE_S:
    raise types.RequestError(
      f'{_EXPIRY[1]} is {errors.shorten(seconds)}; it must be {MIN_LIFE_S} to'
      f' {MAX_LIFE_S}.',
      param=_EXPIRY[1],
    )
  return found
