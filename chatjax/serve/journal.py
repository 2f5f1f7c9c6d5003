"""What became of every request: one line in the log when it ends.

The server knows who asked and what was answered, the engine when things
happened. Whichever of them ends first waits for the other. Of prompts and
answers nothing is written but their lengths.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
import contextlib
import dataclasses
import functools
import logging

from chatjax import types
from chatjax.chat import generation
from chatjax.engine import stats

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Visit:
  """The server's half of a request that has ended.

  Attributes:
    status: of the HTTP answer; 499 if nobody was there to read it.
    code: of the error that ended it, if one did.
    outcome: 'stop', 'length', 'cancelled' or 'error'. The engine's own is
      'cancelled' for what ends by a stop string, too.
  """

  model: str
  status: int
  outcome: str
  code: str | None
  n: int
  is_stream: bool
  num_generated: int
  user: str | None
  safety_identifier: str | None


class Journal:
  """Joins the halves, on the event loop.

  Args:
    engine: whose requests they are.
    observe: called with both halves of every request.
  """

  def __init__(
    self,
    engine: generation.Engine,
    observe: Callable[[Visit, stats.Timeline], None],
  ):
    self._observe = observe
    self._hearers: dict[str, Callable[[stats.Timeline], None]] = {}
    engine.listeners.append(self._hear)

  def open(self, request_id: str) -> Entry:
    """Begins an entry, before its request is submitted."""
    entry = Entry(self._write, request_id)
    loop = asyncio.get_running_loop()
    self._hearers[entry.request_id] = functools.partial(
      loop.call_soon_threadsafe, entry.hear
    )
    return entry

  def discard(self, entry: Entry) -> None:
    """Forgets a request that was refused."""
    self._hearers.pop(entry.request_id, None)

  def _hear(self, timeline: stats.Timeline) -> None:
    """On the engine's thread."""
    hearer = self._hearers.pop(timeline.request_id, None)
    if hearer is not None:  # else it did not come over HTTP
      with contextlib.suppress(RuntimeError):  # the loop is closed
        hearer(timeline)

  def _write(self, visit: Visit, timeline: stats.Timeline) -> None:
    _log.info('%s', line(visit, timeline))
    self._observe(visit, timeline)


class Entry:
  """One request's, until both halves are there."""

  def __init__(
    self, write: Callable[[Visit, stats.Timeline], None], request_id: str
  ):
    self.request_id = request_id
    self._write = write
    self._visit: Visit | None = None
    self._timeline: stats.Timeline | None = None

  def hear(self, timeline: stats.Timeline) -> None:
    """Takes the engine's half."""
    self._timeline = timeline
    if self._visit is not None:
      self._write(self._visit, timeline)

  def close(self, visit: Visit) -> None:
    """Takes the server's half, once."""
    self._visit = visit
    if self._timeline is not None:
      self._write(visit, self._timeline)


def outcome(running: generation.Generation) -> str:
  """How a generation ended, as `stats.Totals.finished` calls it."""
  if running.failure is not None:
    return 'error'
  if len(running.reasons) < running.meta.n:
    return 'cancelled'
  is_cut = types.FinishReason.LENGTH in running.reasons.values()
  return str(types.FinishReason.LENGTH if is_cut else types.FinishReason.STOP)


def line(visit: Visit, timeline: stats.Timeline) -> str:
  """key=value pairs; what callers choose is quoted and escaped."""
  gap_s = sum(seconds for seconds, _ in timeline.gaps)
  num_later = sum(tokens for _, tokens in timeline.gaps)
  fields = {
    'id': timeline.request_id,
    'model': visit.model,
    'status': visit.status,
    'outcome': visit.outcome,
    'code': visit.code,
    'prompt_tokens': timeline.num_prompt,
    'cached_tokens': timeline.num_cached,
    'generated_tokens': visit.num_generated,
    'n': visit.n,
    'stream': visit.is_stream,
    'queue_ms': _ms(timeline.arrived, timeline.started),
    'ttft_ms': _ms(timeline.arrived, timeline.first_token),
    'tpot_ms': f'{1e3 * gap_s / num_later:.2f}' if num_later else None,
    'e2e_ms': _ms(timeline.arrived, timeline.ended),
    'preemptions': timeline.num_preemptions,
    'user': None if visit.user is None else repr(visit.user),
    'safety_identifier': (
      None if visit.safety_identifier is None else repr(visit.safety_identifier)
    ),
  }
  shown = (
    f'{name}={"-" if value is None else value}'
    for name, value in fields.items()
  )
  return ' '.join(shown)


def _ms(start: float, end: float | None) -> str | None:
  return None if end is None else f'{1e3 * (end - start):.1f}'
