"""Hub folders: exact parameters in little memory, and what is refused."""

import io
import json
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
import sentencepiece

from chatjax.chat import sandbox
from chatjax.ckpt import errors
from chatjax.ckpt import mapping
from chatjax.ckpt import safetensors
from chatjax.ckpt import stream
from chatjax.models import families
from chatjax.models import family as family_lib
from chatjax.models import filling
from chatjax.models import load
from chatjax.models import locate
from chatjax.nn import quant
from chatjax.testing import hub_folder

HALF, WIDE = np.float16, np.float32
# Loads a folder with tensors of 60 MB and watches anonymous memory.
WATCHED = """
import pathlib, sys, threading, time
from chatjax.ckpt import stream
from chatjax.models import filling, load
from chatjax.nn import transformer
def anonymous():
  text = pathlib.Path('/proc/self/status').read_text()
  return int(text.split('RssAnon:')[1].split()[0]) * 1024
folder, dtype = pathlib.Path(sys.argv[1]), sys.argv[2]
made = []
with load.open_source(folder, 'a' * 64) as source:
  model = transformer.Transformer(source.config, dtype)
  abstract = model.abstract_params()
  wanted = filling.leaves(abstract)
  import jax
  size = {p: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(leaf))
          for p, leaf in wanted.items()}
  plans = filling.check(source.rules, source.tensors, source.letters, wanted)
  base = anonymous()
  peaks = {}
  is_done = threading.Event()
  now = [next(iter(plans))]
  def watch():
    while not is_done.is_set():
      peaks[now[0]] = max(peaks.get(now[0], 0), anonymous() - base)
      time.sleep(0.001)
  watcher = threading.Thread(target=watch)
  watcher.start()
  names = iter(list(plans)[1:])
  tick = lambda: now.__setitem__(0, next(names, now[0]))
  tree = filling.fill(plans, source.tensors, wanted, tick)
  is_done.set()
  watcher.join()
so_far = 0
for path in plans:
  so_far += size[path]
  print(path, peaks.get(path, 0) - so_far)
print('allowed', 2 * stream.ROW_BLOCK_BYTES)
"""


@pytest.fixture(name='folder')
def _folder(tmp_path):
  return tmp_path / 'model'


def load_folder(folder, tmp_path, dtype='float32', **more):
  found = locate.of_path(folder, tmp_path / 'home')
  return load.load(
    found.path, found.digest, dtype=dtype, checkpoints=tmp_path / 'checkpoints',
    **more,
  )  # fmt: skip


def oracle(arrays, config=hub_folder.CONFIG):
  """Parameters by whole tensors."""
  family = families.BY_HUB[config['architectures'][0]]
  model = family.read_hub_config(config)
  return dict(
    mapping.assemble(
      family.expand_hub_rules(model),
      lambda name: arrays[name].astype(np.float32),
      family_lib.letter_sizes(model),
    )
  )


@pytest.mark.parametrize('num_shards', [1, 3])
@pytest.mark.parametrize('source', [ml_dtypes.bfloat16, HALF, WIDE])
def test_parameters_are_exact(folder, tmp_path, source, num_shards):
  arrays = hub_folder.tensors(dtype=source)
  hub_folder.write(folder, arrays, num_shards=num_shards)
  params = filling.leaves(load_folder(folder, tmp_path).restore())
  wanted = oracle(arrays)
  assert params.keys() == wanted.keys()
  for path, value in wanted.items():
    np.testing.assert_array_equal(params[path], value, err_msg=path)


@pytest.mark.parametrize('dtype', ['bfloat16', *quant.SCHEMES])
def test_forms_of_weights(folder, tmp_path, dtype, monkeypatch):
  monkeypatch.setattr(quant, 'storage', lambda dtype, **_: dtype)
  monkeypatch.setattr(stream, 'BLOCK', 500)  # blocks cross packed ones
  arrays = hub_folder.write(folder)
  params = filling.leaves(load_folder(folder, tmp_path, dtype).restore())
  for path, value in oracle(arrays).items():
    found = params[path]
    if quant.is_weight(found):
      wanted = type(found).quantize(value, found.num_out_axes)
    else:
      wanted = value.astype(found.dtype)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_float8_tensors(folder, tmp_path):
  arrays = hub_folder.tensors()
  name = 'model.layers.1.mlp.up_proj.weight'
  arrays[name] = arrays[name].astype(ml_dtypes.float8_e4m3fn)
  hub_folder.write(folder, arrays)
  params = filling.leaves(load_folder(folder, tmp_path).restore())
  np.testing.assert_array_equal(
    params['layer_1.mlp.gate_up.w'], oracle(arrays)['layer_1.mlp.gate_up.w']
  )


def with_factors(folder, block, **quantization):
  """A folder whose gates have one factor per block; their numbers."""
  name = 'model.layers.1.mlp.up_proj.weight'
  arrays = hub_folder.tensors()
  arrays[name] = arrays[name].astype(ml_dtypes.float8_e4m3fn)
  grid = [-(-n // x) for n, x in zip(arrays[name].shape, block, strict=True)]
  factors = np.arange(1, 1 + np.prod(grid), dtype=WIDE).reshape(grid)
  config = {
    **hub_folder.CONFIG,
    'quantization_config': {'quant_method': 'fp8', **quantization},
  }
  hub_folder.write(
    folder, arrays | {f'{name}_scale_inv': factors}, config=config
  )
  for axis, (n, x) in enumerate(zip(arrays[name].shape, block, strict=True)):
    factors = factors.repeat(x, axis).take(range(n), axis)
  return arrays | {name: arrays[name].astype(WIDE) * factors}


# Shapes alone do not tell blocks of 20 rows from those of 32.
@pytest.mark.parametrize(('block', 'stated'), [
    ((20, 32), {'weight_block_size': [20, 32]}),
    ((32, 8), {'weight_block_size': [32, 8]}),
    ((128, 128), {'weight_block_size': None}),
    ((128, 128), {}),
])  # fmt: skip
def test_blocks_of_float8_are_those_of_the_config(
  folder, tmp_path, block, stated
):
  wanted = oracle(with_factors(folder, block, **stated))
  params = filling.leaves(load_folder(folder, tmp_path).restore())
  np.testing.assert_array_equal(
    params['layer_1.mlp.gate_up.w'], wanted['layer_1.mlp.gate_up.w']
  )


@pytest.mark.parametrize('stated', [{}, {'weight_block_size': [32, 32]}])
def test_blocks_of_float8_that_do_not_fit(folder, tmp_path, stated):
  with_factors(folder, (20, 32), **stated)
  told = r"up_proj.weight_scale_inv' has shape \(3, 1\).* weight_block_size"
  with pytest.raises(errors.FolderError, match=told):
    load_folder(folder, tmp_path)


@pytest.mark.parametrize('size', [
    128, [128], [128, 0], [128, -1], [128.0, 128], [True, 128], 'x', {}, [],
    [[1], [2]], [128, 128, 128], [1, None],
])  # fmt: skip
def test_block_sizes_that_are_none(folder, tmp_path, size):
  with_factors(folder, (128, 128), weight_block_size=size)
  with pytest.raises(load.LoadError, match='weight_block_size'):
    load_folder(folder, tmp_path)


def test_arrays_go_where_they_are_placed(folder, tmp_path):
  hub_folder.write(folder)
  mesh = jax.make_mesh(
    (4,), ('model',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  spec = jax.sharding.PartitionSpec
  shard = jax.sharding.NamedSharding(mesh, spec('model'))
  seen = []

  def placement(name):
    seen.append(name)
    return shard if name == 'embed.w' else None

  weights = load_folder(folder, tmp_path)
  params = filling.leaves(weights.restore(placement))
  assert sorted(seen) == sorted(params)
  plain = filling.leaves(weights.restore())
  assert params['embed.w'].sharding == shard
  assert {x.data.shape[0] for x in params['embed.w'].addressable_shards} == {68}
  for path, value in plain.items():
    np.testing.assert_array_equal(params[path], value)
    assert len(value.sharding.device_set) == 1


@pytest.mark.parametrize('dtype', [
    'float32', 'int8_grouped',
    *(pytest.param(x, marks=pytest.mark.slow)
      for x in ('int8_weight', 'int4_weight', 'fp8')),
])  # fmt: skip
def test_memory_is_the_result_and_little_more(folder, dtype):
  config = {**hub_folder.CONFIG, 'hidden_size': 512, 'vocab_size': 60_000}
  hub_folder.write(folder, config=config)
  done = subprocess.run(
    [sys.executable, '-c', WATCHED, str(folder), dtype],
    capture_output=True, text=True, check=True,
  )  # fmt: skip
  *lines, (_, allowed) = map(str.split, done.stdout.splitlines())
  assert len(lines) > 10
  for path, beyond in lines:
    assert int(beyond) <= int(allowed), (path, beyond, allowed)


def test_code_that_a_folder_brings_is_not_run(folder, tmp_path):
  """Models that `transformers` came to know later still name their own."""
  theirs = {'AutoConfig': 'code.Config', 'AutoModelForCausalLM': 'code.Model'}
  hub_folder.write(folder, config={**hub_folder.CONFIG, 'auto_map': theirs})
  (folder / 'code.py').write_text(f'open({str(tmp_path / "ran")!r}, "w")')
  assert load_folder(folder, tmp_path).restore()
  assert not (tmp_path / 'ran').exists()


def test_a_second_start_reads_no_tensor(folder, tmp_path, monkeypatch):
  hub_folder.write(folder)
  first = load_folder(folder, tmp_path)
  monkeypatch.setattr(stream, 'block', pytest.fail)
  second = load_folder(folder, tmp_path)
  assert first.digest == second.digest
  jax.tree.map(np.testing.assert_array_equal, first.restore(), second.restore())


def test_other_text_files_are_another_model(folder, tmp_path):
  hub_folder.write(folder)
  first = locate.of_path(folder, tmp_path / 'home').digest
  (folder / 'generation_config.json').write_text('{"eos_token_id": 257}')
  assert locate.of_path(folder, tmp_path / 'home').digest != first


def test_all_that_does_not_fit_is_told_at_once(folder, tmp_path):
  arrays = hub_folder.tensors()
  del arrays['model.norm.weight']
  del arrays['model.layers.0.mlp.up_proj.weight']
  arrays['vision.x'] = arrays['vision.y'] = np.zeros(3, np.float32)
  hub_folder.write(folder, arrays)
  with pytest.raises(load.LoadError) as caught:
    load_folder(folder, tmp_path)
  told = str(caught.value)
  for name in (
    'model.norm.weight', 'model.layers.0.mlp.up_proj.weight', 'vision.x',
    'vision.y',
  ):  # fmt: skip
    assert name in told
  assert not list((tmp_path / 'checkpoints').glob('*'))


def test_all_wrong_shapes_are_told_at_once(folder, tmp_path):
  arrays = hub_folder.tensors()
  for name in ('model.norm.weight', 'model.embed_tokens.weight'):
    arrays[name] = arrays[name][:-1]
  hub_folder.write(folder, arrays)
  with pytest.raises(load.LoadError) as caught:
    load_folder(folder, tmp_path)
  for told in ('model.norm.weight', 'model.embed_tokens.weight', '(271, 32)'):
    assert told in str(caught.value)
  assert 'model.safetensors' in str(caught.value)


TABLE, HEAD = 'model.embed_tokens.weight', 'lm_head.weight'


@pytest.mark.parametrize('dtype', [ml_dtypes.bfloat16, WIDE])
def test_a_tied_model_may_store_its_table_twice(folder, tmp_path, dtype):
  arrays = hub_folder.tensors()
  hub_folder.write(
    folder, arrays | {HEAD: arrays[TABLE].astype(dtype)}, num_shards=2
  )
  params = filling.leaves(load_folder(folder, tmp_path).restore())
  wanted = oracle(arrays)
  assert params.keys() == wanted.keys()
  for path, value in wanted.items():
    np.testing.assert_array_equal(params[path], value, err_msg=path)


def test_a_tied_model_with_two_tables_is_refused(folder, tmp_path, monkeypatch):
  monkeypatch.setattr(stream, 'BLOCK', 500)  # the last of many blocks differs
  arrays = hub_folder.tensors()
  arrays[HEAD] = arrays[TABLE].copy()
  arrays[HEAD][-1, -1] += 1
  hub_folder.write(folder, arrays)
  with pytest.raises(load.LoadError) as caught:
    load_folder(folder, tmp_path)
  for told in (TABLE, HEAD, 'tie_word_embeddings', 'row 271'):
    assert told in str(caught.value)


def test_a_tied_model_with_a_table_of_another_shape(folder, tmp_path):
  arrays = hub_folder.tensors()
  hub_folder.write(folder, arrays | {HEAD: arrays[TABLE][:-1]})
  with pytest.raises(mapping.MappingError) as caught:
    load_folder(folder, tmp_path)
  for told in (TABLE, HEAD, 'tie_word_embeddings', '(271, 32)', '(272, 32)'):
    assert told in str(caught.value)


def test_a_second_table_does_not_stand_for_the_first(folder, tmp_path):
  arrays = hub_folder.tensors()
  arrays[HEAD] = arrays.pop(TABLE)
  hub_folder.write(folder, arrays)
  with pytest.raises(load.LoadError) as caught:
    load_folder(folder, tmp_path)
  assert f'missing from the checkpoint: {TABLE}' in str(caught.value)
  assert f'no rule names: {HEAD}' in str(caught.value)


def test_stored_frequencies_are_computed_anew(folder, tmp_path):
  """Folders of Llama 2 have such a buffer in each layer."""
  arrays = hub_folder.tensors()
  buffers = (
    'model.layers.0.self_attn.rotary_emb.inv_freq',
    'model.layers.1.self_attn.rotary_emb.inv_freq',
    'model.rotary_emb.inv_freq',
  )
  half = np.ones(8, np.float32)
  hub_folder.write(folder, arrays | dict.fromkeys(buffers, half))
  params = filling.leaves(load_folder(folder, tmp_path).restore())
  for path, value in oracle(arrays).items():
    np.testing.assert_array_equal(params[path], value, err_msg=path)


@pytest.mark.parametrize('name', [
    'model.layers.2.self_attn.rotary_emb.inv_freq',  # of two layers
    'model.layers.00.self_attn.rotary_emb.inv_freq',
    'model.layers.0.rotary_emb.inv_freq',
    'rotary_emb.inv_freq',
    'model.layers.0.self_attn.rotary_emb.inv_freq_scale',
])  # fmt: skip
def test_what_is_only_like_frequencies_is_named(folder, tmp_path, name):
  arrays = hub_folder.tensors() | {name: np.ones(8, np.float32)}
  hub_folder.write(folder, arrays)
  with pytest.raises(load.LoadError, match=f'no rule names: {name}'):
    load_folder(folder, tmp_path)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(folder, tmp_path, value):
  arrays = hub_folder.tensors()
  arrays['model.layers.1.self_attn.k_proj.weight'][5, 7] = value
  hub_folder.write(folder, arrays, num_shards=2)
  with pytest.raises(errors.DataError) as caught:
    load_folder(folder, tmp_path)
  assert "'model.layers.1.self_attn.k_proj.weight'" in str(caught.value)
  assert '.safetensors' in str(caught.value)


def test_a_cut_shard_is_named(folder, tmp_path):
  hub_folder.write(folder, num_shards=2)
  path = folder / 'model-00002-of-00002.safetensors'
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(safetensors.SafetensorsError) as caught:
    load_folder(folder, tmp_path)
  assert str(path) in str(caught.value)
  assert 'model.layers' in str(caught.value)


CONFIGS = {
  'another architecture': ({'architectures': ['NoSuch']}, 'holds a NoSuch'),
  'no architecture': ({'architectures': None}, 'nameless'),
  'no size': ({'hidden_size': None}, 'has no hidden_size'),
  'architectures that are no names': (
    {'architectures': [{}]}, 'cannot be run: architectures is no list of names',
  ),
  'no architectures at all': ({'architectures': 1}, 'architectures is no list'),
  'no half for texts': (
    {'architectures': ['Gemma3ForConditionalGeneration']},
    'cannot be run: text_config is no object in config.json',
  ),
  'rotation': ({'rope_scaling': {'rope_type': []}}, r'rope_type is .\[\]'),
  'layers of no kind': (
    {
      'use_sliding_window': True, 'max_window_layers': 1,
      'layer_types': [{}, 1],
    },
    'layer_types has',
  ),
  'too many layers': (
    {'num_hidden_layers': 10**9}, 'num_hidden_layers is 1000000000 .* 1,000',
  ),
  'other quantization': (
    {'quantization_config': {'quant_method': 'awq'}}, "quantized by 'awq'",
  ),
}  # fmt: skip


@pytest.mark.parametrize('kind', CONFIGS)
def test_configs_that_cannot_be_run(folder, tmp_path, kind):
  change, message = CONFIGS[kind]
  hub_folder.write(folder)
  config = hub_folder.CONFIG | change
  (folder / 'config.json').write_text(json.dumps(config))
  with pytest.raises(load.LoadError, match=message):
    load_folder(folder, tmp_path)


def test_a_folder_without_a_config(folder, tmp_path):
  folder.mkdir()
  with pytest.raises(errors.FolderError, match=r'no config\.json'):
    load_folder(folder, tmp_path)


def texts(folder, tmp_path):
  return load_folder(folder, tmp_path).texts


def set_template(folder, value):
  path = folder / 'tokenizer_config.json'
  path.write_text(json.dumps({'chat_template': value, 'eos_token': 'x'}))


def test_where_a_chat_template_may_stand(folder, tmp_path):
  hub_folder.write(folder)
  assert '<|im_start|>' in texts(folder, tmp_path).chat_template
  set_template(folder, None)
  assert texts(folder, tmp_path).chat_template is None
  (folder / 'chat_template.json').write_text('{"chat_template": "B"}')
  assert texts(folder, tmp_path).chat_template == 'B'
  (folder / 'chat_template.jinja').write_text('A')
  assert texts(folder, tmp_path).chat_template == 'A'
  assert texts(folder, tmp_path).eos_token == 'x'


def test_roles_that_only_the_map_of_special_tokens_names(folder, tmp_path):
  hub_folder.write(folder)
  set_template(folder, 'T')
  names = {'bos_token': '<|im_start|>', 'eos_token': {'content': 'y'}}
  (folder / 'special_tokens_map.json').write_text(json.dumps(names))
  assert 'special_tokens_map.json' in locate.files(folder)
  found = texts(folder, tmp_path)
  tokenizer = found.make_tokenizer()
  assert tokenizer.spelling(tokenizer.bos_id) == '<|im_start|>'
  assert found.eos_token == 'x'  # the tokenizer's config counts
  (folder / 'tokenizer_config.json').unlink()
  assert texts(folder, tmp_path).eos_token == 'y'


def test_a_folder_with_a_tokenizer_of_sentencepiece(folder, tmp_path):
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(['the fox'] * 9), model_writer=model,
    model_type='bpe', vocab_size=268, byte_fallback=True,
    minloglevel=2,
  )  # fmt: skip
  hub_folder.write(folder)
  (folder / 'tokenizer.model').write_bytes(model.getvalue())
  assert 'tokenizer.model' not in locate.files(folder)
  (folder / 'tokenizer.json').unlink()
  (folder / 'added_tokens.json').write_text('{"<|im_end|>": 270}')
  assert {'tokenizer.model', 'added_tokens.json'} < {*locate.files(folder)}
  tokenizer = texts(folder, tmp_path).make_tokenizer()
  assert tokenizer.decode(tokenizer.encode('the fox')).strip() == 'the fox'
  assert 270 in tokenizer.eos_ids
  (folder / 'tokenizer.model').unlink()
  with pytest.raises(errors.FolderError, match=r'has no tokenizer\.json'):
    texts(folder, tmp_path).make_tokenizer()


def test_tokens_that_a_template_may_name(folder, tmp_path):
  hub_folder.write(folder)
  path = folder / 'tokenizer_config.json'
  config = {
    'bos_token': 'b', 'unk_token': {'content': 'u'}, 'pad_token': 'p',
    'sep_token': None, 'add_bos_token': True, 'boi_token': 'outside',
    'extra_special_tokens': {'image_token': 'i', 'eos_token': 'e', 'x': 'y'},
  }  # fmt: skip
  path.write_text(json.dumps(config))
  wanted = {'unk_token': 'u', 'pad_token': 'p', 'image_token': 'i'}
  assert texts(folder, tmp_path).other_tokens == wanted
  path.write_text(json.dumps(config | {'extra_special_tokens': ['z']}))
  del wanted['image_token']
  assert texts(folder, tmp_path).other_tokens == wanted


def test_templates_by_name(folder, tmp_path):
  hub_folder.write(folder)
  named = [
    {'name': 'default', 'template': 'D'}, {'name': 'tool_use', 'template': 'T'}
  ]  # fmt: skip
  set_template(folder, named[:1])
  assert texts(folder, tmp_path).chat_template == 'D'
  set_template(folder, named)
  both = sandbox.Template(texts(folder, tmp_path).chat_template)
  assert both.render(tools=[1]) == 'T'
  assert both.render(tools=None) == 'D'
  set_template(folder, [*named[1:], {'name': 'rag', 'template': 'R'}])
  with pytest.raises(errors.FolderError, match="'rag', 'tool_use'"):
    texts(folder, tmp_path)


@pytest.mark.parametrize(
  'source',
  [
    'A:\n', 'A:\r\n', 'A\n\n', '\nA', '\n\nA  ', 'A\n  ', '\r\n A \n ',
    '  {% if 1 %}\n A\n  {% endif %}\n', '{%- if 1 %}A{% endif -%} \n',
    ' {# x #}\n', ' {{- 1 -}} \n', '\n  {% set a = 1 %}\nA:\n{{ a }}\n',
  ],
)  # fmt: skip
def test_one_of_two_templates_renders_as_it_does_alone(
  folder, tmp_path, source
):
  hub_folder.write(folder)
  names = 'default', 'tool_use'
  set_template(folder, [{'name': name, 'template': source} for name in names])
  both = sandbox.Template(texts(folder, tmp_path).chat_template)
  alone = sandbox.Template(source).render()
  assert both.render(tools=None) == alone
  assert both.render(tools=[1]) == alone


def test_the_tokenizer_of_a_folder(folder, tmp_path):
  hub_folder.write(folder)
  tokenizer = texts(folder, tmp_path).make_tokenizer()
  assert tokenizer.vocab_size == hub_folder.CONFIG['vocab_size']
  assert tokenizer.eos_ids == {256, 258}
  assert tokenizer.decode(tokenizer.encode('Grüße')) == 'Grüße'


def test_a_folder_without_a_tokenizer(folder, tmp_path):
  hub_folder.write(folder)
  (folder / 'tokenizer.json').unlink()
  with pytest.raises(errors.FolderError, match=r'no tokenizer\.json'):
    texts(folder, tmp_path).make_tokenizer()
