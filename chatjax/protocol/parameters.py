"""One table of what this version does with every documented parameter.

Validation, the refusals and their messages are generated from it, so that no
parameter can be accepted and ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
import enum
from typing import Any


class Status(enum.Enum):
  """What happens to a parameter."""

  IMPLEMENTED = 'has the documented effect'
  RECORDED = 'is validated and logged, no effect on tokens'
  REFUSED = 'is answered with 400'


def _rows(status: Status, names: str) -> dict[str, Status]:
  return dict.fromkeys(names.split(), status)


PARAMETERS = {
  **_rows(
    Status.IMPLEMENTED,
    """
    messages model temperature top_p max_completion_tokens max_tokens n seed
    stop presence_penalty frequency_penalty logit_bias logprobs top_logprobs
    stream stream_options
    top_k min_p repetition_penalty min_tokens ignore_eos stop_token_ids
    return_token_ids priority cache_salt prompt_cache_key
    prediction speculation
    """,
  ),
  **_rows(Status.RECORDED, 'user'),
  **_rows(
    Status.REFUSED,
    """
    audio function_call functions metadata modalities moderation
    parallel_tool_calls prompt_cache_options
    prompt_cache_retention reasoning_effort response_format safety_identifier
    service_tier store tool_choice tools verbosity web_search_options
    include_stop_str_in_output bad_words allowed_token_ids prompt_logprobs
    add_generation_prompt continue_final_message chat_template_kwargs
    structured_outputs thinking_token_budget logprobs_mode
    """,
  ),
}

# Values of refused parameters that ask for nothing this version does not do.
NEUTRAL: dict[str, tuple[Any, ...]] = {
  'metadata': ({},),
  'modalities': (['text'],),
  'parallel_tool_calls': (True, False),  # there are no tools to call
  'reasoning_effort': ('none',),
  'response_format': ({'type': 'text'},),
  'service_tier': ('auto', 'default'),
  'store': (False,),
  'tool_choice': ('none', 'auto'),
  'tools': ([],),
}
NEUTRAL_STREAM_OPTIONS = {'include_obfuscation': (False,)}
# An answer is sent back as it came.
NEUTRAL_ANSWER_FIELDS = {'annotations': ([],), 'tool_calls': ([],)}

# Documented inside other parameters, not built yet.
REFUSED_MESSAGE_FIELDS = frozenset({
  'audio', 'function_call', 'name', 'reasoning', 'reasoning_content',
  'refusal', 'tool_call_id', 'tool_calls',
})  # fmt: skip
REFUSED_STREAM_OPTIONS = frozenset({'include_obfuscation'})
REFUSED_ROLES = frozenset({'tool', 'function'})
REFUSED_PARTS = frozenset({'image_url', 'input_audio', 'file', 'refusal'})


def without_neutral(
  fields: Mapping[str, Any], neutral: Mapping[str, tuple[Any, ...]]
) -> dict[str, Any]:
  """Leaves out the fields whose values ask for nothing; 0 is not false."""
  return {
    name: value
    for name, value in fields.items()
    if not any(
      type(value) is type(one) and value == one for one in neutral.get(name, ())
    )
  }
