"""What is kept of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import hashlib
import json
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
  """What it takes to draw an answer again, and to see whether it is the same.

  Attributes:
    prompt_ids: the rendered prompt.
    request: the fields of the request, as they were given.
    resolved: what they came to: seed, limits, all sampling parameters.
    fingerprint: digest of all that may move a bit, and `parts`: its parts.
    choice_keys: per choice the key that its draws are folded from.
    output_ids: per choice the drawn tokens.
    logprob_bits: per choice the log-probabilities of its tokens, each as the
      eight hex digits of a float32.
    digest: of `output_ids` and `logprob_bits`.
  """

  prompt_ids: tuple[int, ...]
  request: Mapping[str, Any]
  resolved: Mapping[str, Any]
  fingerprint: str
  parts: Mapping[str, str]
  sampler_version: int
  choice_keys: tuple[str, ...]
  output_ids: tuple[tuple[int, ...], ...]
  logprob_bits: tuple[tuple[str, ...], ...]

  @property
  def digest(self) -> str:
    return digest(self.output_ids, self.logprob_bits)

  def as_json(self) -> str:
    fields = {**vars(self), 'digest': self.digest}
    return json.dumps(plain(fields), ensure_ascii=False, sort_keys=True)

  @classmethod
  def from_json(cls, text: str) -> Provenance:
    """What `as_json` wrote.

    Raises:
      ValueError: it was changed since.
    """
    return cls.from_plain(json.loads(text))

  @classmethod
  def from_plain(cls, fields: Mapping[str, Any]) -> Provenance:
    """What `as_json` wrote, once it is parsed.

    Raises:
      ValueError: it was changed since.
    """
    fields = dict(fields)
    told = fields.pop('digest')
    made = cls(
      **{
        **fields,
        'prompt_ids': tuple(fields['prompt_ids']),
        'choice_keys': tuple(fields['choice_keys']),
        'output_ids': tuple(map(tuple, fields['output_ids'])),
        'logprob_bits': tuple(map(tuple, fields['logprob_bits'])),
      }
    )
    if made.digest != told:
      raise ValueError(
        f'The record was changed: its digest is {made.digest}, not {told}.'
      )
    return made


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
  """One answer.

  Attributes:
    created: Unix seconds.
    completion: OpenAI's object, without its metadata.
    messages: of the request.
    metadata: the caller's own notes; may change later.
  """

  id: str
  created: int
  model: str
  completion: Mapping[str, Any]
  messages: Sequence[Mapping[str, Any]]
  metadata: Mapping[str, str]
  provenance: Provenance


@dataclasses.dataclass(frozen=True)
class Page:
  """Some answers of a list, in order."""

  data: tuple[dict[str, Any], ...]
  has_more: bool


def plain(value: Any) -> Any:
  """As it comes back from JSON: tuples as lists, mappings as dicts."""
  return json.loads(json.dumps(value, default=dict))


def digest(
  output_ids: Sequence[Sequence[int]], logprob_bits: Sequence[Sequence[str]]
) -> str:
  """SHA-256 of drawn tokens and the bits of their log-probabilities."""
  text = json.dumps([output_ids, logprob_bits], separators=(',', ':'))
  return hashlib.sha256(text.encode()).hexdigest()
