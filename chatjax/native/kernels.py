"""The C++ kernels as JAX functions, where they were built.

They are an optional part of the install: without a compiler there is no
library, `is_available` says so, and models run on XLA's own product.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import logging
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np

# What the sources beside this file say of themselves; a library of another
# version is a stale build.
VERSION = 4

GROUP = 64  # inputs per scale
BLOCK = 32  # outputs per packed block

# Instruction sets by the number that the kernels give them.
ISAS = {'plain': 0, 'avx2': 1, 'vnni': 2, 'neon': 3}
_BEST = -1

_ACTIVATIONS = ('silu', 'gelu_tanh')  # likewise by number

_PRODUCT, _ATTENTION = 'chatjax_int8_product', 'chatjax_attention'
_GATE, _FLOAT_PRODUCT = 'chatjax_gate', 'chatjax_float_product'

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
  try:
    library = ctypes.CDLL(str(path))
  except OSError as error:
    _log.warning(
      'The native kernels cannot be loaded (%s): int8 uses the product of XLA.'
      ' Install chatjax again.',
      error,
    )
    return None
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
    (_GATE, library.ChatjaxGate),
    (_FLOAT_PRODUCT, library.ChatjaxFloatProduct),
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
  # The kernel counts the elements of the others, but reads two sizes of x.
  chex.assert_rank(x_TK, 2)
  out = jax.ShapeDtypeStruct((x_TK.shape[0], num_outputs), jnp.float32)
  call = jax.ffi.ffi_call(_PRODUCT, out)
  return call(x_TK, live_T, packed, scale, isa=_number(isa))


def float_product(
  x_TK: jax.Array,
  live_T: jax.Array,
  w_NK: jax.Array,
  *,
  isa: str | None = None,
) -> jax.Array:
  """`x @ w.T`, summed in float32.

  The bits of a row depend on that row alone: not on the others, on the threads
  or on the processor.

  Args:
    x_TK: f32[T, K].
    live_T: bool[T], rows to compute; the others come back as zeros.
    w_NK: f32[N, K] or bf16[N, K].
    isa: one of `supported_isas()`; the default is the best.

  Returns:
    f32[T, N].
  """
  assert _library() is not None, 'the native kernels were not built'
  chex.assert_rank([x_TK, w_NK], 2)
  out = jax.ShapeDtypeStruct((x_TK.shape[0], w_NK.shape[0]), jnp.float32)
  call = jax.ffi.ffi_call(_FLOAT_PRODUCT, out)
  return call(x_TK, live_T, w_NK, isa=_number(isa))


def gate(
  x_T2F: jax.Array,
  live_T: jax.Array,
  *,
  activation: str,
  isa: str | None = None,
) -> jax.Array:
  """`act(x[:, 0]) * x[:, 1]`, the middle of a gated MLP.

  Args:
    x_T2F: f32[T, 2, F].
    live_T: bool[T], rows to compute; the others come back as zeros.
    activation: 'silu' or 'gelu_tanh'.
    isa: one of `supported_isas()`; the default is the best.

  Returns:
    f32[T, F].
  """
  assert _library() is not None, 'the native kernels were not built'
  out = jax.ShapeDtypeStruct((x_T2F.shape[0], x_T2F.shape[2]), jnp.float32)
  number = np.int32(_ACTIVATIONS.index(activation))
  return jax.ffi.ffi_call(_GATE, out)(
    x_T2F, live_T, activation=number, isa=_number(isa)
  )


def attention(
  q_TKGH: jax.Array,
  k_TKH: jax.Array,
  v_TKH: jax.Array,
  angles: tuple[jax.Array, jax.Array],
  tables_RP: jax.Array,
  positions_T: jax.Array,
  live_T: jax.Array,
  pages: tuple[jax.Array, ...],
  *,
  scale: float,
  window: int = 0,
  isa: str | None = None,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  """Rotates, writes positions into their sequences' pages, then attends.

  The bits of a position depend on its queries and its sequence's pages alone.

  Args:
    q_TKGH: f32[T, K, G, H], neither rotated nor scaled.
    k_TKH: f32[T, K, H], the positions' own keys, not rotated.
    v_TKH: f32[T, K, H].
    angles: cosines and sines of the positions, f32[T, H / 2].
    tables_RP: i32[T, P], or i32[1, P] that all positions share.
    positions_T: i32[T].
    live_T: bool[T]; other positions write nothing and get zeros.
    pages: keys [pages, K, H, S] and values [pages, K, S, H] in float32,
      bfloat16 or int8, then the scales of both, f32[pages, K, S] beside int8,
      else f32[0]. Written in place.
    scale: factor on queries.
    window: positions that are seen, the query's own included; 0 for all.
    isa: one of `supported_isas()`; the default is the best.

  Returns:
    f32[T, K, G, H] and the pages.
  """
  assert _library() is not None, 'the native kernels were not built'
  shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (q_TKGH, *pages)]
  first_page = 8  # among the arguments
  out_TKGH, *pages = jax.ffi.ffi_call(
    _ATTENTION, shapes,
    input_output_aliases={first_page + i: 1 + i for i in range(len(pages))},
  )(
    q_TKGH, k_TKH, v_TKH, *angles, tables_RP, positions_T, live_T, *pages,
    isa=_number(isa), window=np.int64(window), scale=np.float32(scale),
  )  # fmt: skip
  return out_TKGH, tuple(pages)


def _number(isa: str | None) -> np.int32:
  return np.int32(_BEST if isa is None else ISAS[isa])
