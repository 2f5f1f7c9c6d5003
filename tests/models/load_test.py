"""GGUF files of tiny models: what is read, what is refused, the way back."""

import dataclasses

import gguf as reference
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

from chatjax import model_config
from chatjax.ckpt import mapping
from chatjax.ckpt import stream
from chatjax.models import family as family_lib
from chatjax.models import filling
from chatjax.models import hub_keys
from chatjax.models import load
from chatjax.nn import quant
from chatjax.nn import rope
from chatjax.nn import transformer
from chatjax.testing import hub_folder

FAMILIES = sorted(load.FAMILIES)
VOCAB, LAYERS, EMBED, MLP, HEADS, KV_HEADS, HEAD = 11, 2, 12, 10, 4, 2, 6


def metadata(family, **changes):
  """What a file says of the model; None drops a key."""
  values = {
    'general.architecture': family,
    'tokenizer.ggml.tokens': [str(i) for i in range(VOCAB)],
    f'{family}.block_count': LAYERS,
    f'{family}.context_length': 64,
    f'{family}.embedding_length': EMBED,
    f'{family}.feed_forward_length': MLP,
    f'{family}.attention.head_count': HEADS,
    f'{family}.attention.head_count_kv': KV_HEADS,
    f'{family}.attention.key_length': HEAD,
    f'{family}.attention.value_length': HEAD,
    f'{family}.attention.layer_norm_rms_epsilon': 2**-17,
    f'{family}.rope.freq_base': 5000.0,
  }
  if family == 'gemma3':
    values['gemma3.attention.sliding_window'] = 8
  values |= {f'{family}.{key}': value for key, value in changes.items()}
  return {key: value for key, value in values.items() if value is not None}


def tensors(config, family, seed=0):
  """The tensors of a file, by the sizes that its format prescribes."""
  d, h = config.embed_dim, config.head_dim
  q, kv = config.num_heads * h, config.num_kv_heads * h
  shapes = {'token_embd.weight': (config.vocab_size, d)}
  shapes['output_norm.weight'] = (d,)
  if not config.tie_embeddings:
    shapes['output.weight'] = (config.vocab_size, d)
  block = {
    'attn_norm.weight': (d,), 'ffn_norm.weight': (d,),
    'attn_q.weight': (q, d), 'attn_k.weight': (kv, d),
    'attn_v.weight': (kv, d), 'attn_output.weight': (d, q),
    'ffn_gate.weight': (config.mlp_dim, d),
    'ffn_up.weight': (config.mlp_dim, d),
    'ffn_down.weight': (d, config.mlp_dim),
  }  # fmt: skip
  if family == 'qwen2':
    block |= {'attn_q.bias': (q,), 'attn_k.bias': (kv,), 'attn_v.bias': (kv,)}
  if family == 'gemma3':
    block |= {
      'attn_q_norm.weight': (h,), 'attn_k_norm.weight': (h,),
      'post_attention_norm.weight': (d,), 'post_ffw_norm.weight': (d,),
    }  # fmt: skip
  for layer in range(config.num_layers):
    shapes |= {f'blk.{layer}.{name}': shape for name, shape in block.items()}
  rng = np.random.default_rng(seed)
  return {
    name: rng.normal(size=shape).astype(np.float32)
    for name, shape in shapes.items()
  }


def write(path, values, arrays):
  writer = reference.GGUFWriter(path, values['general.architecture'])
  for key, value in values.items():
    if key == 'general.architecture':
      continue
    if isinstance(value, list):
      writer.add_array(key, value)
    elif isinstance(value, str):
      writer.add_string(key, value)
    elif isinstance(value, float):
      writer.add_float32(key, value)
    else:
      writer.add_uint32(key, value)
  for name, array in arrays.items():
    writer.add_tensor(name, array)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()


@st.composite
def models(draw):
  """A family, and a model of drawn sizes."""
  kind = load.FAMILIES[family := draw(st.sampled_from(FAMILIES))]
  size = st.integers(1, 3)
  num_kv_heads = draw(size)
  config = kind.read_config(
    metadata(
      family,
      **{
        'block_count': draw(size),
        'embedding_length': draw(size) * 2 + 5,
        'feed_forward_length': draw(size) + 8,
        'attention.head_count': num_kv_heads * draw(size),
        'attention.head_count_kv': num_kv_heads,
        'attention.key_length': (head_dim := draw(size) * 2),
        'attention.value_length': head_dim,
      },
    )
  )
  is_tied = draw(st.booleans())
  return family, dataclasses.replace(config, tie_embeddings=is_tied)


@given(models())
@settings(deadline=None, max_examples=40)
def test_export_undoes_assemble(model):
  family, config = model
  arrays = tensors(config, family)
  rules = load.FAMILIES[family].rules(config)
  known = family_lib.letter_sizes(config)
  params = dict(mapping.assemble(rules, arrays.__getitem__, known))
  wanted = _flat(transformer.Transformer(config, 'float32').abstract_params())
  assert {k: v.shape for k, v in params.items()} == {
    k: v.shape for k, v in wanted.items()
  }
  shapes = {name: array.shape for name, array in arrays.items()}
  back = dict(mapping.export(rules, params, shapes, known))
  assert back.keys() == arrays.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(back[name], array, err_msg=name)


def _flat(tree):
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {'.'.join(k.key for k in path): leaf for path, leaf in leaves}


@pytest.mark.parametrize('family', FAMILIES)
def test_every_row_goes_to_its_head(family):
  """By loops over heads, instead of equations."""
  config = load.FAMILIES[family].read_config(metadata(family))
  arrays = tensors(config, family)
  params = dict(
    mapping.assemble(
      load.FAMILIES[family].rules(config),
      arrays.__getitem__,
      family_lib.letter_sizes(config),
    )
  )
  qkv_KEHD = params['layer_1.attn.qkv.w']
  groups, half = HEADS // KV_HEADS, HEAD // 2
  for kv in range(KV_HEADS):
    for i in range(HEAD):
      # Llama's files interleave the two halves of a rotation.
      row = 2 * (i % half) + i // half if family == 'llama' else i
      for g in range(groups):
        np.testing.assert_array_equal(
          qkv_KEHD[kv, g, i],
          arrays['blk.1.attn_q.weight'][(kv * groups + g) * HEAD + row],
        )
      for e, name, at in ((-2, 'k', row), (-1, 'v', i)):
        np.testing.assert_array_equal(
          qkv_KEHD[kv, e, i],
          arrays[f'blk.1.attn_{name}.weight'][kv * HEAD + at],
        )


@pytest.mark.parametrize('family', FAMILIES)
def test_a_file_becomes_parameters_once(family, tmp_path):
  path = tmp_path / 'tiny.gguf'
  config = load.FAMILIES[family].read_config(metadata(family))
  arrays = tensors(config, family)
  write(path, metadata(family), arrays)
  done = []
  read = lambda: load.load(
    path, 'a' * 64, dtype='float32', checkpoints=tmp_path / 'checkpoints',
    progress=lambda *args: done.append(args),
  )  # fmt: skip
  weights = read()
  assert weights.config == config
  params = _flat(weights.restore())
  np.testing.assert_array_equal(params['embed.w'], arrays['token_embd.weight'])
  assert done[-1] == (len(params), len(params))
  count = len(done)
  read()
  assert len(done) == count


@pytest.mark.parametrize('dtype', ['int8_weight', 'int4_weight', 'fp8'])
def test_a_file_is_quantized_block_by_block(dtype, tmp_path, monkeypatch):
  monkeypatch.setattr(stream, 'BLOCK', 90)
  sizes = {
    'embedding_length': 16, 'feed_forward_length': 24,
    'attention.key_length': 8, 'attention.value_length': 8,
  }  # fmt: skip
  values = metadata('llama', **sizes)
  config = load.FAMILIES['llama'].read_config(values)
  write(tmp_path / 'tiny.gguf', values, tensors(config, 'llama'))
  whole, made = (
    filling.leaves(load.load(
        tmp_path / 'tiny.gguf', 'a' * 64, dtype=kept,
        checkpoints=tmp_path / 'checkpoints',
    ).restore())
    for kept in ('float32', dtype)
  )  # fmt: skip
  assert whole.keys() == made.keys()
  quantized = [name for name, leaf in made.items() if quant.is_weight(leaf)]
  assert {'embed.w', 'layer_0.attn.out.w', 'layer_1.mlp.down.w'} < {*quantized}
  for name in quantized:
    kind, num_out_axes = type(made[name]), made[name].num_out_axes
    want = kind.quantize(np.asarray(whole[name]), num_out_axes)
    jax.tree.map(np.testing.assert_array_equal, made[name], want)


REFUSED = {
  ('llama', 'rope.scaling.type', 'linear'): 'no llama.rope.scal',
  ('llama', 'rope.scaling.type', 3): 'llama.rope.scaling.type is 3',
  ('llama', 'rope.scaling.type', 'new'): "llama.rope.scaling.type is 'new'",
  ('qwen2', 'rope.scaling.type', 'yarn'): "qwen2.rope.scaling.type is 'yarn'",
  ('gemma3', 'rope.scaling.factor', 0.0): 'factor=0.0 must be positive',
  ('llama', 'rope.scaling.attn_factor', 2.0): 'llama.rope.scaling.attn_factor',
  ('llama', 'rope.dimension_count', 4): 'llama.rope.dimension_count is 4',
  ('qwen2', 'attention.value_length', 8): 'attention.value_length is 8',
  ('gemma3', 'final_logit_softcapping', 30.0): 'final_logit_softcapping is 30',
  ('gemma3', 'attention.sliding_window', None): 'no gemma3.attention.sliding_',
  ('gemma3', 'attention.key_length', None): 'no gemma3.attention.key_length',
  ('gemma3', 'rope.freq_base', None): 'has no gemma3.rope.freq_base',
  ('gemma3', 'attention.sliding_window_pattern', 2): 'window_pattern is 2',
  ('llama', 'block_count', None): 'has no llama.block_count',
  ('llama', 'block_count', 'two'): 'llama.block_count is not one number',
  ('llama', 'block_count', 10**9): 'llama.block_count is 1000000000',
  ('gemma3', 'block_count', 10**9): 'must be at most 1,000',
  ('llama', 'attention.head_count', 0): 'num_heads=0 must be positive',
  ('llama', 'attention.head_count_kv', 3): 'is not a multiple of',
}


@pytest.mark.parametrize('change', REFUSED, ids=lambda x: f'{x[0]}.{x[1]}')
def test_files_that_would_be_computed_wrong(change, tmp_path):
  family, key, value = change
  path = tmp_path / 'odd.gguf'
  write(path, metadata(family, **{key: value}), {})
  with pytest.raises(load.LoadError) as caught:
    load.load(path, 'a' * 64, dtype='int8', checkpoints=tmp_path / 'none')
  message = str(caught.value)
  assert message.startswith('odd.gguf ')
  assert message.endswith('.')
  assert message.count('\n') == 0
  assert REFUSED[change] in message
  assert not (tmp_path / 'none').exists()


def test_a_file_without_a_vocabulary(tmp_path):
  values = metadata('llama')
  del values['tokenizer.ggml.tokens']
  write(tmp_path / 'odd.gguf', values, {})
  with pytest.raises(load.LoadError, match=r'has no tokenizer\.ggml\.tokens'):
    load.load(
      tmp_path / 'odd.gguf', 'a' * 64, dtype='int8', checkpoints=tmp_path
    )


def test_tensors_that_no_rule_names(tmp_path):
  path = tmp_path / 'odd.gguf'
  values = metadata('llama')
  arrays = tensors(load.FAMILIES['llama'].read_config(values), 'llama')
  arrays['rope_factors_long.weight'] = np.ones(HEAD // 2, np.float32)
  write(path, values, arrays)
  with pytest.raises(
    load.LoadError, match=r'no rule names: rope_factors_long\.weight'
  ):
    load.load(path, 'a' * 64, dtype='int8', checkpoints=tmp_path / 'kept')
  assert not list((tmp_path / 'kept').glob('*'))


STRETCHED = {
  'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0,
  'high_freq_factor': 4.0, 'original_max_position_embeddings': 8192,
}  # fmt: skip
FACTORS = 'rope_freqs.weight'


def factors(scaling, head_dim, theta, kind=np.float64):
  """What converters store of a scaling, computed in a kind of floats."""
  low, high = (
    scaling['original_max_position_embeddings'] / scaling[f'{x}_freq_factor']
    for x in ('low', 'high')
  )
  found = []
  for i in range(0, head_dim, 2):
    wave = kind(2 * np.pi) * kind(theta) ** (kind(i) / kind(head_dim))
    if wave < high:
      found.append(1)
    elif wave > low:
      found.append(scaling['factor'])
    else:
      smooth = (kind(low) / wave - kind(1)) / kind(low / high - 1)
      kept = (kind(1) - smooth) / kind(scaling['factor']) + smooth
      found.append(kind(1) / kept)
  return np.asarray(found, np.float32)


def frequencies(config):
  """Inverse frequencies as the model has them."""
  frequency_h, factor = rope._scaled(
    config.head_dim, config.rope_theta, config.rope_scaling
  )
  assert factor == 1
  return frequency_h


@pytest.mark.parametrize('head_dim', [64, 128])
@pytest.mark.parametrize(('kind', 'ulps'), [(np.float64, 1), (np.float32, 4)])
def test_factors_are_those_of_the_scaling(tmp_path, head_dim, kind, ulps):
  """Converters round to float32 at each step; 2 ulps were seen of it."""
  theta = 500_000.0
  sizes = {'attention.key_length': head_dim, 'rope.freq_base': theta}
  values = metadata('llama', **sizes, **{'attention.value_length': head_dim})
  stored = factors(STRETCHED, head_dim, theta, kind)
  write(tmp_path / 'tiny.gguf', values, {FACTORS: stored})
  with load.open_source(tmp_path / 'tiny.gguf', 'a' * 64) as source:
    ours = frequencies(source.config)
  hub = hub_keys.rope({'rope_theta': theta, 'rope_scaling': STRETCHED})
  wanted = frequencies(dataclasses.replace(source.config, **hub))
  np.testing.assert_array_max_ulp(ours, wanted, ulps)
  assert (ours[-1], ours[0]) == (wanted[-1], 1)


def test_a_file_with_factors_is_the_model_of_its_folder(tmp_path):
  """Half of all frequencies are stretched in texts of this length."""
  theta, head_dim = 10_000.0, 16
  scaling = STRETCHED | {'original_max_position_embeddings': 16}
  raw = hub_folder.CONFIG | {
    'architectures': ['LlamaForCausalLM'], 'model_type': 'llama',
    'rms_norm_eps': 2**-17, 'rope_theta': theta, 'rope_scaling': scaling,
  }  # fmt: skip
  arrays = hub_folder.write(tmp_path / 'hub', config=raw)
  with load.open_source(tmp_path / 'hub', 'a' * 64) as source:
    config, letters = source.config, source.letters
    params = dict(
      mapping.assemble(
        source.rules, lambda x: arrays[x].astype(np.float32), letters
      )
    )
  shapes = {name: x.shape for name, x in tensors(config, 'llama').items()}
  rules = load.FAMILIES['llama'].rules(config)
  stored = dict(mapping.export(rules, params, shapes, letters))
  values = metadata('llama', **{
    'block_count': config.num_layers, 'embedding_length': config.embed_dim,
    'feed_forward_length': config.mlp_dim, 'rope.freq_base': theta,
    'attention.key_length': head_dim, 'attention.value_length': head_dim,
  })  # fmt: skip
  vocab = [str(i) for i in range(config.vocab_size)]
  values['tokenizer.ggml.tokens'] = vocab
  write(tmp_path / 'plain.gguf', values, stored)
  stored[FACTORS] = factors(scaling, head_dim, theta)
  write(tmp_path / 'tiny.gguf', values, stored)
  wanted, ours, plain = (
    _logits(tmp_path, name) for name in ('hub', 'tiny.gguf', 'plain.gguf')
  )
  largest = np.abs(wanted).max()
  assert np.abs(ours - wanted).max() < 1e-6 * largest
  assert np.abs(plain - wanted).max() > 1e-3 * largest


def _logits(folder, name):
  weights = load.load(
    folder / name, name[0] * 64, dtype='float32', checkpoints=folder / 'kept'
  )
  model = transformer.Transformer(weights.config, 'float32')
  ids = np.arange(40, dtype=np.int32) * 7 % weights.config.vocab_size
  return np.asarray(jax.jit(model.dense)(weights.restore(), ids))


@pytest.mark.parametrize(('stored', 'told'), [
    (np.ones(HEAD, np.float32), r'shape \(6,\)'),
    (np.ones((1, HEAD // 2), np.float32), r'shape \(1, 3\)'),
    (np.asarray([1, 0, 1], np.float32), '0.0'),
    (np.asarray([1, 1, -8], np.float32), '-8.0'),
])  # fmt: skip
def test_factors_that_are_none(tmp_path, stored, told):
  write(tmp_path / 'odd.gguf', metadata('llama'), {FACTORS: stored})
  with pytest.raises(load.LoadError, match=f'^odd.gguf cannot .*{told}') as e:
    load.load(
      tmp_path / 'odd.gguf', 'a' * 64, dtype='int8', checkpoints=tmp_path
    )
  assert FACTORS in str(e.value)


@pytest.mark.parametrize('family', sorted({*FAMILIES} - {'llama'}))
def test_factors_of_families_that_have_none(tmp_path, family):
  values = metadata(family)
  arrays = tensors(load.FAMILIES[family].read_config(values), family)
  arrays[FACTORS] = np.ones(HEAD // 2, np.float32)
  write(tmp_path / 'odd.gguf', values, arrays)
  with pytest.raises(load.LoadError, match=f'no rule names: {FACTORS}'):
    load.load(
      tmp_path / 'odd.gguf', 'a' * 64, dtype='int8', checkpoints=tmp_path
    )


@pytest.mark.parametrize('family', FAMILIES)
def test_what_may_stand_in_a_file(family):
  read = load.FAMILIES[family].read_config
  plain = read(metadata(family))
  assert plain.rope_theta == 5000
  assert plain.q_scale == HEAD**-0.5
  same = read(
    metadata(
      family,
      **{
        'rope.dimension_count': HEAD,
        'rope.scaling.type': 'none',
        'rope.scaling.original_context_length': 32,
        'attention.scale': 0.0,
        'final_logit_softcapping': 0.0,
      },
    )
  )
  assert same == plain
  assert read(metadata(family, **{'attention.scale': 0.25})).q_scale == 0.25


LINEAR = model_config.LinearRope(factor=8.0)
YARN = model_config.Yarn(factor=4.0, original_context=32)
SCALED = (
  ({'scaling.type': 'linear', 'scaling.factor': 8.0}, LINEAR),
  ({'scaling.factor': 8.0, 'scaling.finetuned': True}, LINEAR),
  ({'scale_linear': 8.0}, LINEAR),
  ({'scaling.type': 'linear', 'scaling.factor': 1.0}, None),
  ({'scaling.type': 'none', 'scaling.factor': 8.0}, None),
  (
    {
      'scaling.type': 'yarn', 'scaling.factor': 4.0,
      'scaling.original_context_length': 32,
    },
    YARN,
  ),
)  # fmt: skip


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize(('stated', 'wanted'), SCALED)
def test_stretched_rotary_embeddings(family, stated, wanted):
  changes = {f'rope.{name}': value for name, value in stated.items()}
  config = load.FAMILIES[family].read_config(metadata(family, **changes))
  assert config.scaling(model_config.LayerKind.GLOBAL) == wanted
  if family == 'gemma3':
    assert config.scaling(model_config.LayerKind.LOCAL) is None


def test_a_rotary_embedding_that_is_stretched_twice(tmp_path):
  values = metadata('llama', **{'rope.scaling.factor': 8.0})
  arrays = tensors(load.FAMILIES['llama'].read_config(values), 'llama')
  arrays[FACTORS] = np.ones(HEAD // 2, np.float32)
  write(tmp_path / 'odd.gguf', values, arrays)
  with pytest.raises(load.LoadError, match='one of the two'):
    load.load(
      tmp_path / 'odd.gguf', 'a' * 64, dtype='int8', checkpoints=tmp_path
    )


def test_local_layers_of_gemma():
  config = load.FAMILIES['gemma3'].read_config(
    metadata('gemma3', **{'block_count': 7, 'rope.freq_base_swa': 300.0})
  )
  kinds = ['local'] * 5 + ['global', 'local']
  assert [kind.value for kind in config.layer_kinds] == kinds
  assert config.theta(model_config.LayerKind.LOCAL) == 300
  assert config.theta(model_config.LayerKind.GLOBAL) == 5000


def test_the_largest_gemma_scales_queries_its_own_way():
  sizes = {
    'block_count': 62, 'embedding_length': 5376, 'attention.head_count': 32,
    'attention.head_count_kv': 16, 'attention.key_length': 128,
    'attention.value_length': 128,
  }  # fmt: skip
  config = load.FAMILIES['gemma3'].read_config(metadata('gemma3', **sizes))
  assert config.q_scale == pytest.approx(168**-0.5)
