"""Asks all items of a finished run again, and compares tokens and bits."""

from __future__ import annotations

from collections.abc import Callable
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
    different: the items that are not the same, bit for bit.
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
  """Draws and scores everything again, from the tokens of the prompts.

  Raises:
    types.ChatjaxError: a record was changed, or the engine failed.
  """
  asked = [record for record in records if 'error' not in record]
  tokens, different = 0, []
  for done, record in enumerate(asked):
    progress(done, len(asked))
    for one in record['asked']:
      if record['kind'] == items_lib.CHOICE:
        tokens += sum(map(len, one['token_ids']))
        what = _scored(model, one)
      else:
        tokens += sum(map(len, one['output_ids']))
        what = _drawn(model, one, manifest, record)
      if what:
        different.append(Different(id=record['id'], what=what))
        break
  progress(len(asked), len(asked))
  now = records_lib.plain(dict(model.session.engine.fingerprint_parts))
  return Report(
    items=len(asked),
    tokens=tokens,
    different=tuple(different),
    changed_parts=replay_lib.changed(manifest.parts, now),
  )


def _scored(model: model_lib.Model, asked: asking.Record) -> str:
  if model.is_scored_alike(asked):
    return ''
  return 'other log-probabilities of its choices'


def _drawn(
  model: model_lib.Model,
  asked: asking.Record,
  manifest: manifest_lib.Manifest,
  record: asking.Record,
) -> str:
  try:
    found = model.draw_again(asked, manifest.parts)
  except ValueError as error:
    if isinstance(error, types.RequestError):
      raise
    raise types.ChatjaxError(f'Item {record["id"]!r}: {error}') from None
  if found.is_identical:
    return ''
  one = found.difference
  return f'choice {one.choice} from token {one.position} on'
