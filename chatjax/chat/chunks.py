"""The chunks of one answer, as an iterator that can be closed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from chatjax.chat import generation
from chatjax.chat import keeper as keeper_lib
from chatjax.protocol import build
from chatjax.protocol import response


class ChunkStream:
  """Iterates over chunks. Closing or dropping it stops the model.

  Not a generator: one that was never started has no code to run when it is
  closed, and the request is in the engine already.
  """

  def __init__(self, running: generation.Generation, keeper: keeper_lib.Keeper):
    self._running = running
    self._chunks = _chunks(running, keeper)

  def close(self) -> None:
    """Stops the model, from any thread; the iteration then ends."""
    self._running.cancel()
    self._chunks = iter(())

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused_error: object) -> None:
    self.close()

  def __iter__(self) -> Self:
    return self

  def __next__(self) -> response.ChatCompletionChunk:
    return next(self._chunks)


def _chunks(
  running: generation.Generation, keeper: keeper_lib.Keeper
) -> Iterator[response.ChatCompletionChunk]:
  with running:
    chunks = build.ChunkBuilder(running.meta)
    yield from chunks.start()
    deltas = []
    for delta in running:
      if running.source.store:
        deltas.append(delta)
      yield from chunks.add(delta)
    keeper.keep_streamed(running, deltas)
    yield from chunks.end(running.num_cached, running.drafted)
