"""What follows from a request's content alone: its key, ids and seed.

So two runs of the same file have the same bytes, whoever ran which part of it
and however often it was interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import json
from typing import Any

SEED_RULE = (
  'A request without a seed gets the first 8 bytes, as a signed big-endian'
  ' number, of the SHA-256 of "chatjax-batch-seed-1", a zero byte and the JSON'
  ' of [custom_id, body]: keys sorted, no spaces, all but ASCII escaped.'
)
_SEED_DOMAIN = b'chatjax-batch-seed-1\0'
_KEY_DIGITS = 32
_ID_DIGITS = 24


def canonical(value: Any) -> bytes:
  """JSON of one spelling."""
  return json.dumps(value, sort_keys=True, separators=(',', ':')).encode()


def key(
  fingerprint: str, custom_id: str, url: str, body: Mapping[str, Any]
) -> str:
  """Names a request and the model that answers it, in 32 hex digits."""
  told = canonical([fingerprint, custom_id, url, body])
  return hashlib.sha256(told).hexdigest()[:_KEY_DIGITS]


def key_of_damage(fingerprint: str, number: int, data: bytes) -> str:
  """Names a line that is no request."""
  told = canonical([fingerprint, number]) + data
  return hashlib.sha256(told).hexdigest()[:_KEY_DIGITS]


def seed(custom_id: str, body: Mapping[str, Any]) -> int:
  """By `SEED_RULE`."""
  told = _SEED_DOMAIN + canonical([custom_id, body])
  return int.from_bytes(hashlib.sha256(told).digest()[:8], signed=True)


def made_id(kind: str, key: str, *parts: int) -> str:
  """An id such as 'chatcmpl-...' that follows from a key."""
  told = canonical([kind, key, *parts])
  return kind + hashlib.sha256(told).hexdigest()[:_ID_DIGITS]
