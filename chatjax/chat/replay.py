"""Runs a kept answer again and says whether it is the same."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

from chatjax import types
from chatjax.chat import format as format_lib
from chatjax.chat import keeper
from chatjax.chat import session as session_lib
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import request as request_lib
from chatjax.store import records


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
  """Where an answer first differs from the kept one.

  Attributes:
    choice, position: of the token.
    kept, drawn: (token id, bits of its log-probability); None where one of
      them has ended.
  """

  choice: int
  position: int
  kept: tuple[int, str] | None
  drawn: tuple[int, str] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """What a replay found.

  Attributes:
    num_tokens: drawn again.
    texts: of the choices, as they were drawn again.
    difference: None if all tokens and all bits are the same.
    changed_parts: of the fingerprint: name -> (then, now).
    is_same_prompt: whether the messages still render to the same tokens.
  """

  num_tokens: int
  texts: tuple[str, ...]
  difference: Difference | None
  changed_parts: dict[str, tuple[str | None, str | None]]
  is_same_prompt: bool

  @property
  def is_identical(self) -> bool:
    return self.difference is None


def replay(
  session: session_lib.Session, provenance: records.Provenance
) -> Report:
  """Draws an answer again, from the prompt's tokens as they were kept.

  Args:
    session: of the same model, where the answer is to be the same.
    provenance: of the answer.

  Raises:
    types.RequestError: the model cannot be asked that any more.
  """
  given = {**provenance.request, 'seed': provenance.resolved['seed']}
  given = {**given, 'model': session.model_id, 'store': False}
  given.pop('stream_options', None)
  given['stream'] = False
  # It was within the limits of the server that kept it.
  limits = limits_lib.Limits(max_n=max(1, provenance.resolved['n']))
  request = request_lib.parse(given, limits=limits).request
  ids = provenance.prompt_ids
  prompt = format_lib.Prompt(session.text_of(ids), ids)
  # What the context left may be more by now.
  sampling = dataclasses.replace(
    request.sampling, max_tokens=provenance.resolved['max_tokens']
  )
  request = dataclasses.replace(request, sampling=sampling)
  result = session.start(request, prompt=prompt).result()
  return Report(
    num_tokens=sum(len(choice.token_ids) for choice in result.choices),
    texts=tuple(choice.text for choice in result.choices),
    difference=_difference(provenance, result),
    changed_parts=changed(
      provenance.parts, records.plain(session.engine.fingerprint_parts)
    ),
    is_same_prompt=_renders_to(session, request, ids),
  )


def _difference(
  provenance: records.Provenance, result: types.Completion
) -> Difference | None:
  for choice, (ids, told) in enumerate(
    zip(provenance.output_ids, provenance.logprob_bits, strict=True)
  ):
    kept = list(zip(ids, told, strict=True))
    again = result.choices[choice]
    bits = keeper.bits(again.token_logprobs)
    drawn = list(zip(again.token_ids, bits, strict=True))
    for position in range(max(len(kept), len(drawn))):
      one = kept[position] if position < len(kept) else None
      other = drawn[position] if position < len(drawn) else None
      if one != other:
        return Difference(
          choice=choice, position=position, kept=one, drawn=other
        )
  return None


def changed(
  then: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
  """The parts of a fingerprint that differ: name -> (then, now)."""
  return {
    name: (then.get(name), now.get(name))
    for name in sorted({*then, *now})
    if then.get(name) != now.get(name)
  }


def _renders_to(
  session: session_lib.Session, request: types.Request, ids: tuple[int, ...]
) -> bool:
  try:
    return session.prompt(request).token_ids == ids
  except types.RequestError:
    return False
