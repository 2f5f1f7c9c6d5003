"""How long the server waits."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timeouts:
  """Seconds; None is for ever.

  Attributes:
    answer_s: from a request's submission until its last token.
    write_s: for a reader to take the next event of its stream.
    keep_alive_s: of silence in a stream, before a comment says that it goes on.
    drain_s: for running requests to end after the signal to stop.
  """

  answer_s: float | None = None
  write_s: float | None = 60.0
  keep_alive_s: float | None = 15.0
  drain_s: float = 30.0
