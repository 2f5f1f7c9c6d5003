"""Answers of several models, prompts and settings, drawn with the same noise.

A seed names a uniform number for every token of an answer (`keys.noise`), and
nothing else enters into it: not the model, the prompt or the settings. Token t
is the first by ascending id at which the running probability exceeds number
t. So answers of one seed have their noise in common (common random numbers):
where two distributions agree, the same token is drawn, and a comparison has no
variance from luck that both had. Where they differ, the draw moves to another
token with at least the probability by which they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import concurrent.futures
import dataclasses
import itertools
from typing import Any
from typing import Protocol

import numpy as np

from chatjax.chat import sweep as sweep_lib
from chatjax.protocol import response

_AT_ONCE = 8


class Model(Protocol):
  """The part of `model.Chat` that is needed here."""

  def sweep(
    self, messages: Sequence[Mapping[str, Any]], **params: Any
  ) -> sweep_lib.Sweep: ...


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Coupled:
  """Answers of one noise.

  Attributes:
    answers: of `chat`, an object array [models, prompts, *shape of settings].
    settings: the fields of each setting, in row-major order.
  """

  answers: np.ndarray
  settings: tuple[Mapping[str, Any], ...]

  @property
  def texts(self) -> np.ndarray:
    """The answers' texts, in the same shape."""
    texts = np.empty(self.answers.shape, object)
    for place, answer in np.ndenumerate(self.answers):
      texts[place] = answer.choices[0].message.content
    return texts


def draw(
  models: Sequence[Model],
  prompts: Sequence[Sequence[Mapping[str, Any]]],
  **params: Any,
) -> Coupled:
  """Answers every prompt with every model under every setting.

  Args:
    models: of `chatjax.load`. Where tokens are compared, their vocabularies
      should be the same.
    prompts: lists of messages.
    **params: as for `Chat.sweep`. Without a seed one is drawn for all; the
      answers have their token ids.
  """
  _, settings = sweep_lib.plan(params)  # draws the seed
  params = {
      **params, 'seed': settings[0]['seed'] if params.get('seed') is None
      else params['seed'], 'return_token_ids': True,
  }  # fmt: skip
  pairs = list(itertools.product(models, prompts))
  with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
    sweeps = list(
      pool.map(lambda pair: pair[0].sweep(pair[1], **params), pairs)
    )
  answers = np.empty((len(pairs), len(sweeps[0].answers)), object)
  for row, sweep in enumerate(sweeps):
    answers[row, :] = sweep.answers
  place = len(models), len(prompts), *sweeps[0].shape
  return Coupled(answers=answers.reshape(place), settings=sweeps[0].settings)


def parting(
  one: response.ChatCompletion, other: response.ChatCompletion
) -> int | None:
  """The first token at which two answers differ; None if they never do.

  Both were asked for with `return_token_ids=True`.
  """
  ids, others = (answer.choices[0].token_ids for answer in (one, other))
  for position, (a, b) in enumerate(itertools.zip_longest(ids, others)):
    if a != b:
      return position
  return None
