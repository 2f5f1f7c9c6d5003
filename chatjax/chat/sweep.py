"""One prompt answered under many settings, with one prefill for all of them.

Each answer is that of a separate request with its settings, bit for bit. If
they have a seed in common, they are drawn with the same noise: the t-th token
of each from the same uniform number (common random numbers), so that they
differ by what the settings do and by nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from chatjax import types
from chatjax.chat import patience
from chatjax.chat import session as session_lib
from chatjax.chat import settings as settings_lib
from chatjax.chat import together as together_lib
from chatjax.protocol import response

SWEPT = settings_lib.NUMBERS + settings_lib.LENGTHS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
  """Answers under settings.

  Attributes:
    shape: of all arrays of settings together.
    settings: the fields of each, in row-major order.
    answers: of each, as `chat` gives it.
  """

  shape: tuple[int, ...]
  settings: tuple[Mapping[str, Any], ...]
  answers: tuple[response.ChatCompletion, ...]

  @property
  def texts(self) -> np.ndarray:
    """The answers' texts, in the shape of the settings."""
    texts = np.empty(len(self.answers), object)
    texts[:] = [one.choices[0].message.content for one in self.answers]
    return texts.reshape(self.shape)


def plan(
  params: Mapping[str, Any],
) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
  """The shape and the settings of a sweep; see `settings.broadcast`.

  Without a seed, one is drawn for all of them.
  """
  settings_lib.refuse(params, ('n', 'stream'))
  seed = params.get('seed')
  given = {**params, 'seed': session_lib.new_seed() if seed is None else seed}
  return settings_lib.broadcast(given, SWEPT)


def answers(
  session: session_lib.Session, requests: Sequence[types.Request]
) -> list[response.ChatCompletion]:
  """Answers requests that differ by settings alone.

  As many go together as the engine's queue takes. While others have filled it,
  they wait.

  Raises:
    types.RequestError: one of them cannot be served.
  """
  most = session.engine.max_open
  found = []
  for start in range(0, len(requests), most):
    found += _together(session, requests[start : start + most])
  return found


def _together(
  session: session_lib.Session, requests: Sequence[types.Request]
) -> list[response.ChatCompletion]:
  together = together_lib.Together(session.engine, session_lib.new_id())
  prompt = session.prompt(requests[0])
  running = [
    session.start(request, prompt=prompt, engine=together.part())
    for request in requests
  ]
  patience.ask(session.engine, lambda: session.submit(together))
  try:
    return list(map(session.answer, running))
  finally:
    for one in running:
      one.cancel()
