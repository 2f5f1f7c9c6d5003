"""The C++ kernels as JAX functions, where they were built.

They are an optional part of the install: without a compiler there is no
library, `is_available` says so, and an int8 model runs on XLA's own product.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import logging
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

# What the sources beside this file say of themselves; a library of another
# version is a stale build.
VERSION = 1

GROUP = 64  # inputs per scale
BLOCK = 32  # outputs per packed block

# Instruction sets by the number that the kernels give them.
ISAS = {'plain': 0, 'avx2': 1, 'vnni': 2, 'neon': 3}
_BEST = -1

_log = logging.getLogger(__name__)


@functools.cache
def _library() -> ctypes.CDLL | None:
  """Loads the library and registers its calls; None if it is not there."""
  folder = pathlib.Path(__file__).parent
  for suffix in importlib.machinery.EXTENSION_SUFFIXES:
    path = folder / f'_kernels{suffix}'
    if path.exists():
      break
  else:
    _log.warning(
      'The native kernels were not built: int8 uses the product of XLA.'
      ' With a C++ compiler at hand, install chatjax again.'
    )
    return None
  library = ctypes.CDLL(str(path))
  if library.ChatjaxKernelVersion() != VERSION:
    _log.warning(
      'The native kernels in %s are of another version: int8 uses the product'
      ' of XLA. Install chatjax again.',
      path,
    )
    return None
  jax.ffi.register_ffi_target(
    'chatjax_int8_product',
    jax.ffi.pycapsule(library.ChatjaxInt8Product),
    platform='cpu',
  )
  return library


def is_available() -> bool:
  """Whether the kernels can be used on the default device."""
  return jax.default_backend() == 'cpu' and _library() is not None


def supported_isas() -> tuple[str, ...]:
  """Instruction sets that this processor has, of those there are kernels for."""
  library = _library()
  if library is None:
    return ()
  return tuple(
    name for name, number in ISAS.items() if library.ChatjaxIsSupported(number)
  )


def int8_product(
  x_TK: jax.Array,
  live_T: jax.Array,
  packed: jax.Array,
  scale: jax.Array,
  *,
  num_outputs: int,
  isa: str | None = None,
) -> jax.Array:
  """A product with int8 weights in groups of 64 along the inputs.

  The activations are quantized inside, in groups too. The bits of a row depend
  on that row alone: not on the others, on the threads or on the processor.

  Args:
    x_TK: f32[T, K].
    live_T: bool[T], rows to compute; the others come back as zeros.
    packed: u8[ceil(N/32), ceil(K/64) * 16, 32, 4], weights plus 128.
    scale: f32[ceil(N/32), ceil(K/64), 32].
    num_outputs: N.
    isa: one of `supported_isas()`; the default is the best.

  Returns:
    f32[T, N].
  """
  assert _library() is not None, 'the native kernels were not built'
  out = jax.ShapeDtypeStruct((x_TK.shape[0], num_outputs), jnp.float32)
  call = jax.ffi.ffi_call('chatjax_int8_product', out)
  number = np.int32(_BEST if isa is None else ISAS[isa])
  return call(x_TK, live_T, packed, scale, isa=number)
