"""The clear sampler: full sorts and Python integers, one row at a time.

It shares no code with `chatjax.sampling`, only the definition: masses are
floor(weight * 2**44), the uniform is a 64-bit fraction, the order is the one
that `chatjax.sampling.sampler` documents.
"""

from __future__ import annotations

from fractions import Fraction
import math

import numpy as np

ONE = 2**44


def processed(
  logits_V, params, *, counts_V, in_prompt_V, bias_V, allowed_V, stop_ids, step
):
  """Float32 numpy, the documented order."""
  x_V = np.array(logits_V, np.float32)
  seen_V = in_prompt_V | (counts_V > 0)
  r = params.repetition
  with np.errstate(invalid='ignore'):
    x_V = np.where(seen_V, np.where(x_V > 0, x_V / r, x_V * r), x_V)
  x_V = x_V - params.presence * (counts_V > 0).astype(np.float32)
  x_V = x_V - params.frequency * counts_V.astype(np.float32)
  x_V = x_V + bias_V
  x_V = np.where(allowed_V, x_V, -np.inf).astype(np.float32)
  if step < params.min_tokens:
    masked_V = x_V.copy()
    masked_V[[i for i in stop_ids if 0 <= i < len(x_V)]] = -np.inf
    if masked_V.max() > -np.inf:
      x_V = masked_V
  return x_V


def weights(processed_V, temperature):
  """float64 weights, the largest is 1."""
  x_V = processed_V.astype(np.float64)
  temperature = max(float(temperature), 1e-6)
  return np.exp((x_V - x_V.max()) / temperature)


def masses_of(weight_V):
  """Python integers; scaling a float by a power of two is exact."""
  return [math.floor(w * float(ONE)) for w in np.float64(weight_V)]


def ranked(processed_V):
  """Ids by (logit descending, id ascending)."""
  return sorted(
    range(len(processed_V)), key=lambda i: (-float(processed_V[i]), i)
  )


def kept(processed_V, weight_V, top_k, top_p, min_p):
  """Ids kept, from the weights as given (float64 or float32)."""
  masses = masses_of(weight_V)
  ids = ranked(processed_V)
  if top_k > 0:
    ids = ids[:top_k]
  if top_p < 1:
    share = Fraction(math.floor(Fraction(float(top_p)) * 2**32), 2**32)
    target = share * sum(masses[i] for i in ids)
    running = 0
    for n, i in enumerate(ids):
      running += masses[i]
      if running >= max(target, 1):
        ids = ids[: n + 1]
        break
  return {i for i in ids if weight_V[i] >= min_p}


def draw(weight_V, keep, words):
  """Inverse distribution in ascending id."""
  masses = [m if i in keep else 0 for i, m in enumerate(masses_of(weight_V))]
  u = int(words[0]) * 2**32 + int(words[1])
  point = u * sum(masses) // 2**64
  running = 0
  for i, mass in enumerate(masses):
    running += mass
    if running > point:
      return i
  raise AssertionError('nothing to draw')


def log_normalizer(logits_V):
  """float64 logsumexp."""
  x_V = np.asarray(logits_V, np.float64)
  return x_V.max() + np.log(np.exp(x_V - x_V.max()).sum())
