"""What is special about hub folders of mixtures of experts."""

import copy
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.ckpt import folder as folder_lib
from chatjax.ckpt import mapping
from chatjax.ckpt import mxfp4
from chatjax.models import families
from chatjax.models import filling
from chatjax.models import hub_source
from chatjax.models import source as source_lib
from chatjax.nn import rope
from chatjax.nn import transformer
from tests.models import folders

MXFP4 = pathlib.Path(__file__).parent / 'experts' / 'mxfp4.npz'


@pytest.mark.parametrize('name', ['mixtral', 'gpt_oss'])
def test_a_missing_expert_is_named(name):
  source = folders.read(name)
  tensors = copy.copy(source.tensors)
  lost = next(x for x in sorted(tensors.shapes) if '.experts' in x)
  tensors.shapes = {k: v for k, v in tensors.shapes.items() if k != lost}
  model = transformer.Transformer(source.config, 'float32')
  wanted = filling.leaves(model.abstract_params())
  with pytest.raises(mapping.MappingError, match=lost):
    filling.check(source.rules, tensors, source.letters, wanted)


@pytest.mark.parametrize(('name', 'more'), [
    ('mixtral', {'rope_scaling': None}),
    ('qwen3_moe', {'num_experts': 6, 'rope_scaling': None}),
    ('gpt_oss', {'experts_per_token': 2, 'initial_context_length': 4096}),
])  # fmt: skip
def test_older_spellings_mean_the_same(name, more):
  values = folders.config_json(name)
  read_config = families.BY_HUB[values['architectures'][0]].read_hub_config
  older = folders.as_published(values, **more)
  if 'num_experts' in more:
    del older['num_local_experts']
  assert read_config(older) == read_config(values)


@pytest.mark.parametrize(('name', 'key', 'value'), [
    ('mixtral', 'hidden_act', 'gelu'),
    ('mixtral', 'num_local_experts', None),
    ('qwen3_moe', 'mlp_only_layers', [1]),
    ('qwen3_moe', 'decoder_sparse_step', 2),
    ('qwen3_moe', 'norm_topk_prob', 1.5),
    ('qwen3_moe', 'attention_bias', True),
    ('gpt_oss', 'swiglu_limit', 6.0),
    ('gpt_oss', 'attention_bias', False),
    ('gpt_oss', 'layer_types', ['chunked_attention'] * 3),
    ('gpt_oss', 'layer_types', ['full_attention'] * 2),
    ('gpt_oss', 'rope_parameters', {'rope_type': 'dynamic', 'factor': 2.0}),
    ('gpt_oss', 'rope_parameters', {'rope_type': 'yarn'}),
])  # fmt: skip
def test_what_would_be_computed_wrong_is_refused(name, key, value):
  values = folders.config_json(name) | {key: value}
  read_config = families.BY_HUB[values['architectures'][0]].read_hub_config
  word = {'rope_parameters': 'rope_type|factor', 'layer_types': 'layer_'}
  with pytest.raises(config_lib.ConfigError, match=word.get(key, key)):
    read_config(values)


def test_other_quantizations_are_refused(tmp_path):
  quantization = {'quant_method': 'gptq'}
  folder = folders.copy_of(
    'mixtral', tmp_path, quantization_config=quantization
  )
  with pytest.raises(source_lib.LoadError, match="quantized by 'gptq'"):
    hub_source.read(folder, 'digest')


def test_mxfp4_numbers_are_those_of_transformers():
  stored = np.load(MXFP4)
  ours = mxfp4.dequantize(stored['blocks'], stored['scales'])
  want = stored['weight'].transpose(0, 2, 1)
  assert ours.dtype == np.float32
  assert ours.tobytes() == np.ascontiguousarray(want).tobytes()


def test_mxfp4_scale_of_no_number_is_nan():
  blocks, scales = np.full((1, 16), 0x22, np.uint8), np.asarray([255], np.uint8)
  assert np.isnan(mxfp4.dequantize(blocks, scales)).all()


def test_blocks_that_do_not_fit_their_scales_are_refused():
  tensors = folder_lib.Tensors(folders.ALL['gpt_oss'])
  name = 'model.layers.0.mlp.experts.down_proj'
  tensors.shapes = {**tensors.shapes, f'{name}_scales': (4, 32, 2)}
  with pytest.raises(mapping.MappingError, match=f'{name}_blocks'):
    mxfp4.Dequantized(tensors)


def test_yarn_without_stretching_is_plain():
  positions_T = jnp.arange(50)
  plain = rope.angles(positions_T, head_dim=16, theta=1e4)
  yarn = model_config.Yarn(factor=1.0, original_context=64)
  same = rope.angles(positions_T, head_dim=16, theta=1e4, scaling=yarn)
  np.testing.assert_allclose(same, plain, atol=1e-5)
