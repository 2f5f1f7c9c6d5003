"""Asks and marks a finished run again; compares tokens, bits and scores."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from chatjax import types
from chatjax.chat import replay as replay_lib
from chatjax.evals import asking
from chatjax.evals import items as items_lib
from chatjax.evals import model as model_lib
from chatjax.store import manifest as manifest_lib
from chatjax.store import records as records_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Different:
  """An item that came out otherwise.

  Attributes:
    id: of the item.
    what: in words.
  """

  id: str
  what: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """What a replay found.

  Attributes:
    items: that were asked again; those that had been refused are not.
    tokens: drawn or scored again.
    different: the items that are not the same, bit for bit, or score otherwise.
    changed_parts: of the fingerprint: name -> (then, now).
  """

  items: int
  tokens: int
  different: tuple[Different, ...]
  changed_parts: dict[str, tuple[Any, Any]]

  @property
  def is_identical(self) -> bool:
    return not self.different


def replay(
  model: model_lib.Model,
  manifest: manifest_lib.Manifest,
  records: Sequence[asking.Record],
  *,
  progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
  """Draws, scores and marks everything again, from the tokens of the prompts.

  Raises:
    types.ChatjaxError: a record was changed, or the engine failed.
  """
  asked = [record for record in records if 'error' not in record]
  tokens, different = 0, []
  for done, record in enumerate(asked):
    progress(done, len(asked))
    if record['kind'] == items_lib.CHOICE:
      tokens += sum(len(x) for one in record['asked'] for x in one['token_ids'])
      what = _scored(model, record)
    else:
      tokens += sum(
        len(x) for one in record['asked'] for x in one['output_ids']
      )
      what = _drawn(model, record, manifest)
    if what:
      different.append(Different(id=record['id'], what=what))
  progress(len(asked), len(asked))
  now = records_lib.plain(dict(model.session.engine.fingerprint_parts))
  return Report(
    items=len(asked),
    tokens=tokens,
    different=tuple(different),
    changed_parts=replay_lib.changed(manifest.parts, now),
  )


def _scored(model: model_lib.Model, record: asking.Record) -> str:
  (asked,) = record['asked']
  again = model.score_again(asked)
  if again.asked != asked:
    return 'other log-probabilities of its choices'
  marked = asking.marked_choices(items_lib.grader_of(record), again.totals)
  if marked['samples'] != record['samples']:
    return 'other choices, or log-probabilities of them, than were asked for'
  return _differing(record, marked['scores'])


def _drawn(
  model: model_lib.Model,
  record: asking.Record,
  manifest: manifest_lib.Manifest,
) -> str:
  texts = []
  for asked in record['asked']:
    try:
      found = model.draw_again(asked, manifest.parts)
    except ValueError as error:
      if isinstance(error, types.RequestError):
        raise
      raise types.ChatjaxError(f'Item {record["id"]!r}: {error}') from None
    if not found.is_identical:
      one = found.difference
      return f'choice {one.choice} from token {one.position} on'
    texts += found.texts
  if texts != [sample['text'] for sample in record['samples']]:
    return 'the same tokens, but another text'
  return _marked(record, texts, manifest)


def _marked(
  record: asking.Record, texts: Sequence[str], manifest: manifest_lib.Manifest
) -> str:
  """Marks equal texts again."""
  grader = items_lib.grader_of(record)
  known = {text: grader.mark(text).score for text in set(texts)}
  values = [known[text] for text in texts]
  for index, sample in enumerate(record['samples']):
    if sample['score'] != values[index]:
      return (
        f'answer {index} is the same, but its score {values[index]:g}, not'
        f' {sample["score"]:g}'
      )
  again = asking.scores(record['kind'], values, manifest.settings['ks'])
  return _differing(record, again)


def _differing(record: asking.Record, scores: Mapping[str, float]) -> str:
  """Which scores are not those of a record."""
  return ', '.join(
    f'the same answers, but {name} {scores.get(name)}, not'
    f' {record["scores"].get(name)}'
    for name in sorted({*scores, *record['scores']})
    if scores.get(name) != record['scores'].get(name)
  )
