"""One item: asked, marked, and made a record that can be asked again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence
import hashlib
import json
import math
from typing import Any
from typing import Protocol

from chatjax import types
from chatjax.evals import choice
from chatjax.evals import items as items_lib
from chatjax.evals import marks
from chatjax.evals import model as model_lib
from chatjax.evals import plan as plan_lib
from chatjax.evals import statistics

Record = Mapping[str, Any]
MATCH = 'match'
_KEY_DIGITS = 32


class Model(Protocol):
  """See `model.Model`."""

  def draw(self, body: Mapping[str, Any]) -> model_lib.Drawn: ...

  def score(
    self,
    completions: Sequence[str],
    *,
    prompt: str | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
  ) -> model_lib.Scores: ...


def key(item: items_lib.Item, run: str) -> str:
  """Names the record of an item in a run, by content.

  Args:
    item: the item.
    run: names the model and how it is asked.
  """
  text = json.dumps([run, item.id, item.kind, item.record], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


def record(
  model: Model, item: items_lib.Item, plan: plan_lib.Plan, *, run: str
) -> Record:
  """Asks one item.

  A request that the model refuses (its prompt is too long, say) counts as a
  wrong answer, and its record says why.
  """
  ask = _score if item.kind == items_lib.CHOICE else _draw
  told = {
    'key': key(item, run),
    'id': item.id,
    'line': item.line,
    'kind': item.kind,
    'item': item.record,
  }
  try:
    return {**told, **ask(model, item, plan)}
  except types.RequestError as error:
    if error.status >= 500:  # not the request's fault
      raise
    zeros = dict.fromkeys(metrics(item.kind, plan), 0.0)
    return {**told, 'error': str(error), 'samples': [], 'scores': zeros}


def metrics(kind: str, plan: plan_lib.Plan) -> list[str]:
  """What is told of every item of a kind."""
  if kind == items_lib.CHOICE:
    return [choice.ACC, choice.ACC_NORM]
  if kind == items_lib.CODE:
    return [f'pass@{k}' for k in plan.ks]
  return [MATCH]


def _score(
  model: Model, item: items_lib.Item, unused_plan: plan_lib.Plan
) -> Record:
  grader = item.grader
  scored = model.score(
    grader.choices, prompt=item.prompt, messages=item.messages
  )
  return {'asked': [scored.asked], **marked_choices(grader, scored.totals)}


def marked_choices(grader: choice.Choice, totals: Sequence[float]) -> Record:
  """What a record tells of choices: of `samples` and `scores`."""
  samples = [
    {'text': text, 'logprob': total}
    for text, total in zip(grader.choices, totals, strict=True)
  ]
  return {'samples': samples, 'scores': grader.scores(totals)}


def _draw(model: Model, item: items_lib.Item, plan: plan_lib.Plan) -> Record:
  fields = {'messages': list(item.messages), **plan.fields(item.request)}
  asked, samples = [], []
  known: dict[str, marks.Mark] = {}  # equal answers have equal marks
  for seed in plan.seeds_of(item.id):
    drawn = model.draw({**fields, 'seed': seed, 'n': plan.n})
    asked.append(drawn.asked)
    for index, text in enumerate(drawn.texts):
      if text not in known:
        known[text] = item.grader.mark(text)
      samples.append(
        {
          'seed': seed,
          'choice': index,
          'text': text,
          'finish_reason': drawn.reasons[index],
          'num_tokens': drawn.num_tokens[index],
          'score': known[text].score,
          'detail': known[text].detail,
        }
      )
  values = [sample['score'] for sample in samples]
  return {
    'asked': asked,
    'samples': samples,
    'scores': scores(item.kind, values, plan.ks),
  }


def scores(
  kind: str, values: Sequence[float], ks: Sequence[int]
) -> dict[str, float]:
  """The metrics of one item whose answers were drawn.

  Args:
    kind: of the item.
    values: the score of each answer.
    ks: of pass@k.
  """
  if kind != items_lib.CODE:
    return {MATCH: math.fsum(values) / len(values)}
  passed = Counter(values)[1.0]
  return {f'pass@{k}': statistics.pass_at_k(len(values), passed, k) for k in ks}
