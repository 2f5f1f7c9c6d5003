"""Families against `transformers`, from tiny models in hub folders."""

import copy

import numpy as np
import pytest

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.ckpt import folder as folder_lib
from chatjax.ckpt import mapping
from chatjax.ckpt import view
from chatjax.models import families
from chatjax.models import hub_config
from chatjax.models import hub_source
from chatjax.models import source as source_lib
from tests.models import folders

# Of the largest logit; what was seen is 2e-6.
TOLERANCE = 1e-5


# What differs most. All of them are in --all.
QUICK = {'gemma2', 'gpt_oss', 'llama', 'qwen3_moe'}


@pytest.fixture(
  params=[
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in sorted(folders.ALL)
  ]
)
def name(request):
  return request.param


def assert_close(ours, want):
  assert folders.relative_difference(ours, want) < TOLERANCE


def test_every_family_has_a_golden():
  named = {folders.config_json(x)['architectures'][0] for x in folders.ALL}
  assert named == set(families.BY_HUB)


def test_logits_are_those_of_transformers(name):
  golden = folders.golden(name)
  assert_close(folders.dense_logits(name, golden['ids']), golden['logits'])


def test_chunks_and_steps_equal_one_forward_and_greedy_is_equal(name):
  golden = folders.golden(name)
  ids, answer = golden['ids'], golden['greedy']
  ours = folders.by_programs(name)
  assert_close(ours[: len(ids)], golden['logits'])
  assert_close(ours, folders.dense_logits(name, np.concatenate([ids, answer])))
  np.testing.assert_array_equal(ours[len(ids) - 1 : -1].argmax(axis=-1), answer)


def test_every_tensor_is_named_once(name):
  source = folders.read(name)
  named = [tensor for rule in source.rules for tensor, _ in rule.sources]
  assert sorted(named) == sorted(source.tensors.shapes)


def test_export_undoes_import(name):
  source, (_, params) = folders.read(name), folders.model_of(name)
  for tensor, value in folders.exported(source, params):
    shape = source.tensors.shapes[tensor]
    want = source.tensors.rows(tensor, 0, shape[0])
    np.testing.assert_array_equal(value, want.astype(np.float32), tensor)


def read_config(values):
  return families.BY_HUB[values['architectures'][0]].read_hub_config(values)


def older_gemma3(values):
  values = copy.deepcopy(values)
  rope = values.pop('rope_parameters')
  full, local = rope['full_attention'], rope['sliding_attention']
  values['rope_theta'] = full.pop('rope_theta')
  values['rope_local_base_freq'] = local['rope_theta']
  return values | {'rope_scaling': full}


@pytest.mark.parametrize(('name', 'more'), [
    ('llama', {}),
    ('smollm2', {'rope_scaling': None}),
    ('qwen2', {'rope_scaling': None, 'sliding_window': 4096}),
    ('mistral', {'rope_scaling': None}),
    ('gemma2', {'hidden_act': 'gelu_pytorch_tanh'}),
    ('smollm3', {'no_rope_layer_interval': 7}),
    ('phi4_mini', {'partial_rotary_factor': 0.75}),
])  # fmt: skip
def test_older_spellings_mean_the_same(name, more):
  values = folders.config_json(name)
  older = folders.as_published(values, **more)
  for key in ('layer_types', *(('head_dim',) if name == 'llama' else ())):
    older.pop(key, None)
  assert read_config(older) == read_config(values)


def test_older_spellings_of_gemma3_mean_the_same():
  values = folders.config_json('gemma3')
  assert read_config(older_gemma3(values)) == read_config(values)


def test_gemma3_27b_as_it_is_published():
  """Its text_config leaves out all that is usual."""
  text = {
    'hidden_size': 5376, 'intermediate_size': 21504, 'num_hidden_layers': 62,
    'num_attention_heads': 32, 'num_key_value_heads': 16, 'head_dim': 128,
    'query_pre_attn_scalar': 168, 'sliding_window': 1024,
    'rope_scaling': {'factor': 8.0, 'rope_type': 'linear'},
  }  # fmt: skip
  values = {
    'architectures': ['Gemma3ForConditionalGeneration'], 'text_config': text,
  }  # fmt: skip
  config = read_config(values)
  local, whole = model_config.LayerKind.LOCAL, model_config.LayerKind.GLOBAL
  assert config.layer_kinds[:7] == (*[local] * 5, whole, local)
  assert config.vocab_size == 262_208
  assert config.max_context == 131_072
  assert config.q_scale == 168**-0.5
  assert (config.theta(local), config.theta(whole)) == (1e4, 1e6)
  assert config.scaling(local) is None
  assert config.scaling(whole) == model_config.LinearRope(factor=8.0)
  assert config.tie_embeddings


@pytest.mark.parametrize(('name', 'key', 'value'), [
    ('llama', 'hidden_act', 'gelu'),
    ('llama', 'attention_bias', True),
    ('llama', 'mlp_bias', True),
    ('llama', 'hidden_size', None),
    ('llama', 'rope_parameters', {'rope_type': 'dynamic', 'factor': 2.0}),
    ('llama', 'rope_parameters', {'rope_type': 'llama3', 'factor': 2.0}),
    ('llama', 'rope_parameters', [1]),
    ('llama', 'tie_word_embeddings', 'yes'),
    ('llama', 'partial_rotary_factor', 0.5),
    ('qwen2_windows', 'max_window_layers', None),
    ('qwen2_windows', 'sliding_window', None),
    ('qwen2', 'use_sliding_window', 1),
    ('mistral_window', 'sliding_window', 2.5),
    ('gemma2', 'use_bidirectional_attention', True),
    ('gemma2', 'attn_logit_softcapping', 'soft'),
    ('gemma2', 'layer_types', ['chunked_attention'] * 3),
    ('gemma2', 'layer_types', ['full_attention'] * 2),
    ('gemma3', 'rope_parameters', {'full_attention': {}}),
    ('gemma3', 'hidden_activation', 'relu'),
    ('smollm3', 'no_rope_layers', [1, 0]),
    ('smollm3', 'no_rope_layers', [1, 0, 'x']),
    ('phi4_mini', 'rope_parameters', {'rope_type': 'llama3'}),
    ('phi4_mini', 'rope_parameters', {
        'rope_type': 'longrope', 'short_factor': [1.0, 2.0],
    }),
])  # fmt: skip
def test_what_would_be_computed_wrong_is_refused(name, key, value):
  values = folders.config_json(name) | {key: value}
  words = {
    'rope_parameters': 'rope_|original_max|low_freq|sliding_att',
    'layer_types': 'layer_types',
    'hidden_activation': 'hidden_act',
  }
  with pytest.raises(config_lib.ConfigError, match=words.get(key, key)):
    read_config(values)


def test_what_sees_is_left_out_and_told(caplog):
  caplog.set_level('INFO')
  source = folders.read('gemma3_multimodal')
  assert not any('vision' in name for name in source.tensors.shapes)
  assert 'text half' in caplog.text
  assert 'multi_modal_projector' in caplog.text


def test_a_left_over_tensor_is_named():
  tensors = folder_lib.Tensors(folders.ALL['phi3'])
  tensors.shapes = {**tensors.shapes, 'model.layers.0.odd': (3,)}
  family = families.BY_HUB['Phi3ForCausalLM']
  seen = view.View(tensors, family.names(folders.read('phi3').config))
  with pytest.raises(mapping.MappingError, match=r'model\.layers\.0\.odd'):
    mapping.check_names(folders.read('phi3').rules, list(seen.shapes), [])


def test_a_fused_tensor_of_another_size_is_refused(tmp_path):
  folder = folders.copy_of('phi3', tmp_path, num_key_value_heads=1)
  with pytest.raises(mapping.MappingError, match=r'qkv_proj.* 48 rows'):
    hub_source.read(folder, 'digest')


def test_names_that_mean_the_same_are_refused():
  tensors = folder_lib.Tensors(folders.ALL['llama'])
  with pytest.raises(mapping.MappingError, match='read as the same: x'):
    view.View(tensors, lambda tensor: {'x': view.Part(tensor=tensor)})


def test_contexts_end_where_other_frequencies_begin():
  values = folders.config_json('phi4_mini')
  assert values['max_position_embeddings'] == 256
  config = read_config(values)
  assert config.max_context == 64
  assert config.rotary_dim == 12


# None of them may end in another error than one of configs.
ODD = (
  None, True, False, -1, 0, 1, 2.5, -2.5, 1e308, 10**9, 10**400, '', 'x', [],
  {}, [{}], [[]], [None], {'rope_type': []}, {'rope_type': {}}, {'type': [1]},
  {'full_attention': [], 'sliding_attention': []}, [1e308], [10**400],
)  # fmt: skip


def _paths(values, prefix=()):
  for key, value in values.items():
    yield (*prefix, key)
    if isinstance(value, dict):
      yield from _paths(value, (*prefix, key))


def _changed(values, path, value):
  values = copy.deepcopy(values)
  at = values
  for key in path[:-1]:
    at = at[key]
  at[path[-1]] = value
  return values


def _refusal(raw):
  try:
    hub_config.read(raw, 'x')
  except source_lib.LoadError as error:
    return str(error)
  return None


@pytest.mark.parametrize('name', sorted(folders.ALL))
def test_whatever_stands_in_a_config_is_read_or_refused(name):
  values = folders.config_json(name)
  older = {} if 'gemma3' in name else {'older': folders.as_published(values)}
  more = {
    'sliding_window_pattern', 'no_rope_layer_interval', 'max_window_layers',
    'original_max_position_embeddings', 'rope_scaling', 'partial_rotary_factor',
    'use_sliding_window', 'query_pre_attn_scalar', 'rope_local_base_freq',
    'layer_types', 'no_rope_layers', 'text_config',
  }  # fmt: skip
  for each in (values, *older.values()):
    for path in (*_paths(each), *((key,) for key in more)):
      for odd in ODD:
        raw = _changed(each, path, odd)
        if told := _refusal(raw):
          assert told.startswith(('x cannot be run: ', 'x holds a ')), told
          assert len(told) < 500, told


SIZES = (
  'vocab_size', 'num_hidden_layers', 'hidden_size', 'num_attention_heads',
  'num_key_value_heads', 'head_dim', 'intermediate_size',
  'max_position_embeddings',
)  # fmt: skip


@pytest.mark.parametrize('value', [-1, 0, True, False, 10**9 * 3, 10**400, 2.5])
@pytest.mark.parametrize('key', SIZES)
def test_sizes_that_are_none(key, value):
  values = folders.config_json('llama') | {key: value}
  with pytest.raises(config_lib.ConfigError, match=key) as caught:
    read_config(values)
  assert 'config.json' in str(caught.value)


@pytest.mark.parametrize(('name', 'key'), [
    ('mixtral', 'num_local_experts'), ('mixtral', 'num_experts_per_tok'),
    ('qwen3_moe', 'moe_intermediate_size'), ('gpt_oss', 'num_local_experts'),
    ('gpt_oss', 'sliding_window'), ('gemma2', 'query_pre_attn_scalar'),
    ('llama', 'rope_theta'),
])  # fmt: skip
@pytest.mark.parametrize('value', [-1, 0, True])
def test_numbers_of_some_families_that_are_none(name, key, value):
  values = folders.config_json(name)
  values.get('rope_parameters', {}).pop('rope_theta', None)
  with pytest.raises(config_lib.ConfigError, match=key):
    read_config(values | {key: value})


def test_a_thousand_layers_are_read():
  values = folders.config_json('llama') | {'num_hidden_layers': 1000}
  values.pop('layer_types', None)
  assert read_config(values).num_layers == 1000
