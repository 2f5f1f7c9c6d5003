"""What can go wrong, and why a choice ends."""

from __future__ import annotations

import enum


class FinishReason(enum.StrEnum):
  """Why a choice ended, in OpenAI's words."""

  STOP = 'stop'
  LENGTH = 'length'
  TOOL_CALLS = 'tool_calls'


class ChatjaxError(Exception):
  """Base of errors that are a caller's to read: one clear sentence."""


class RequestError(ChatjaxError, ValueError):
  """A request that cannot be served as it stands (HTTP 400 and the like).

  Attributes:
    param: the request field at fault, None if no single one is.
    code: OpenAI's machine-readable error code.
    status: the HTTP status.
  """

  def __init__(
    self,
    message: str,
    *,
    param: str | None = None,
    code: str = 'invalid_value',
    status: int = 400,
  ):
    super().__init__(message)
    self.param = param
    self.code = code
    self.status = status
