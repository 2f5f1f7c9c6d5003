"""The model under evaluation: it draws answers and scores choices.

What it returns goes into a record as it is, and is enough to do it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from chatjax.chat import keeper
from chatjax.chat import patience
from chatjax.chat import replay as replay_lib
from chatjax.chat import scoring
from chatjax.chat import session as session_lib
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import request as request_lib
from chatjax.store import records

# Told once, in the manifest.
_OF_THE_RUN = ('fingerprint', 'parts')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
  """What came of one request.

  Attributes:
    texts, reasons: of its choices.
    asked: what it takes to draw them again, in plain JSON.
  """

  texts: tuple[str, ...]
  reasons: tuple[str, ...]
  num_tokens: tuple[int, ...]
  asked: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
  """How likely some continuations are.

  Attributes:
    totals: log-probability of each.
    asked: the tokens, with the bits of their log-probabilities.
  """

  totals: tuple[float, ...]
  asked: Mapping[str, Any]


class Model:
  """A session, as evaluations use it. Thread-safe."""

  def __init__(self, session: session_lib.Session):
    self.session = session

  def draw(self, body: Mapping[str, Any]) -> Drawn:
    """Answers one request.

    Args:
      body: its fields, the seed among them.

    Raises:
      types.RequestError: the model cannot be asked that.
    """
    given = {**body, 'model': self.session.model_id}
    limits = limits_lib.Limits(max_n=max(1, body.get('n', 1)))
    request = request_lib.parse(given, limits=limits).request
    running = patience.ask(
      self.session.engine, lambda: self.session.start(request)
    )
    result = running.result()
    kept = keeper.provenance(running, result, request=body, parts={})
    told = records.plain({**vars(kept), 'digest': kept.digest})
    for name in _OF_THE_RUN:
      del told[name]
    return Drawn(
      texts=tuple(choice.text for choice in result.choices),
      reasons=tuple(str(choice.finish_reason) for choice in result.choices),
      num_tokens=tuple(len(choice.token_ids) for choice in result.choices),
      asked=told,
    )

  def score(
    self,
    completions: Sequence[str],
    *,
    prompt: str | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
  ) -> Scores:
    """Scores texts that may follow a plain prompt, or answer messages."""
    if prompt is not None:
      prompt_ids = scoring.ids_of_text(self.session, prompt)
    else:
      body = {'model': self.session.model_id, 'messages': list(messages)}
      request = request_lib.parse(body).request
      prompt_ids = self.session.prompt(request).token_ids
    return self._score(
      prompt_ids,
      [scoring.completion_ids(self.session, text) for text in completions],
    )

  def draw_again(
    self, asked: Mapping[str, Any], parts: Mapping[str, Any]
  ) -> replay_lib.Report:
    """Draws what `draw` told again.

    Args:
      asked: of a `Drawn`.
      parts: of the fingerprint then.
    """
    kept = records.Provenance.from_plain(
      {**asked, 'fingerprint': '', 'parts': parts}
    )
    return replay_lib.replay(self.session, kept)

  def score_again(self, asked: Mapping[str, Any]) -> Scores:
    """Scores what `score` told again: alike, if `asked` is the same."""
    return self._score(tuple(asked['prompt_ids']), asked['token_ids'])

  def _score(
    self, prompt_ids: Sequence[int], token_ids: Sequence[Sequence[int]]
  ) -> Scores:
    pairs = [(tuple(prompt_ids), tuple(ids)) for ids in token_ids]
    scored = patience.ask(
      self.session.engine, lambda: scoring.score(self.session, pairs)
    )
    asked = {
      'prompt_ids': prompt_ids,
      'token_ids': [one.token_ids.tolist() for one in scored],
      'logprob_bits': [keeper.bits(one.logprobs.tolist()) for one in scored],
    }
    return Scores(
      totals=tuple(one.total for one in scored), asked=records.plain(asked)
    )
