"""POST /tokenize and /detokenize, GET /tokenizer_info, in vLLM's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import TypeVar

import pydantic

from chatjax import types
from chatjax.protocol import errors
from chatjax.protocol import faults
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import request as request_lib
from chatjax.protocol import response
from chatjax.protocol import strict

_Body = TypeVar('_Body', bound=strict.Strict)
_OWN_FIELDS = ('return_token_strs', 'add_special_tokens')


class Tokenize(strict.Strict):
  """A text.

  Attributes:
    add_special_tokens: whether a token that starts every text is added.
  """

  path: ClassVar[str] = 'tokenize'
  prompt: strict.Text
  model: strict.Text | None = None
  add_special_tokens: bool = True
  return_token_strs: bool = False


class Detokenize(strict.Strict):
  """Tokens."""

  path: ClassVar[str] = 'detokenize'
  tokens: Annotated[
    list[Annotated[int, strict.between(0, strict.MAX_INT32)]],
    pydantic.Field(fail_fast=True),
  ]
  model: strict.Text | None = None


class Tokens(response.Model):
  """What /tokenize answers."""

  count: int
  max_model_len: int
  tokens: list[int]
  token_strs: list[str] | None = None


class Text(response.Model):
  """What /detokenize answers."""

  prompt: str


class TokenizerInfo(response.Model):
  """What /tokenizer_info answers.

  Attributes:
    bos_token, eos_token: as they are spelled; of several ends the lowest id.
    add_bos_token: whether a plain text gets the first of them.
  """

  bos_token: str | None
  eos_token: str | None
  add_bos_token: bool
  model_max_length: int
  chat_template: str


def parse_tokenize(
  body: Mapping[str, Any], *, limits: limits_lib.Limits
) -> tuple[Tokenize | types.Request, bool]:
  """A text, or the messages of a chat with all that shapes their prompt.

  Returns: it, and whether the spellings of the tokens are asked for.
  """
  if 'messages' not in body:
    one = _validate(Tokenize, body, limits)
    return one, one.return_token_strs
  if 'prompt' in body:
    raise types.RequestError(
      'prompt and messages are both given; give one of them.', param='prompt'
    )
  wants_spellings = body.get('return_token_strs')
  if not isinstance(wants_spellings, bool | None):
    raise types.RequestError(
      f'return_token_strs={errors.shorten(wants_spellings)} must be true or'
      ' false.',
      param='return_token_strs',
    )
  if body.get('add_special_tokens') not in (None, False):
    raise types.RequestError(
      'add_special_tokens must be false with messages: the chat template says'
      ' where special tokens stand.',
      param='add_special_tokens',
    )
  chat = {name: x for name, x in body.items() if name not in _OWN_FIELDS}
  # Whichever model is asked for, there is one; requests must name it.
  parsed = request_lib.parse({'model': '-', **chat}, limits=limits)
  return parsed.request, bool(wants_spellings)


def parse_detokenize(
  body: Mapping[str, Any], *, limits: limits_lib.Limits
) -> Detokenize:
  return _validate(Detokenize, body, limits)


def _validate(
  kind: type[_Body], body: Mapping[str, Any], limits: limits_lib.Limits
) -> _Body:
  try:
    return kind.model_validate(body, context=limits)
  except pydantic.ValidationError as error:
    raise faults.translate(error, body) from None
