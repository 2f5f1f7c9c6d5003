"""What is to be done of a range of lines."""

from __future__ import annotations

import dataclasses

from chatjax.batch import answer
from chatjax.batch import content
from chatjax.batch import kept as kept_lib
from chatjax.batch import lines
from chatjax.batch import order
from chatjax.batch import parts
from chatjax.batch import source as source_lib
from chatjax.protocol import limits as limits_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """A range of lines, looked at.

  Attributes:
    keys: of all that is to have a record, by line.
    custom_ids: of its requests, by line.
    items: its requests, in the order of the file.
    refusals: the records of what is no request.
  """

  keys: dict[int, str]
  custom_ids: dict[int, str]
  items: list[order.Item]
  refusals: list[parts.Record]


def read(
  source: source_lib.Source,
  index: int,
  *,
  fingerprint: str,
  limits: limits_lib.Limits,
  context: int,
) -> Plan:
  """Looks at every line of a range.

  Args:
    source: the file.
    index: of the range.
    fingerprint: of the model.
    limits: how long a line may be.
    context: the longest answer.
  """
  plan = Plan(keys={}, custom_ids={}, items=[], refusals=[])
  for line in source.read(index):
    try:
      asked = parse(line, limits)
    except lines.LineError as error:
      key = content.key_of_damage(fingerprint, line.number, line.data or b'')
      plan.refusals.append(answer.refusal(line.number, key, error))
    else:
      key = asked.key(fingerprint)
      plan.custom_ids[line.number] = asked.custom_id
      plan.items.append(
        order.item(line.number, line.offset, key, asked, context=context)
      )
    plan.keys[line.number] = key
  return plan


def parse(line: source_lib.Line, limits: limits_lib.Limits) -> lines.Asked:
  """The request of a line; raises `lines.LineError` if it is none."""
  if line.data is None:
    raise lines.too_long(limits)
  asked = lines.parse(line.data, limits=limits)
  if line.is_duplicate:
    raise lines.duplicate(asked.custom_id)
  return asked


def kept_answer(
  item: order.Item,
  kept: kept_lib.Kept,
  source: source_lib.Source,
  limits: limits_lib.Limits,
) -> parts.Record | None:
  """The record of an answer that an earlier run has left.

  Args:
    item: the request.
    kept: what there is.
    source: where the request is.
    limits: of this run: what it would refuse, it does not take either.
  """
  found = kept.find(item.line, item.key)
  if found is None:
    return None
  asked = lines.parse(source.read_at(item.offset), limits=limits)
  return found if answer.is_allowed(asked, limits) else None
