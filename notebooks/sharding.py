# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   marks: [slow]
# ---

# %% [markdown]
# # A model on eight devices
#
# Models that are too large for one accelerator are split over several. What
# is split how can be tried without any: XLA shares out one CPU as eight fake
# devices, which hold their own pieces of each array and exchange them as real
# ones do. The model here is tiny and its weights are random, since only where
# they lie is of interest; nothing is fetched.
#
# The number of devices has to be said before jax starts.

# %%
import os

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['JAX_NUM_CPU_DEVICES'] = '8'

import collections
import pathlib
import re
import tempfile

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import chatjax
from chatjax import config
from chatjax import model_config
from chatjax.nn import sharding
from chatjax.nn import transformer
from chatjax.testing import hub_folder

print(*jax.devices(), sep='\n')

# %% [markdown]
# ## The sizes, and a mesh
#
# Two layers, four query heads in two groups of two, each group with one
# key/value head. The mesh has two axes: `model=4` splits heads, MLPs and
# vocabulary into four, `data=2` splits the rows of a step into two and keeps
# all weights in both halves.

# %%
sizes = model_config.ModelConfig(
  vocab_size=272,
  num_layers=2,
  embed_dim=32,
  num_heads=4,
  num_kv_heads=2,
  head_dim=16,
  mlp_dim=48,
  max_context=512,
)
mesh = config.MeshConfig(model=4, data=2)
layout = sharding.layout(mesh, sizes)
print(layout.sizes)

# %% [markdown]
# Four devices along `model`, but two key/value heads: so this axis is two in
# truth, `heads` and `copies`. Each key/value head is on two devices, which do
# half of its query heads each.
#
# Every parameter names its axes where it is declared, and one table says along
# which axis of the mesh each name is split:

# %%
for axis, split in sharding.TABLE.items():
  print(f'{axis:9} {" and ".join(split) or "(whole everywhere)"}')

# %% [markdown]
# ## Where the parameters lie
#
# `init_boxed` makes parameters with the names of their axes,
# `layout.params` turns these into shardings, and `sharding.put` puts the
# numbers there.

# %%
single = transformer.Transformer(sizes, 'float32')
split = transformer.Transformer(sizes, 'float32', layout)
params = single.init(jax.random.key(0))
boxed = jax.eval_shape(single.init_boxed, jax.random.key(0))
on_mesh = sharding.put(params, layout.params(boxed))

print('The table of the vocabulary [272, 32], by tokens:')
jax.debug.visualize_array_sharding(on_mesh['embed']['w'])

# %%
print('What leads out of an MLP [32, 48], by its inner width:')
jax.debug.visualize_array_sharding(on_mesh['layer_0']['mlp']['down']['w'])

# %% [markdown]
# "CPU 0,4" is one piece in both halves of `data`. The visualizer draws one or
# two dimensions; of the others, the piece of one device says as much.

# %%
for path, array in jax.tree.leaves_with_path(on_mesh['layer_0']):
  name = jax.tree_util.keystr(path, simple=True, separator='.')
  piece = array.sharding.shard_shape(array.shape)
  print(f'{name:14} {array.shape!s:18} one device: {piece!s:18}')

# %% [markdown]
# ## The same function
#
# The forward pass is the one of a single device; XLA's partitioner adds what
# the devices have to tell one another. It can be read in the compiled program,
# with the place in the model that it comes from.

# %%
tokens_T = jnp.arange(2, 130, dtype=jnp.int32)
compiled = jax.jit(split.dense).lower(on_mesh, tokens_T).compile()
exchanged = collections.Counter(
  (kind, place)
  for kind, place in re.findall(
    r' (all-reduce|all-gather|collective-permute)\(.*op_name="([^"]*)"',
    compiled.as_text(),
  )
)
for (kind, place), count in exchanged.items():
  place = re.sub(r'jit\(\w+\)/|Block/', '', place)
  print(f'{count} x {kind:18} for {place}')

logits_TV = compiled(on_mesh, tokens_T)
reference_TV = jax.jit(single.dense)(params, tokens_T)
error = np.abs(np.asarray(logits_TV) - np.asarray(reference_TV)).max()
largest = np.abs(np.asarray(reference_TV)).max()
print(f'largest logit {largest:.2f}, largest difference {error:.1e}')

# %% [markdown]
# The sums are those of tensor parallelism: of the lookup in the split table,
# and in each of the two layers where attention and the MLP lead out. The rest
# comes of the key/value heads that are on two devices each: these exchange what
# they computed of them.
#
# ## Memory
#
# Shapes alone say what a device has to hold, so this also works for a model
# that no machine here could load. The sizes are those of Llama 3.1 8B.

# %%
llama = model_config.ModelConfig(
  vocab_size=128_256,
  num_layers=32,
  embed_dim=4096,
  num_heads=32,
  num_kv_heads=8,
  head_dim=128,
  mlp_dim=14_336,
  max_context=131_072,
  tie_embeddings=False,
)
large = transformer.Transformer(llama, 'bfloat16')
shapes = jax.eval_shape(large.init_boxed, jax.random.key(0))
whole = large.abstract_params()


def gigabytes_per_device(num_devices):
  if num_devices == 1:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(whole)) / 1e9
  placed = sharding.layout(config.MeshConfig(model=num_devices), llama)
  pieces = jax.tree.map(
    lambda x, s: np.prod(s.shard_shape(x.shape)) * x.dtype.itemsize,
    whole,
    placed.params(shapes),
  )
  return sum(jax.tree.leaves(pieces)) / 1e9


counts = [1, 2, 4, 8]
gigabytes = [gigabytes_per_device(count) for count in counts]

figure, axes = plt.subplots(figsize=(6, 3), layout='constrained')
bars = axes.bar([str(count) for count in counts], gigabytes)
axes.bar_label(bars, fmt='%.2f')
axes.axhline(16, color='tab:red', linestyle=':', label='16 GB, a small TPU')
axes.margins(y=0.15)
axes.set_xlabel('devices along `model`')
axes.set_ylabel('GB of weights per device')
axes.set_title('Llama 3.1 8B in bfloat16')
axes.legend()
# %% [markdown]
# ## A chat on the mesh
#
# `chatjax.load` takes the mesh as a field of its config. We write a model of
# the sizes above to a folder, as one from the hub would lie there, and load it
# once on one device and once on eight.

# %%
scratch = tempfile.TemporaryDirectory()
folder = pathlib.Path(scratch.name) / 'tiny'
hub_folder.write(folder)
engine = {
  'dtype': 'float32',
  'max_rows': 4,
  'context': 128,
  'chunk': 32,
  'page_size': 16,
}
one = chatjax.load(str(folder), **engine)
eight = chatjax.load(str(folder), mesh=mesh, **engine)
print('one device:   ', one.system_fingerprint)
print('eight devices:', eight.system_fingerprint)

# %%
questions = ['Where do you live?', '1 + 1 =', 'Name a colour.', 'Why?']
asked = {'max_tokens': 24, 'ignore_eos': True}
asked |= {'logprobs': True, 'return_token_ids': True}


def ask(model, question, **fields):
  messages = [{'role': 'user', 'content': question}]
  choice = model.chat(messages, **asked, **fields).choices[0]
  told = [entry.logprob for entry in choice.logprobs.content]
  return choice.token_ids, np.array(told, np.float32)


answers_1 = [ask(one, question, temperature=0) for question in questions]
answers_8 = [ask(eight, question, temperature=0) for question in questions]
for (ids_1, _), (ids_8, _) in zip(answers_1, answers_8, strict=True):
  print('one:  ', *ids_1[:16])
  print('eight:', *ids_8[:16], '\n')

# %% [markdown]
# The tokens are the same. Their log-probabilities are not quite: eight devices
# add up in another order. To compare them at places where the model is less
# sure, we score a drawn answer on both.

# %%
messages = [{'role': 'user', 'content': questions[0]}]
drawn, _ = ask(one, questions[0], seed=5)
scored = [model.score(messages, drawn).logprobs for model in (one, eight)]

figure, axes = plt.subplots(figsize=(7, 2.8), layout='constrained')
axes.stem(scored[1] - scored[0])
axes.ticklabel_format(axis='y', scilimits=(0, 0))
axes.set_xlabel('token of a drawn answer')
axes.set_ylabel('difference (nats)')
axes.set_title('Log-probabilities on eight devices less those on one')
# %% [markdown]
# So another mesh is another fingerprint, and the seed contract is kept for each
# of them: the same request gives the same bits, alone or in a crowd.

# %%
seeded = {'seed': 7, 'temperature': 1.0}
alone = ask(eight, questions[0], **seeded)
crowd = [
  eight.stream(
    [{'role': 'user', 'content': question}],
    seed=1,
    max_tokens=60,
    ignore_eos=True,
  )
  for question in questions[1:]
]
for stream in crowd:
  next(stream)  # each is under way now
among = ask(eight, questions[0], **seeded)
for stream in crowd:
  stream.close()
print('alone:     ', *alone[0][:16])
print('in a crowd:', *among[0][:16])

# %% [markdown]
# ## The claims

# %%
assert len(jax.devices()) == 8
table = on_mesh['embed']['w']
assert table.sharding.shard_shape(table.shape) == (272 // 4, 32)
for place in ('lookup', 'attn/out', 'mlp/down'):
  sums = sum(
    count
    for (kind, where), count in exchanged.items()
    if kind == 'all-reduce' and place in where
  )
  assert sums == (1 if place == 'lookup' else sizes.num_layers)
assert error < 1e-5 * largest
assert gigabytes[3] < 0.13 * gigabytes[0]

for (ids_1, _), (ids_8, _) in zip(answers_1, answers_8, strict=True):
  assert ids_8 == ids_1
assert np.abs(scored[1] - scored[0]).max() < 1e-4
assert eight.system_fingerprint != one.system_fingerprint

assert among[0] == alone[0]
assert among[1].view(np.int32).tolist() == alone[1].view(np.int32).tolist()

one.close()
eight.close()
scratch.cleanup()
