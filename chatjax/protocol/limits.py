"""How big a request may be. A server is started with one of these."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """Bounds on what one request may ask for.

  Attributes:
    max_n: choices per request.
    max_body_bytes: size of an HTTP body.
    max_messages: messages per request.
    max_parts: content parts per message.
    max_logit_bias: entries of `logit_bias`.
    max_stop_token_ids: entries of `stop_token_ids`.
    max_stop_chars: length of one stop string.
    max_user_chars: length of `user`.
    max_key_chars: length of `cache_salt` and of `prompt_cache_key`.
  """

  max_n: int = 8
  max_body_bytes: int = 2**20
  max_messages: int = 1000
  max_parts: int = 100
  max_logit_bias: int = 300
  max_stop_token_ids: int = 16
  max_stop_chars: int = 1000
  max_user_chars: int = 512
  max_key_chars: int = 512

  def __post_init__(self):
    for field in dataclasses.fields(self):
      if getattr(self, field.name) < 1:
        raise ValueError(
          f'{field.name}={getattr(self, field.name)} is below 1: every '
          'limit must let something through.'
        )
