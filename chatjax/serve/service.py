"""What the endpoints that draw tokens share."""

from __future__ import annotations

import dataclasses

from chatjax.chat import session as session_lib
from chatjax.protocol import limits as limits_lib
from chatjax.serve import gate as gate_lib
from chatjax.serve import journal as journal_lib
from chatjax.serve import quota as quota_lib
from chatjax.serve import timeouts as timeouts_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Service:
  """One model and the rules under which it is asked.

  Attributes:
    session: the model.
    limits: how big a request may be.
    timeouts: how long it may take.
    gate: whether it is let in.
    quota: how much its key may have at a time.
    journal: where it is written down.
  """

  session: session_lib.Session
  limits: limits_lib.Limits
  timeouts: timeouts_lib.Timeouts
  gate: gate_lib.Gate
  quota: quota_lib.Quota
  journal: journal_lib.Journal
