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

_PRODUCT, _ATTENTION = 'chatjax_int8_product', 'chatjax_attention'

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
  for name, handler in (
    (_PRODUCT, library.ChatjaxInt8Product),
    (_ATTENTION, library.ChatjaxAttention),
  ):
    capsule = jax.ffi.pycapsule(handler)
    jax.ffi.register_ffi_target(name, capsule, platform='cpu')
  return library


def is_available() -> bool:
  """Whether the kernels can be used on the default device."""
  return jax.default_backend() == 'cpu' and _library() is not None


def supported_isas() -> tuple[str, ...]:
  """Instruction sets with kernels that this processor has."""
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
  call = jax.ffi.ffi_call(_PRODUCT, out)
  return call(x_TK, live_T, packed, scale, isa=_number(isa))


def attention(
  q_TKGH: jax.Array,
  k: jax.Array,
  v: jax.Array,
  k_scale: jax.Array,
  v_scale: jax.Array,
  tables_RP: jax.Array,
  positions_T: jax.Array,
  live_T: jax.Array,
  *,
  window: int = 0,
  isa: str | None = None,
) -> jax.Array:
  """Attention of single positions over the pages of their sequences.

  The bits of a position depend on its queries and its sequence's pages alone.

  Args:
    q_TKGH: f32[T, K, G, H], scaled.
    k: float32, bfloat16 or int8 [pages, K, H, S].
    v: likewise [pages, K, S, H].
    k_scale: f32[pages, K, S] beside int8, else f32[0].
    v_scale: likewise.
    tables_RP: i32[T, P], or i32[1, P] that all positions share.
    positions_T: i32[T].
    live_T: bool[T]; the outputs of other positions are zeros.
    window: positions that are seen, the query's own included; 0 for all.
    isa: one of `supported_isas()`; the default is the best.

  Returns:
    f32[T, K, G, H].
  """
  assert _library() is not None, 'the native kernels were not built'
  out = jax.ShapeDtypeStruct(q_TKGH.shape, jnp.float32)
  return jax.ffi.ffi_call(_ATTENTION, out)(
    q_TKGH, k, v, k_scale, v_scale, tables_RP, positions_T, live_T,
    isa=_number(isa), window=np.int64(window),
  )  # fmt: skip


def _number(isa: str | None) -> np.int32:
  return np.int32(_BEST if isa is None else ISAS[isa])
