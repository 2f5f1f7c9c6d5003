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
    max_key_chars: length of `cache_salt`, of `prompt_cache_key`, and of the
      ids and names of earlier calls.
    max_tools: tools per request, and calls per message.
    max_description_chars: length of the description of a tool or a schema.
    max_schema_bytes: size of one JSON schema.
    max_json_depth: how deep schemas, arguments and template variables nest.
    max_grammar_chars: length of one pattern or grammar.
    max_choices: entries of `structured_outputs.choice`.
    max_template_bytes: size of `chat_template_kwargs`.
    max_bad_words: entries of `bad_words`; each has at most `max_stop_chars`.
    max_allowed_token_ids: entries of `allowed_token_ids`.
    max_file_bytes: size of one file in a message, and of what a client's
      helper parsed.
    max_prompts: prompts of one request for plain texts.
    max_upload_bytes: size of a file for batches.
    max_batch_lines: requests of one batch.
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
  max_tools: int = 128
  max_description_chars: int = 2**14
  max_schema_bytes: int = 2**16
  max_json_depth: int = 64
  max_grammar_chars: int = 2**16
  max_choices: int = 1000
  max_template_bytes: int = 2**14
  max_bad_words: int = 100
  max_allowed_token_ids: int = 10_000
  max_file_bytes: int = 2**19
  max_prompts: int = 128
  max_upload_bytes: int = 200 * 10**6
  max_batch_lines: int = 50_000

  def __post_init__(self):
    for field in dataclasses.fields(self):
      if getattr(self, field.name) < 1:
        raise ValueError(
          f'{field.name}={getattr(self, field.name)} is below 1: every '
          'limit must let something through.'
        )
