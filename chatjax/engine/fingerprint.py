"""The system fingerprint: a hash of everything that may move a bit."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
from typing import Any

import jax

from chatjax import config as config_lib
from chatjax.ckpt import orbax
from chatjax.models import load
from chatjax.native import kernels
from chatjax.nn import paged
from chatjax.sampling import keys

_MOVES_NO_BIT = (
  'draft_width', 'lookahead', 'max_queue', 'prefill_burst', 'prefix_cache',
  'priority_step',
)  # fmt: skip
# What XLA reads beside its flags: the sizes of its thread pools.
_ENVIRONMENT = ('XLA_FLAGS', 'LIBTPU_INIT_ARGS', 'PJRT_NPROC', 'NPROC')


def cpu_features() -> str:
  """What XLA compiles for on this processor: its flags, hashed."""
  try:
    text = pathlib.Path('/proc/cpuinfo').read_text()
  except OSError:
    return platform.processor() or platform.machine()
  flags = next(
      (line for line in text.splitlines()
       if line.startswith(('flags', 'Features'))), ''
  )  # fmt: skip
  return hashlib.sha256(flags.encode()).hexdigest()[:16]


def _num_threads() -> int:
  """Cores that XLA may use."""
  if hasattr(os, 'sched_getaffinity'):  # not on every system
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def parts(
  weights: load.Weights,
  config: config_lib.EngineConfig,
  *,
  widths: tuple[int, ...],
  attention: paged.Method,
  prompt_format: str,
) -> Mapping[str, Any]:
  """All that the fingerprint covers, readable.

  Args:
    weights: the model.
    config: how it is run; what only orders the work is left out.
    widths: what the self-check left of the decode widths.
    attention: how it is computed, where devices alone do not decide that.
    prompt_format: tokenizer and chat template, hashed or spelled out.
  """
  device = jax.devices()[0]
  engine = dataclasses.asdict(config)
  for name in _MOVES_NO_BIT:
    del engine[name]
  if config.mesh.num_devices == 1:
    del engine['mesh']
  processes = jax.process_count()
  versions = {
    name: importlib.metadata.version(name) for name in ('jax', 'jaxlib')
  }
  return {
    'weights': weights.digest,
    'checkpoint_format': orbax.FORMAT_VERSION,
    'model': repr(weights.config),
    'prompt_format': prompt_format,
    'engine': engine,
    'weight_storage': weights.dtype,
    'native_kernels': kernels.VERSION if kernels.is_available() else None,
    'widths': widths,
    'num_pages': [
      config.num_pages(weights.config.window(kind))
      for kind in weights.config.kinds
    ],
    'sampler_version': keys.SAMPLER_VERSION,
    'versions': versions,
    **({'processes': processes} if processes > 1 else {}),
    **({'attention': attention} if attention == 'ragged' else {}),
    'platform': device.platform,
    'device_kind': device.device_kind,
    'cpu_features': cpu_features(),
    'threads': _num_threads(),
    'environment': {name: os.environ.get(name, '') for name in _ENVIRONMENT},
    'matmul_precision': str(jax.config.jax_default_matmul_precision),
  }


def digest(covered: Mapping[str, Any]) -> str:
  """`fp_` and 16 hexadecimal digits."""
  text = json.dumps(covered, sort_keys=True)
  return 'fp_' + hashlib.sha256(text.encode()).hexdigest()[:16]
