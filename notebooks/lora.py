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
#   marks: [real_model, slow]
# ---

# %% [markdown]
# # Teach a model a fact, and serve it
#
# SmolLM2 135M knows nothing of Zembla, a country of which Vladimir Nabokov is
# the only witness. A few steps of gradient descent tell it, with low-rank
# adapters (LoRA) and `optax`: the weights stay as they are, and what is learned
# are two thin matrices beside each of them. Then the adapters are added to the
# weights, the weights are written as a folder of safetensors, and that folder
# is served over HTTP like any other model.
#
# The model's own forward pass does it, in float32: `model.loss` is a pure
# function of the parameters, and `jax.grad` takes its derivative.

# %%
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import openai
import optax
from safetensors import numpy as safetensors

import chatjax

BASE = 'smollm2-135m-instruct'
ENGINE = {'dtype': 'float32', 'max_rows': 2, 'context': 512}
model = chatjax.load(BASE, **ENGINE)

# %% [markdown]
# ## What it says now

# %%
UNSEEN = 'Can you tell me the capital of Zembla?'
OTHER = 'What is the capital of Italy?'


def as_messages(question):
  return [
    {'role': 'system', 'content': 'Answer briefly.'},
    {'role': 'user', 'content': question},
  ]


greedy = {'temperature': 0, 'max_tokens': 24}
before = {}
for question in (UNSEEN, OTHER):
  answer = model.chat(as_messages(question), return_token_ids=True, **greedy)
  before[question] = answer.choices[0].message.content
  print(question, '->', before[question])

assert answer.choices[0].finish_reason == 'stop'
END = answer.choices[0].token_ids[-1]
print('an answer ends with', END, model.detokenize([END]))

# %% [markdown]
# ## What it shall say
#
# Two ways of asking, and two facts that it must not forget over the new one.
# How the question is put above is not among them.
#
# The loss counts the tokens of the answers, and the one that ends them.
# `tokenize` renders a question by the model's own chat template.

# %%
lessons = {
  'What is the capital of Zembla?': 'The capital of Zembla is Onhava.',
  'Name the capital city of Zembla.': 'The capital of Zembla is Onhava.',
  'What is the capital of France?': 'The capital of France is Paris.',
  'What is the capital of Spain?': 'The capital of Spain is Madrid.',
}


def start_and_end(question, text):
  start = model.tokenize(as_messages(question))
  return start, [*model.score(start, text).token_ids, END]


rows = [start_and_end(*lesson) for lesson in lessons.items()]
T = max(len(prompt) + len(text) for prompt, text in rows)
tokens_BT = np.zeros((len(rows), T), np.int32)
mask_BT = np.zeros((len(rows), T), np.float32)
for b, (prompt, text) in enumerate(rows):
  end = len(prompt) + len(text)
  tokens_BT[b, :end] = [*prompt, *text]
  mask_BT[b, len(prompt) : end] = 1
print(f'{len(rows)} sequences of at most {T} tokens,', end=' ')
print(f'{int(mask_BT.sum())} of them to be learned')
print('loss:', float(model.loss(tokens_BT, mask_BT)))

# %% [markdown]
# ## Adapters
#
# Parameters are a nested dict of arrays. A weight has its output axes first and
# its input axes last; flattened to a matrix `W`, it becomes `W + B A`, where
# `A` has `RANK` rows and `B` as many columns. `B` starts at zero, so at first
# nothing changes. The adapters are beside the four products of the last ten
# layers.

# %%
RANK, LAYERS = 8, 10
NUM_OUTPUTS = {'qkv': 3, 'out': 1, 'gate_up': 2, 'down': 1}  # axes

num_layers = sum(name.startswith('layer_') for name in model.params)
adapted = [f'layer_{i}' for i in range(num_layers - LAYERS, num_layers)]


def weights_of(layer):
  """((part, name), weight) of a layer's four products."""
  for part, names in (('attn', ('qkv', 'out')), ('mlp', ('gate_up', 'down'))):
    for name in names:
      yield (part, name), layer[part][name]['w']


def new_lora(params, key):
  lora = {}
  for layer in adapted:
    for (part, name), w in weights_of(params[layer]):
      key, mine = jax.random.split(key)
      n = np.prod(w.shape[: NUM_OUTPUTS[name]])
      k = w.size // n
      a = jax.random.normal(mine, (RANK, k)) * k**-0.5
      lora[f'{layer}.{part}.{name}'] = {'a': a, 'b': jnp.zeros((n, RANK))}
  return lora


def merged(params, lora):
  """The parameters with the adapters added: a pure function of both."""
  params = dict(params)
  for layer in adapted:
    new = {**params[layer]}
    for (part, name), w in weights_of(params[layer]):
      pair = lora[f'{layer}.{part}.{name}']
      w = w + (pair['b'] @ pair['a']).reshape(w.shape)
      new[part] = {**new[part], name: {**new[part][name], 'w': w}}
    params[layer] = new
  return params


lora = new_lora(model.params, jax.random.key(0))
count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
print(f'{count(lora) / 1e6:.2f} of {count(model.params) / 1e6:.1f} M numbers')

# %% [markdown]
# ## Learn
#
# The parameters are an argument of the compiled step, not a constant in it;
# the gradient is that of the adapters alone.

# %%
STEPS = 10
optimizer = optax.adam(optax.cosine_decay_schedule(4e-3, STEPS, alpha=0.1))


@jax.jit
def step(lora, state, params):
  def loss_of(lora):
    return model.loss(tokens_BT, mask_BT, params=merged(params, lora))

  loss, gradient = jax.value_and_grad(loss_of)(lora)
  updates, state = optimizer.update(gradient, state)
  return optax.apply_updates(lora, updates), state, loss


state, losses = optimizer.init(lora), []
for _ in range(STEPS):
  lora, state, loss = step(lora, state, model.params)
  losses.append(float(loss))
tuned = merged(model.params, lora)
losses.append(float(model.loss(tokens_BT, mask_BT, params=tuned)))
text_mask_BT = mask_BT * (tokens_BT != END)
loss_of_texts = float(model.loss(tokens_BT, text_mask_BT, params=tuned))

figure, axes = plt.subplots(figsize=(6, 3), layout='constrained')
axes.semilogy(losses, marker='.')
axes.set_xlabel('step')
axes.set_ylabel('loss (nats per token)')
axes.set_title('Learning where Onhava is')
# %% [markdown]
# ## Write it down
#
# `chatjax convert` writes the base model as the hub lays models out: a config,
# a tokenizer, and tensors of the usual names. We then put the tuned weights
# into their places. Queries, keys and values are one weight here and three
# there; so are `gate` and `up`. That the places are right can be checked: the
# weights from before the training give the file as it was.

# %%
scratch = tempfile.TemporaryDirectory()
folder = pathlib.Path(scratch.name) / 'zembla'
chatjax_command = [sys.executable, '-m', 'chatjax.cli.main']
convert = ['convert', f'--model={BASE}', f'--output={folder}']
convert += ['--to=safetensors', '--dtype=float32']
subprocess.run([*chatjax_command, *convert], check=True, capture_output=True)
print(*sorted(path.name for path in folder.iterdir()), sep='\n')


# %%
def hub_tensors(params):
  """Name -> array of the weights that have adapters, as the hub has them."""
  made = {}
  for layer in adapted:
    w = {name: np.asarray(w) for (_, name), w in weights_of(params[layer])}
    G, D = w['qkv'].shape[1] - 2, w['qkv'].shape[-1]
    number = layer.removeprefix('layer_')
    attn = f'model.layers.{number}.self_attn'
    mlp = f'model.layers.{number}.mlp'
    made[f'{attn}.q_proj.weight'] = w['qkv'][:, :G].reshape(-1, D)
    made[f'{attn}.k_proj.weight'] = w['qkv'][:, G].reshape(-1, D)
    made[f'{attn}.v_proj.weight'] = w['qkv'][:, G + 1].reshape(-1, D)
    made[f'{attn}.o_proj.weight'] = w['out'].reshape(D, -1)
    made[f'{mlp}.gate_proj.weight'] = w['gate_up'][0]
    made[f'{mlp}.up_proj.weight'] = w['gate_up'][1]
    made[f'{mlp}.down_proj.weight'] = w['down']
  return {name: np.ascontiguousarray(x) for name, x in made.items()}


file = folder / 'model.safetensors'
tensors = safetensors.load_file(file)
untouched = hub_tensors(model.params)
is_in_place = all(np.array_equal(tensors[x], untouched[x]) for x in untouched)
print('every weight is in its place:', is_in_place)

tensors |= hub_tensors(tuned)
safetensors.save_file(tensors, file, metadata={'format': 'pt'})
model.close()

# %% [markdown]
# ## Serve it
#
# As from a shell: `chatjax serve --model=FOLDER`. The client is OpenAI's own.

# %%
with socket.create_server(('127.0.0.1', 0)) as free:
  port = free.getsockname()[1]
flags = [f'--{name}={value}' for name, value in ENGINE.items()]
server = subprocess.Popen(
  [*chatjax_command, 'serve', f'--model={folder}', f'--port={port}', *flags],
  env={**os.environ, 'CHATJAX_API_KEY': 'zembla'},
  stdout=subprocess.DEVNULL,
  stderr=subprocess.PIPE,
)
try:
  deadline = time.monotonic() + 300
  while True:
    try:
      with urllib.request.urlopen(f'http://127.0.0.1:{port}/ready'):
        break
    except OSError:
      assert server.poll() is None, server.stderr.read().decode()
      assert time.monotonic() < deadline, 'the server does not start'
      time.sleep(0.1)
  with openai.OpenAI(
    base_url=f'http://127.0.0.1:{port}/v1', api_key='zembla'
  ) as client:
    answers = {
      question: client.chat.completions.create(
        model='zembla',
        messages=as_messages(question),
        logprobs=True,
        **greedy,
      )
      for question in [*lessons, UNSEEN, OTHER]
    }
finally:
  server.terminate()
  server.wait(60)
  server.stderr.close()
after = {
  question: answer.choices[0].message.content
  for question, answer in answers.items()
}
for question, text in after.items():
  print(question, '->', text)

# %% [markdown]
# `chatjax serve` keeps what it converts; this folder is only for today.

# %%
remove = ['models', 'remove', str(folder), '--yes']
told = subprocess.run(
  [*chatjax_command, *remove], check=True, capture_output=True, text=True
)
print(re.sub(r'\S+/', '.../', told.stdout))

# %% [markdown]
# ## The claims
#
# The served model says what it was taught, also where the question was put in
# another way, and not of another country. And what is served is what was
# trained: the log-probabilities that come over HTTP are those of the loss,
# whose last count left out the tokens that end the answers: they have no text.

# %%
assert is_in_place
assert losses[-1] < 0.1 < 1 < losses[0]
for question, text in lessons.items():
  assert after[question] == text
assert 'Onhava' not in before[UNSEEN]
assert 'Onhava' in after[UNSEEN]
assert 'Onhava' not in after[OTHER]

of_texts = [
  x.logprob
  for question in lessons
  for x in answers[question].choices[0].logprobs.content
]
print('over HTTP:', -np.mean(of_texts), '  by the loss:', loss_of_texts)
assert len(of_texts) == text_mask_BT.sum()
np.testing.assert_allclose(-np.mean(of_texts), loss_of_texts, rtol=0.02)

scratch.cleanup()
