"""Models split over meshes of fake devices compute what one device does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chatjax import config as config_lib
from chatjax.nn import quant
from chatjax.nn import sharding
from chatjax.nn import transformer
from chatjax.testing import tiny
from tests.models import folders

SIZES = {'data': 2, 'expert': 1, 'heads': 2, 'copies': 2}
MESHES = {
  'model=2': config_lib.MeshConfig(model=2),
  'model=4': config_lib.MeshConfig(model=4),  # two copies of each of two heads
  'data=2,model=2': config_lib.MeshConfig(data=2, model=2),
  'data=2,model=4': config_lib.MeshConfig(data=2, model=4),
}
ON_MESH = [x.storage for x in quant.SCHEMES.values() if x.serves(True)]
# What was seen is 1e-6 of the largest logit: sums have another order.
TOLERANCE = 1e-5


def cases():
  """Every family on every mesh; by default each family or mesh now and then."""
  for i, name in enumerate(sorted(folders.ALL)):
    for j, mesh in enumerate(MESHES):
      marks = () if i % 4 == j and i < 12 else pytest.mark.slow
      yield pytest.param(name, MESHES[mesh], marks=marks, id=f'{name}-{mesh}')


def logits_on(name, mesh, dtype='float32'):
  """Dense logits of a golden's prompt; the parameters lie on the mesh."""
  model, params = folders.model_of(name)
  layout = sharding.layout(mesh, model.config)
  model = transformer.Transformer(model.config, dtype, layout)
  boxed = jax.eval_shape(model.init_boxed, jax.random.key(0))
  params = jax.device_put(params, layout.params(boxed))
  tokens_T = jax.device_put(folders.golden(name)['ids'], layout.replicated)
  program = jax.jit(
    lambda params, tokens_T: model.dense(params, layout.spread(tokens_T)),
    out_shardings=layout.replicated,
  )
  return np.asarray(program(params, tokens_T)), params


@pytest.mark.parametrize(('name', 'mesh'), list(cases()))
def test_split_equals_whole(name, mesh):
  ours, params = logits_on(name, mesh)
  want = folders.golden(name)['logits']
  assert folders.relative_difference(ours, want) < TOLERANCE
  np.testing.assert_array_equal(ours.argmax(axis=-1), want.argmax(axis=-1))
  per_device = sum(x.addressable_shards[0].data.nbytes for x in leaves(params))
  assert per_device < 0.8 * sum(x.nbytes for x in leaves(params))


@pytest.mark.parametrize(('name', 'mesh'), [
    ('mixtral', config_lib.MeshConfig(expert=5)),
    pytest.param(
        'gpt_oss', config_lib.MeshConfig(expert=2, model=2),
        marks=pytest.mark.slow,
    ),
    pytest.param(
        'qwen3_moe', config_lib.MeshConfig(data=2, expert=3),
        marks=pytest.mark.slow,
    ),
])  # fmt: skip
def test_experts_can_be_apart(name, mesh):
  ours, params = logits_on(name, mesh)
  want = folders.golden(name)['logits']
  assert folders.relative_difference(ours, want) < TOLERANCE
  stack = params['layer_0']['mlp']['down']['w']
  shard = stack.addressable_shards[0].data
  assert shard.shape[0] == stack.shape[0] // mesh.expert


def leaves(tree):
  return jax.tree.leaves(tree)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', *ON_MESH])
@pytest.mark.parametrize('family', ['llama', 'qwen2', 'gemma3', 'mixtral'])
def test_parameters_have_a_place_each(family, dtype):
  sizes = {'vocab_size': 264, 'mlp_dim': 256}
  if family == 'mixtral':
    sizes['moe_dim'] = 256
  config = tiny.weights(family, 'float32', **sizes).config
  model = transformer.Transformer(config, dtype)
  layout = sharding.layout(config_lib.MeshConfig(model=4), config)
  boxed = jax.eval_shape(model.init_boxed, jax.random.key(0))
  places = layout.params(boxed)
  assert jax.tree.structure(places) == jax.tree.structure(
    model.abstract_params()
  )
  spec = places['layer_0']['attn']['out']['w']
  spec = jax.tree.leaves(spec)[0]
  assert spec.spec == sharding.PartitionSpec(None, 'heads', 'copies', None)


# Between layers their activations are floats, or are rounded too.
@pytest.mark.parametrize(('dtype', 'tolerance'), [
    ('int8_weight', 1e-5), ('int4_weight', 1e-5),
    pytest.param('int8_channel', 0.05, marks=pytest.mark.slow),
    pytest.param('fp8', 0.2, marks=pytest.mark.slow),
])  # fmt: skip
@pytest.mark.parametrize('family', [
    'llama', pytest.param('mixtral', marks=pytest.mark.slow),
])  # fmt: skip
def test_quantized_weights_split_equal_whole(family, dtype, tolerance):
  sizes = {'vocab_size': 264, 'mlp_dim': 256}
  if family == 'mixtral':
    sizes |= {'num_experts': 4, 'moe_dim': 256}
  mesh = config_lib.MeshConfig(model=4, expert=2 if family == 'mixtral' else 1)
  config = tiny.weights(family, 'float32', **sizes).config
  layout = sharding.layout(mesh, config)
  whole = transformer.Transformer(config, dtype)
  split = transformer.Transformer(config, dtype, layout)
  params = jax.jit(whole.init)(jax.random.key(0))
  boxed = jax.eval_shape(split.init_boxed, jax.random.key(0))
  placed = jax.device_put(params, layout.params(boxed))
  tokens_T = jnp.arange(12) * 7
  want = np.asarray(jax.jit(whole.dense)(params, tokens_T))
  ours = jax.jit(split.dense, out_shardings=layout.replicated)(
    placed, jax.device_put(tokens_T, layout.replicated)
  )
  assert folders.relative_difference(np.asarray(ours), want) < tolerance
  down = placed['layer_0']['mlp']['down']['w']
  for array in (x for x in jax.tree.leaves(down) if x.ndim == len(down.shape)):
    shard = array.addressable_shards[0].data
    assert shard.shape[-1] * 4 == array.shape[-1]


def test_groups_are_not_cut():
  config = tiny.weights('llama', 'float32', vocab_size=264, mlp_dim=160).config
  boxed = jax.eval_shape(
    transformer.Transformer(config, 'int4_weight').init_boxed,
    jax.random.key(0),
  )
  layout = sharding.layout(config_lib.MeshConfig(model=2), config)
  with pytest.raises(
    config_lib.ConfigError, match="'mlp' has 160 entries in 5 groups"
  ):
    layout.params(boxed)


def test_a_table_entry_is_split_by_its_mesh_axes():
  spec = sharding.spec_of(('vocab', 'embed'), (8, 6), SIZES)
  assert spec == sharding.PartitionSpec(('heads', 'copies'), None)


@pytest.mark.parametrize(('axes', 'shape', 'message'), [
    (('vocab', 'wide'), (8, 8), "Unknown logical axis 'wide'"),
    (('vocab', 'mlp'), (8, 8), "'vocab' and 'mlp' .* both split"),
    (('vocab', 'embed'), (6, 8), "'vocab' has 6 entries"),
])  # fmt: skip
def test_what_cannot_be_split_is_refused(axes, shape, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    sharding.spec_of(axes, shape, SIZES)


@pytest.mark.parametrize(('mesh', 'message'), [
    ({'model': 16}, 'needs 16 devices, and there are 8'),
    ({'model': 3}, 'choose a divisor of 4'),
    ({'expert': 2}, 'the model has none'),
])  # fmt: skip
def test_meshes_that_do_not_fit_are_refused(mesh, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    sharding.layout(config_lib.MeshConfig(**mesh), tiny.CONFIGS['llama'])


@pytest.mark.parametrize('field', ['data', 'expert', 'model'])
def test_sizes_are_checked(field):
  with pytest.raises(config_lib.ConfigError, match=field):
    config_lib.MeshConfig(**{field: 0})


def test_one_device_has_no_layout():
  config = tiny.CONFIGS['llama']
  assert sharding.layout(config_lib.MeshConfig(), config) is None


def test_storage_on_a_mesh_is_for_xla():
  assert sharding.storage('int8', MESHES['model=2']) == 'int8_channel'
  assert sharding.storage('bfloat16', MESHES['model=2']) == 'bfloat16'


def test_rows_that_cannot_be_split_stay_whole():
  layout = sharding.layout(MESHES['data=2,model=2'], tiny.CONFIGS['llama'])
  odd, even = (jax.jit(layout.spread)(jnp.zeros(n)).sharding for n in (3, 4))
  assert odd.is_fully_replicated
  assert not even.is_fully_replicated


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', *ON_MESH])
def test_rows_of_a_split_table_are_sent_and_not_the_table(dtype):
  sizes = {'vocab_size': 264, 'mlp_dim': 256}
  config = tiny.weights('llama', 'float32', **sizes).config
  layout = sharding.layout(MESHES['data=2,model=4'], config)
  model = transformer.Transformer(config, dtype, layout)
  boxed = jax.eval_shape(model.init_boxed, jax.random.key(0))
  table = jax.jit(model.init)(jax.random.key(0))['embed']['w']
  ids = np.array([0, 65, 66, 131, 132, 263, 7], np.int32)
  split = jax.device_put(table, layout.params(boxed)['embed']['w'])
  program = jax.jit(layout.take_rows).lower(split, ids).compile()
  assert 'all-gather' not in program.as_text()
  np.testing.assert_array_equal(
    np.asarray(program(split, ids)).view(np.int32),
    np.asarray(quant.take_rows(table, ids)).view(np.int32),
  )
