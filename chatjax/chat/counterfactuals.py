"""What would have been drawn at each step of an answer under other settings.

The history is the answer's at every step, and so is the noise: its seed's
uniform number of that step. The tokens are forced as in `scoring`, and the
row that reads one tells what it would have drawn itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from chatjax import types
from chatjax.chat import scoring
from chatjax.chat import session as session_lib
from chatjax.chat import settings as settings_lib
from chatjax.protocol import python_body
from chatjax.protocol import request as request_lib

# Settings are those of a chat, and are checked as such.
_CHAT = {'model': '-', 'messages': [{'role': 'user', 'content': '-'}]}
_ALONE = 'logit_bias', 'allowed_token_ids'


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Counterfactuals:
  """Draws under settings, after the same history and with the same noise.

  Attributes:
    settings: the fields of each, in row-major order of the leading axes.
    given_ids: i32[T], the answer.
    token_ids: i32[..., T], what would have been drawn in place of each of its
      tokens; the leading axes are those of all arrays of settings together.
    tokens: their texts, an array of str of the same shape.
  """

  settings: tuple[Mapping[str, Any], ...]
  given_ids: np.ndarray
  token_ids: np.ndarray
  tokens: np.ndarray

  @property
  def differs(self) -> np.ndarray:
    """bool[..., T]: where it would not have been the answer's token."""
    return self.token_ids != self.given_ids


def draw(
  session: session_lib.Session,
  prompt_ids: tuple[int, ...],
  token_ids: tuple[int, ...],
  params: Mapping[str, Any],
  *,
  choice: int = 0,
) -> Counterfactuals:
  """Draws under all settings, in one request.

  Args:
    session: of the model.
    prompt_ids: what the answer was drawn from.
    token_ids: of the answer.
    params: the settings; numbers may be arrays.
    choice: number of the answer among the choices of its request.

  Raises:
    types.RequestError: unknown or wrong settings.
  """
  scoring.check(session, prompt_ids, token_ids)
  _check_names(params)
  shape, settings = settings_lib.broadcast(params, settings_lib.NUMBERS)
  asked = [
    _forced(session, prompt_ids, token_ids, one, choice) for one in settings
  ]
  rows = scoring.run(session.engine, asked)
  drawn = [[token.measured.free_id for token in row] for row in rows]
  texts = [[scoring.text_of(session, one) for one in row] for row in drawn]
  place = *shape, len(token_ids)
  return Counterfactuals(
    settings=tuple(settings),
    given_ids=np.array(token_ids, np.int32),
    token_ids=np.array(drawn, np.int32).reshape(place),
    tokens=np.array(texts).reshape(place),
  )


def _check_names(params: Mapping[str, Any]) -> None:
  allowed = *settings_lib.NUMBERS, *_ALONE
  for name in params:
    if name not in allowed:
      raise types.RequestError(
        f'{name} is no setting of a draw; there are {", ".join(allowed)}.',
        param=name,
      )


def _forced(
  session: session_lib.Session,
  prompt_ids: tuple[int, ...],
  token_ids: tuple[int, ...],
  setting: Mapping[str, Any],
  choice: int,
) -> types.TokenRequest:
  asked = request_lib.parse(python_body.plain({**_CHAT, **setting})).request
  if asked.seed is None:
    raise types.RequestError(
      'There is no seed: give that of the answer, which names its noise.',
      param='seed',
    )
  sampling = asked.sampling
  request = scoring.forced(
    prompt_ids, token_ids, sampling=sampling, seed=asked.seed
  )
  stop_ids = frozenset()
  if sampling.min_tokens:
    stop_ids = _stop_ids(session, token_ids)
  return dataclasses.replace(request, stop_ids=stop_ids, first_choice=choice)


def _stop_ids(
  session: session_lib.Session, token_ids: Sequence[int]
) -> frozenset[int]:
  """What `min_tokens` holds back; it would end the row, too."""
  stop_ids = session.tokenizer.eos_ids
  if not stop_ids.isdisjoint(token_ids[:-1]):
    raise types.RequestError(
      'min_tokens is given, and the completion goes on after an end-of-sequence'
      ' token; leave one of the two out.',
      param='min_tokens',
    )
  return stop_ids
