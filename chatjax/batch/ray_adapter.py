"""Batches on a Ray cluster: a class for `Dataset.map_batches`.

  import ray
  from chatjax.batch import ray_adapter

  requests = ray.data.read_text('requests.jsonl')
  answers = requests.map_batches(
    ray_adapter.Answerer,
    fn_constructor_kwargs={'model': 'qwen2.5-coder-0.5b-instruct'},
    compute=ray.data.ActorPoolStrategy(size=4),
    batch_size=256,
  )

A record is what `chatjax batch` makes of the same line, byte by byte. What Ray
does not know is left out: an id that is given twice is answered twice, and
nothing is resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import concurrent.futures
from typing import Any

import numpy as np

import chatjax
from chatjax.batch import answer as answer_lib
from chatjax.batch import content
from chatjax.batch import lines
from chatjax.batch import order
from chatjax.batch import parts
from chatjax.protocol import limits as limits_lib

_AHEAD = 2  # times the rows: what is asked at once


class Answerer:
  """One model, which answers batches of lines; an actor of Ray."""

  def __init__(
    self,
    model: str,
    *,
    column: str = 'text',
    limits: limits_lib.Limits | None = None,
    load: Callable[..., Any] | None = None,
    **load_fields: Any,
  ):
    """Loads the model.

    Args:
      model: as `chatjax.load` has it.
      column: the one with the lines of the batch file.
      limits: how big a request may be.
      load: in place of `chatjax.load`.
      **load_fields: for `chatjax.load`, such as `max_rows=16`.
    """
    self._chat = (load or chatjax.load)(model, **load_fields)
    self._column = column
    self._limits = limits or limits_lib.Limits()

  def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Answers a batch.

    Returns: columns `custom_id`, `is_error` and `record`, which is the line of
      `results.jsonl` or `errors.jsonl`; in the order of the batch.
    """
    given = [str(line).encode() for line in batch[self._column]]
    records = asyncio.run(self._answer(given))
    return {
      'custom_id': np.array(
        [lines.custom_id_of(line) or '' for line in given], object
      ),
      'is_error': np.array([one.is_error for one in records], bool),
      'record': np.array([one.data.decode() for one in records], object),
    }

  async def _answer(self, given: Sequence[bytes]) -> list[parts.Record]:
    engine = self._chat.session.engine
    found: dict[int, parts.Record] = {}
    items: list[order.Item] = []
    asked: dict[int, lines.Asked] = {}
    for number, line in enumerate(given):
      try:
        asked[number] = lines.parse(line, limits=self._limits)
      except lines.LineError as error:
        key = content.key_of_damage(engine.fingerprint, 0, line)
        found[number] = answer_lib.refusal(number, key, error)
      else:
        key = asked[number].key(engine.fingerprint)
        items.append(
          order.item(number, 0, key, asked[number], context=engine.max_context)
        )
    turns = asyncio.Semaphore(_AHEAD * engine.max_rows)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
      asker = answer_lib.Asker(
        self._chat.session, limits=self._limits, pool=pool
      )

      async def one(item: order.Item) -> None:
        async with turns:
          found[item.line], _ = await asker.answer(
            item.line, item.key, asked[item.line]
          )

      await asyncio.gather(*map(one, order.arrange(items)))
    return [found[number] for number in range(len(given))]
