"""How parameters and pages are split over a mesh of devices.

Modules name the axes of their parameters (`param.ParamSpec`); one table says
along which axis of the mesh each of them is split. XLA's partitioner does the
rest. With more devices than key/value heads their axis `model` is two: `heads`
splits the heads, and `copies` of each are kept.

The rows of a step are split along `data`; each of its slices has all weights
and all pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.nn import cache as cache_lib
from chatjax.nn import quant

PartitionSpec = jax.sharding.PartitionSpec

_MESH_AXES = ('data', 'expert', 'heads', 'copies')
_MODEL = ('heads', 'copies')

# Logical axis -> axes of the mesh.
TABLE: Mapping[str, tuple[str, ...]] = {
  'vocab': _MODEL,
  'mlp': _MODEL,
  'kv_heads': ('heads',),
  'q_per_kv': ('copies',),
  'expert': ('expert',),
  # Whole on every device.
  'embed': (),
  'qkv': (),
  'head_dim': (),
  'router': (),
  'gate_up': (),
}


def spec_of(
  axes: Sequence[str],
  shape: Sequence[int],
  sizes: Mapping[str, int],
  whole: Sequence[int] | None = None,
) -> PartitionSpec:
  """How an array with named axes is split.

  Args:
    axes: logical names, one per dimension.
    shape: of the array.
    sizes: of the mesh's axes.
    whole: shape of the weight that the array is a part of, as scales of groups
      are.

  Raises:
    config.ConfigError: a name that is not in the table, a mesh axis that two
      dimensions want, or a size that does not divide.
  """
  parts: list[tuple[str, ...] | None] = []
  taken: dict[str, str] = {}
  whole = shape if whole is None else whole
  for axis, size, entries in zip(axes, shape, whole, strict=True):
    if axis not in TABLE:
      raise config_lib.ConfigError(
        f'Unknown logical axis {axis!r}; known are {", ".join(sorted(TABLE))}.'
      )
    split = tuple(name for name in TABLE[axis] if sizes[name] > 1)
    for name in split:
      if name in taken:
        raise config_lib.ConfigError(
          f'Axes {taken[name]!r} and {axis!r} of one array {tuple(axes)} are'
          f' both split along {name!r}.'
        )
      taken[name] = axis
    count = math.prod(sizes[name] for name in split)
    if size % count:
      groups = '' if size == entries else f' in {size} groups'
      raise config_lib.ConfigError(
        f'Axis {axis!r} has {entries} entries{groups}, which cannot be split'
        f' over {count} devices of the mesh; choose a size of the mesh that'
        ' divides them.'
      )
    parts.append(split or None)
  return PartitionSpec(*parts)


@dataclasses.dataclass(frozen=True)
class Layout:
  """A mesh, and where an engine's arrays lie on it.

  Attributes:
    mesh: axes 'data', 'expert', 'heads' and 'copies'.
  """

  mesh: jax.sharding.Mesh

  @property
  def sizes(self) -> Mapping[str, int]:
    return dict(self.mesh.shape)

  @property
  def platform(self) -> str:
    """Of its devices: 'cpu', 'gpu' or 'tpu'."""
    return self.mesh.devices.flat[0].platform

  @property
  def replicated(self) -> jax.sharding.NamedSharding:
    """Whole on every device."""
    return self._sharding(PartitionSpec())

  def params(self, boxed: Any) -> Any:
    """Shardings of parameters.

    Args:
      boxed: what `Transformer.init_boxed` gives, or its shapes.

    Raises:
      config.ConfigError: they cannot be split over the mesh.
    """

    def place(box: Any) -> Any:
      def split(x):
        # A scale has all axes of its weight, or the outputs, which stand first.
        names, whole = box.names[: x.ndim], box.value.shape[: x.ndim]
        return self._sharding(spec_of(names, x.shape, self.sizes, whole))

      return jax.tree.map(split, box.value)

    return jax.tree.map(
      place, boxed, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned)
    )

  def cache(self, cache: cache_lib.Cache | cache_lib.Layer) -> Any:
    """Shardings of pages, split by heads."""
    if isinstance(cache, tuple):
      return tuple(self.cache(layer) for layer in cache)
    before = (None,) * cache.heads_axis
    by_heads = self._sharding(PartitionSpec(*before, 'heads'))
    return jax.tree.map(lambda x: by_heads, cache)

  def spread(self, x: jax.Array) -> jax.Array:
    """Splits rows along `data`, if they can be."""
    if self.sizes['data'] == 1 or x.shape[0] % self.sizes['data']:
      return x
    by_rows = self._sharding(PartitionSpec('data'))
    return jax.lax.with_sharding_constraint(x, by_rows)

  def whole(self, x: jax.Array) -> jax.Array:
    """Gathers what is split."""
    return jax.lax.with_sharding_constraint(x, self.replicated)

  def for_pages(self, x_TKH: jax.Array) -> jax.Array:
    """Keys or values of all rows, as each slice of `data` writes them.

    The partitioner would write those of each slice apart, and gather pages.
    """
    by_heads = self._sharding(PartitionSpec(None, 'heads'))
    return jax.lax.with_sharding_constraint(x_TKH, by_heads)

  def pages(self, cache: cache_lib.Layer | None) -> Any:
    """Keeps pages as `cache` says; None stays."""
    if cache is None:
      return None
    return jax.lax.with_sharding_constraint(cache, self.cache(cache))

  def by_vocabulary(self, logits_TV: jax.Array) -> jax.Array:
    """Keeps scores where their part of the vocabulary is.

    Wanted whole later on, they would otherwise be made of a table that the
    partitioner gathers.
    """
    rows = PartitionSpec.UNCONSTRAINED
    split = self._sharding(PartitionSpec(rows, _MODEL))
    return jax.lax.with_sharding_constraint(logits_TV, split)

  def take_rows(self, table_VD: quant.Weight, ids_T: jax.Array) -> jax.Array:
    """Looks rows of a table up that is split along the vocabulary: f32[T, D].

    Each device looks up what it holds, and the rest are zeros: so the sum has
    the bits of the row. Left to itself, the partitioner gathers the table.
    """
    if self.sizes['heads'] * self.sizes['copies'] == 1:
      return quant.take_rows(table_VD, ids_T)

    def take_own(own_VD, ids_T):
      ids_T = ids_T - jax.lax.axis_index(_MODEL) * own_VD.shape[0]
      is_own_T = (ids_T >= 0) & (ids_T < own_VD.shape[0])
      rows_TD = quant.take_rows(own_VD, jnp.where(is_own_T, ids_T, 0))
      return jax.lax.psum(jnp.where(is_own_T[:, None], rows_TD, 0.0), _MODEL)

    return jax.shard_map(
      take_own,
      mesh=self.mesh,
      in_specs=(PartitionSpec(_MODEL), PartitionSpec()),
      out_specs=PartitionSpec(),
      axis_names=set(_MODEL),
      check_vma=False,
    )(table_VD, ids_T)

  def _sharding(self, spec: PartitionSpec) -> jax.sharding.NamedSharding:
    return jax.sharding.NamedSharding(self.mesh, spec)


def layout(
  mesh: config_lib.MeshConfig,
  model: model_config.ModelConfig,
  devices: Sequence[jax.Device] | None = None,
) -> Layout | None:
  """The layout of a model on a mesh; None for the default device alone.

  Args:
    mesh: its sizes.
    model: of the model.
    devices: those to use, in the order of the mesh; those that there are, if
      not given.

  Raises:
    config.ConfigError: too few devices, or a model that cannot be split so.
  """
  if devices is None:
    devices = jax.devices()
    if jax.process_count() > 1 and mesh.num_devices != len(devices):
      raise config_lib.ConfigError(
        f'{mesh} is for {mesh.num_devices} devices, and {jax.process_count()}'
        f' processes have {len(devices)}; a mesh spans all of them.'
      )
    if mesh.num_devices == 1:
      return None
  if len(devices) < mesh.num_devices:
    raise config_lib.ConfigError(
      f'{mesh} needs {mesh.num_devices} devices, and there are {len(devices)}.'
    )
  heads = math.gcd(mesh.model, model.num_kv_heads)
  copies = mesh.model // heads
  if model.q_per_kv % copies:
    raise config_lib.ConfigError(
      f'{model.num_kv_heads} key/value heads with {model.q_per_kv} query heads'
      f' each cannot be split over model={mesh.model} devices; choose a divisor'
      f' of {model.num_kv_heads * model.q_per_kv}.'
    )
  if mesh.expert > 1 and not model.num_experts:
    raise config_lib.ConfigError(
      f'expert={mesh.expert} splits experts, and the model has none.'
    )
  shape = (mesh.data, mesh.expert, heads, copies)
  chosen = np.asarray(devices[: mesh.num_devices]).reshape(shape)
  return Layout(
    jax.sharding.Mesh(
      chosen, _MESH_AXES, axis_types=(jax.sharding.AxisType.Auto,) * 4
    )
  )


def put(tree: Any, shardings: Any) -> Any:
  """Lays arrays that this process has whole where they belong.

  Args:
    tree: of arrays, the same in every process of the mesh.
    shardings: a tree like it.
  """

  def place(x, sharding):
    if sharding.is_fully_addressable:
      return jax.device_put(x, sharding)
    if isinstance(x, jax.Array) and x.sharding == sharding:
      return x
    x = np.asarray(x)
    # device_put of the whole would ask all processes whether they agree.
    parts = [
      jax.device_put(x[index], device)
      for device, index in sharding.addressable_devices_indices_map(
        x.shape
      ).items()
    ]
    return jax.make_array_from_single_device_arrays(x.shape, sharding, parts)

  return jax.tree.map(place, tree, shardings)


def storage(dtype: str, mesh: config_lib.MeshConfig) -> str:
  """How weights of a dtype are kept by an engine."""
  return quant.storage(dtype, is_mesh=mesh.num_devices > 1)


def narrowing(live: quant.Live | None) -> quant.LiveRows | None:
  """Rows that products on a mesh are narrowed to.

  A mask of rows is for the native kernels, which do not run there.
  """
  return live if isinstance(live, quant.LiveRows) else None
