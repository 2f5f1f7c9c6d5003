"""What a caller says to the chat template."""

from __future__ import annotations

from typing import Annotated
from typing import Any

import pydantic

from chatjax import types
from chatjax.protocol import json_value

# The server's own variables.
RESERVED = frozenset({
  'add_generation_prompt', 'bos_token', 'eos_token', 'messages', 'tools',
})  # fmt: skip


def _check(
  value: dict[str, Any], info: pydantic.ValidationInfo
) -> dict[str, Any]:
  limits = info.context
  json_value.check(
    value, max_bytes=limits.max_template_bytes, max_depth=limits.max_json_depth
  )
  for name in value:
    if name in RESERVED:
      raise types.RequestError(
        'it is set by the server; give a variable of the template that is '
        f'none of {sorted(RESERVED)}.',
        param=name,
      )
  return value


Kwargs = Annotated[dict[Any, Any], pydantic.AfterValidator(_check)]
