"""How all items of a run are asked, and with which seeds."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import hashlib
import json
from typing import Any

from chatjax import types
from chatjax.evals import items as items_lib

_DOMAIN = 'chatjax-eval-seed-1'
_LIMITS = frozenset({'max_tokens', 'max_completion_tokens'})
_DEFAULT_REQUEST = {'temperature': 0.0, 'max_tokens': 512}


class PlanError(types.ChatjaxError):
  """A run that makes no sense; the message says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """How items are asked.

  Attributes:
    request: fields of all requests; an item's own go before.
    seeds: every item is asked once for each; () is the same as (`seed`,). What
      an item is asked with follows from these and its id.
    seed: of the items' seeds, and of resampling.
    n: choices per request.
    ks: of pass@k.
  """

  request: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  seeds: tuple[int, ...] = ()
  seed: int = 0
  n: int = 1
  ks: tuple[int, ...] = (1,)

  def __post_init__(self):
    items_lib.check_request(
      self.request, lambda name, why: PlanError(f'The request must be {why}.')
    )
    if self.n < 1:
      raise PlanError(f'n is {self.n}; it must be 1 or more.')
    if len(set(self.seeds)) < len(self.seeds):
      raise PlanError('A seed is given twice: its answers would be equal.')
    for seed in (self.seed, *self.seeds):
      if not types.MIN_SEED <= seed <= types.MAX_SEED:
        raise PlanError(f'The seed {seed} is no 64-bit integer.')
    if not self.ks:
      raise PlanError('k is empty; name one or more k of pass@k, such as 1.')
    for k in self.ks:
      if not 1 <= k <= self.samples:
        raise PlanError(
          f'pass@{k} wants {max(k, 1)} or more samples of each item; there are'
          f' {self.samples} (n times seeds).'
        )

  def check(self, items: Iterable[items_lib.Item]) -> None:
    """Raises `PlanError` if items would be asked the same thing twice."""
    if self.samples == 1:
      return
    for item in items:
      if item.kind == items_lib.CHOICE:
        continue  # nothing is drawn
      if self.fields(item.request).get('temperature') == 0:
        raise PlanError(
          f'Item {item.id!r}: {self.samples} samples at temperature 0 are all'
          ' the same; set a temperature above 0, or take one sample.'
        )

  @property
  def samples(self) -> int:
    """Answers per item."""
    return self.n * max(1, len(self.seeds))

  def fields(self, item: Mapping[str, Any]) -> dict[str, Any]:
    """Of the requests of an item with fields of its own."""
    made = dict(_DEFAULT_REQUEST)
    for given in (self.request, item):
      if not _LIMITS.isdisjoint(given):  # one limit under two names
        made = {name: made[name] for name in made if name not in _LIMITS}
      made.update(given)
    return made

  def seeds_of(self, item_id: str) -> tuple[int, ...]:
    """The seeds that an item is asked with: the same for every model.

    No two items share one: the noise of a draw follows from its seed alone, and
    intervals and tests take items for independent.
    """
    seeds = self.seeds or (self.seed,)
    return tuple(item_seed(seed, item_id) for seed in seeds)

  @property
  def seed_rule(self) -> str:
    """In words, for the manifest."""
    each = 'for each of the seeds given ' if self.seeds else ''
    return (
      f'An item has {each}the first 8 bytes, as a signed big-endian number, of'
      f' the SHA-256 of the JSON ["{_DOMAIN}", seed, id of the item].'
    )

  def as_settings(self) -> dict[str, Any]:
    """All of it, for the manifest."""
    return {**dataclasses.asdict(self), 'request': self.fields({})}


def item_seed(seed: int, item_id: str) -> int:
  """By the rule of `Plan.seed_rule`."""
  text = json.dumps([_DOMAIN, seed, item_id], separators=(',', ':'))
  digest = hashlib.sha256(text.encode()).digest()
  return int.from_bytes(digest[:8], signed=True)
