"""Draws the answer of one record again and says whether it is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from collections.abc import Mapping
import concurrent.futures
import dataclasses
import json
import pathlib
from typing import Any

from chatjax import types
from chatjax.batch import answer as answer_lib
from chatjax.batch import folder as folder_lib
from chatjax.batch import lines
from chatjax.chat import session as session_lib
from chatjax.protocol import limits as limits_lib
from chatjax.store import manifest as manifest_lib
from chatjax.store import records

_SHOWN = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
  """A record, with what it takes to draw its answer again.

  Attributes:
    body: of the answer.
    asked: the request.
    line: its number in the file of requests.
  """

  body: Mapping[str, Any]
  asked: lines.Asked
  line: int
  manifest: manifest_lib.Manifest

  @property
  def limits(self) -> limits_lib.Limits:
    """As they were; those that there were not yet are as they are."""
    known = {field.name for field in dataclasses.fields(limits_lib.Limits)}
    told = self.manifest.settings['limits']
    return limits_lib.Limits(**{k: told[k] for k in told if k in known})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """What a replay found.

  Attributes:
    digest: of the tokens and the bits of their log-probabilities, as drawn.
    difference: (where, what is kept, what was drawn), first of all; None if
      the whole answer is the same.
    changed_parts: of the fingerprint: name -> (then, now).
  """

  num_tokens: int
  digest: str
  difference: tuple[str, Any, Any] | None
  changed_parts: Mapping[str, tuple[Any, Any]]

  @property
  def is_identical(self) -> bool:
    return self.difference is None


def find(path: pathlib.Path, custom_id: str) -> Kept:
  """Finds a record in a finished batch.

  Args:
    path: of its `results.jsonl`.
    custom_id: of the record.

  Raises:
    types.ChatjaxError: there is none, or the folder is not whole.
  """
  manifest = manifest_lib.read(path.parent)
  folder = folder_lib.Folder(path.parent)
  if not manifest.is_complete:
    raise folder_lib.FolderError(
      f'{path.parent} is not complete; run chatjax batch again first.'
    )
  folder.check(manifest)
  _, found = next(_named(path, custom_id), (0, b'null'))
  record = json.loads(found)
  if record is None or record['response'] is None:
    raise types.ChatjaxError(f'{path} has no answer to {custom_id!r}.')
  line, data = next(_named(folder.requests, custom_id))
  return Kept(
    body=record['response']['body'],
    asked=lines.parse(data, limits=limits_lib.Limits(max_body_bytes=2**62)),
    line=line,
    manifest=manifest,
  )


def replay(session: session_lib.Session, kept: Kept) -> Report:
  """Draws an answer again.

  Args:
    session: of the same model, where the answer is to be the same.
    kept: from `find`.

  Raises:
    types.ChatjaxError: it cannot be asked that any more.
  """
  asked = kept.asked
  if session.model_id != kept.body['model']:
    # Another model is asked what that one was. A seed that is not given follows
    # from the body, which is another now.
    seed = kept.body['chatjax']['seed']
    asked = dataclasses.replace(
      asked, body={**asked.body, 'model': session.model_id, 'seed': seed}
    )
  key = kept.asked.key(kept.manifest.fingerprint)
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    asker = answer_lib.Asker(session, limits=kept.limits, pool=pool)
    record, num_tokens = asyncio.run(asker.answer(kept.line, key, asked))
  drawn = json.loads(record.data)['response']['body']
  if record.is_error:
    raise types.ChatjaxError(drawn['error']['message'])
  now = records.plain(dict(session.engine.fingerprint_parts))
  then = kept.manifest.parts
  return Report(
    num_tokens=num_tokens,
    digest=drawn['chatjax']['digest'],
    difference=_difference('', _compared(kept.body), _compared(drawn)),
    changed_parts={
      name: (then.get(name), now.get(name))
      for name in sorted({*then, *now})
      if then.get(name) != now.get(name)
    },
  )


def describe(report: Report) -> str:
  """The verdict, and what may explain it."""
  if report.is_identical:
    told = [
      f'identical: {report.num_tokens} tokens and their log-probabilities, bit'
      f' for bit, and all that was written (digest {report.digest[:16]}).'
    ]
  else:
    where, kept, drawn = report.difference
    told = [
      f'different: {where} was {_shown(kept)}, and is {_shown(drawn)} now.'
    ]
  for name, (then, now) in report.changed_parts.items():
    told.append(f'fingerprint, {name}: {then} then, {now} now.')
  return '\n'.join(told)


def _named(path: pathlib.Path, custom_id: str) -> Iterator[tuple[int, bytes]]:
  """(number, line) of the lines with an id, which is looked for as it is."""
  with open(path, 'rb') as file:
    for number, data in enumerate(file, 1):
      if lines.custom_id_of(data) == custom_id:
        yield number, data


def _compared(body: Mapping[str, Any]) -> dict[str, Any]:
  """Which model it was is told by the parts of its fingerprint."""
  return {
    name: value
    for name, value in body.items()
    if name not in ('system_fingerprint', 'model')
  }


def _difference(
  where: str, one: Any, other: Any
) -> tuple[str, Any, Any] | None:
  """The first place where two values differ."""
  if isinstance(one, dict) and isinstance(other, dict):
    pairs = [
      (f'{where}.{name}'.lstrip('.'), one.get(name), other.get(name))
      for name in {**one, **other}
    ]
  elif isinstance(one, list) and isinstance(other, list):
    size = max(len(one), len(other))
    pad = lambda values: [*values, *[None] * (size - len(values))]
    pairs = [
      (f'{where}[{i}]', *both)
      for i, both in enumerate(zip(pad(one), pad(other), strict=True))
    ]
  else:
    return None if one == other else (where, one, other)
  found = (_difference(*pair) for pair in pairs)
  return next((each for each in found if each is not None), None)


def _shown(value: Any) -> str:
  text = json.dumps(value, ensure_ascii=False)
  return text if len(text) <= _SHOWN else f'{text[: _SHOWN - 3]}...'
