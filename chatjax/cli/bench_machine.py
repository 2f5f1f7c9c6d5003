"""What the machine can do: the rate at which it reads memory, and how much
of it this process has taken.
"""

from __future__ import annotations

from concurrent import futures
import os
import resource
import sys
import time

import numpy as np

ARRAY_BYTES = 512 * 2**20
TRIES = 7


def peak_rss_bytes() -> int:
  """The most memory that this process has held so far."""
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == 'darwin' else peak * 1024


def read_bandwidth() -> float:
  """Bytes a second that all cores together read from memory, best of several.

  Every core takes the largest of its share of an array that no cache holds:
  that is one comparison per eight bytes, which vector units do faster than
  memory delivers.
  """
  num_threads = os.cpu_count() or 1
  parts = np.array_split(np.ones(ARRAY_BYTES // 8, np.int64), num_threads)
  best_s = float('inf')
  with futures.ThreadPoolExecutor(num_threads) as pool:
    for _ in range(TRIES):
      begin_s = time.perf_counter()
      list(pool.map(np.max, parts))
      best_s = min(best_s, time.perf_counter() - begin_s)
  return ARRAY_BYTES / best_s
