"""A mixture of experts in place of an MLP (arXiv:2401.04088), dropless.

Every position gets the experts that its router logits name, whoever else
asks for them. The experts that any live row wants are walked in ascending
order; each is applied to all rows of the program (or, by the native kernel,
to those that want it) and added to the rows that want it, the others stay as
they are. So a row's sum has one order and takes nothing from its neighbours,
and a decode step reads no expert that nobody wants.
"""

from __future__ import annotations

from collections.abc import Callable
import math

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.nn import param
from chatjax.nn import quant
from chatjax.nn import sharding


def route(
  logits_TX: jax.Array, num_taken: int, *, norm: bool
) -> tuple[jax.Array, jax.Array]:
  """Which experts each position takes, and how much of each.

  Those with the largest logits; of equal ones the lowest id. Over the experts
  taken a softmax is the same as one over all, divided by its sum.

  Args:
    logits_TX: f32, of the router.
    num_taken: experts per position.
    norm: the weights of a position add up to one.

  Returns:
    bool[T, X], and the weights f32[T, X], zero where none is taken.
  """
  top_Tk, ids_Tk = lax.top_k(logits_TX, num_taken)
  over_TY = top_Tk if norm else logits_TX
  log_z_T1 = jax.nn.logsumexp(over_TY, axis=-1, keepdims=True)
  taken_TX = jax.nn.one_hot(ids_Tk, logits_TX.shape[1], dtype=bool).any(axis=1)
  weight_TX = jnp.where(taken_TX, jnp.exp(logits_TX - log_z_T1), 0.0)
  return taken_TX, weight_TX


def walk(
  taken_TX: jax.Array,
  weight_TX: jax.Array,
  live_T: jax.Array | None,
  expert: Callable[[jax.Array, jax.Array], jax.Array],
  width: int,
) -> jax.Array:
  """Adds up the experts of every position, in ascending order of their ids.

  Args:
    taken_TX: from `route`.
    weight_TX: likewise.
    live_T: bool[T], rows whose experts are looked for. None walks all of the
      experts, which is differentiable.
    expert: (id, bool[T] rows that take it) -> f32[T, D]; other rows are not
      read.
    width: D.
  """
  num_experts = taken_TX.shape[1]
  ids_X = jnp.arange(num_experts)
  count = num_experts
  if live_T is not None:
    wanted_X = (taken_TX & live_T[:, None]).any(axis=0)
    ids_X = jnp.argsort(~wanted_X, stable=True)
    count = jnp.sum(wanted_X)

  def add(i, sum_TD):
    x = ids_X[i]
    mine_T = jnp.take(taken_TX, x, axis=1)
    weight_T1 = jnp.take(weight_TX, x, axis=1)[:, None]
    more_TD = sum_TD + weight_T1 * expert(x, mine_T)
    return jnp.where(mine_T[:, None], more_TD, sum_TD)

  zeros_TD = jnp.zeros((taken_TX.shape[0], width))
  return lax.fori_loop(0, count, add, zeros_TD)


class _Stack(nn.Module):
  """A weight of all experts, or of the router, and its bias."""

  shape: tuple[int, ...]
  axes: tuple[str, ...]
  dtype: str
  use_bias: bool

  @nn.compact
  def __call__(self) -> tuple[quant.Weight, jax.Array | None]:
    out_shape, out_axes = self.shape[:-1], self.axes[:-1]
    spec = param.ParamSpec(
        shape=self.shape, axes=self.axes, num_out_axes=len(out_shape),
        dtype=self.dtype,
    )  # fmt: skip
    w = param.declare(self, 'w', spec)
    if not self.use_bias:
      return w, None
    spec = param.ParamSpec(shape=out_shape, axes=out_axes, fill=0.0)
    return w, param.declare(self, 'b', spec)


class MoE(nn.Module):
  """Experts, each a gated MLP, and the router that chooses among them.

  The experts' weights stand in one parameter [X, ...]; in that of gates and
  ups the two take turns: [2 * X, ...].
  """

  config: model_config.ModelConfig
  dtype: str
  layout: sharding.Layout | None = None

  @nn.compact
  def __call__(
    self, x_TD: jax.Array, live: quant.Live | None = None
  ) -> jax.Array:
    cfg = self.config
    X, F, D = cfg.num_experts, cfg.moe_dim, cfg.embed_dim
    _check_packing(cfg, self.dtype)

    def stack(name, shape, axes, dtype=self.dtype):
      return _Stack(shape, axes, dtype, cfg.moe_bias, name=name)()

    # Small, and a rounding there may name another expert: never quantized.
    # Whole everywhere: choosing among parted scores takes a dozen messages.
    router_w, router_b = stack('router', (X, D), ('router', 'embed'), 'float32')
    gate_up = stack('gate_up', (2 * X, F, D), ('expert', 'mlp', 'embed'))
    down = stack('down', (X, D, F), ('expert', 'embed', 'mlp'))
    logits_TX = _router_logits(x_TD, router_w, router_b)
    taken_TX, weight_TX = route(
      logits_TX, cfg.experts_per_token, norm=cfg.norm_topk
    )
    stacks = gate_up, down
    if self.layout is None or self.layout.sizes['expert'] == 1:
      return self._walk(x_TD, live, taken_TX, weight_TX, stacks)
    return self._walk_apart(x_TD, live, taken_TX, weight_TX, stacks)

  def _walk(self, x_TD, live, taken_TX, weight_TX, stacks):
    """Adds up the experts that the stacks hold: f32[T, D]."""
    cfg, num_experts = self.config, taken_TX.shape[1]
    gate_up, down = stacks

    def expert(x, mine_T):
      rows = self._rows(live, mine_T)
      y_T2F = _linear(x_TD, *gate_up, x, num_experts, rows)
      y_T2F = y_T2F.reshape(-1, 2, cfg.moe_dim)
      hidden_TF = quant.gate(self.dtype, y_T2F, rows, cfg.activation)
      return _linear(hidden_TF, *down, x, num_experts, rows)

    live_T = _mask(live, x_TD.shape[0])
    return walk(taken_TX, weight_TX, live_T, expert, cfg.embed_dim)

  def _rows(self, live, mine_T):
    """Rows that an expert's products are narrowed to."""
    if isinstance(live, quant.LiveRows):
      return live
    # A dense forward in floats has a gradient, which no native kernel has.
    is_dense = live is None and self.dtype not in quant.SCHEMES
    if is_dense or self.layout is not None:
      return None
    return mine_T if live is None else mine_T & live

  def _walk_apart(self, x_TD, live, taken_TX, weight_TX, stacks):
    """Each slice of the mesh walks its own experts; their sums are added."""
    P = jax.sharding.PartitionSpec

    # Were they parted before they come here, the choice would be parted too.
    def own(x_TX):
      size = x_TX.shape[1] // self.layout.sizes['expert']
      first = lax.axis_index('expert') * size
      return lax.dynamic_slice_in_dim(x_TX, first, size, axis=1)

    def walk_own(x_TD, live, taken_TX, weight_TX, stacks):
      sum_TD = self._walk(x_TD, live, own(taken_TX), own(weight_TX), stacks)
      return lax.psum(sum_TD, 'expert')

    return jax.shard_map(
      walk_own,
      mesh=self.layout.mesh,
      in_specs=(P(), P(), P(), P(), P('expert')),
      out_specs=P(),
      axis_names={'expert'},
      check_vma=False,
    )(x_TD, live, taken_TX, weight_TX, stacks)


def _check_packing(cfg: model_config.ModelConfig, dtype: str) -> None:
  """What is packed together must not be of two experts."""
  sizes = {'twice moe_dim': 2 * cfg.moe_dim, 'embed_dim': cfg.embed_dim}
  for name, size in sizes.items():
    if size % quant.block(dtype):
      raise config_lib.ConfigError(
        f'{name} is {size}, and experts can be kept as int8 only in multiples'
        f' of {quant.block(dtype)}; bfloat16 and float32 can be of any size.'
      )


def _router_logits(x_TD, w_XD, b_X) -> jax.Array:
  logits_TX = lax.dot_general(
      x_TD, w_XD, (((1,), (1,)), ((), ())),
      precision=lax.Precision.HIGHEST,
      preferred_element_type=jnp.float32,
  )  # fmt: skip
  return logits_TX if b_X is None else logits_TX + b_X[None]


def _mask(live: quant.Live | None, num_rows: int) -> jax.Array | None:
  """Live rows as bool[T]."""
  if isinstance(live, quant.LiveRows):
    return jnp.zeros(num_rows, bool).at[live.rows].set(True)
  return live


def _linear(
  x_TK: jax.Array,
  w: quant.Weight,
  b: jax.Array | None,
  expert: jax.Array,
  num_experts: int,
  live: quant.Live,
) -> jax.Array:
  """`x @ w[expert].T + b[expert]`: f32[T, N]."""
  num_out = math.prod(w.shape[:-1]) // num_experts
  part = quant.matrix(quant.part(w, expert, num_experts), num_out)
  y_TN = quant.product(x_TK, part, live)
  if b is None:
    return y_TN
  return y_TN + quant.part(b, expert, num_experts).reshape(1, num_out)
