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
# # A look inside
#
# A decoder is a sum: each layer reads a vector per position, the residual
# stream, and adds to it. `model.look` runs a prompt and shows that stream at
# any layer, what attention attends to, and what becomes of the prediction when
# something is added on the way.
#
# It is a forward pass of its own, with the parameters of the engine; answers
# are computed as if it were not there.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import chatjax

model = chatjax.load('qwen2.5-coder-0.5b-instruct')
count = sum(name.startswith('layer_') for name in model.params)
layers = [f'layer_{i}' for i in range(count)]
print(len(layers), 'layers')

# %% [markdown]
# ## The stream
#
# The prompt is plain text. `read` names the points: the embedding, each layer,
# and in each layer what its attention and its MLP add.

# %%
prompt = 'The capital of France is'
parts = [f'{layer}.{part}' for layer in layers for part in ('attn', 'mlp')]
told = model.look(prompt, read=['embed', *layers, *parts])
seen = {name: np.asarray(x) for name, x in told.seen.items()}
words = [model.detokenize([token_id]) for token_id in told.token_ids]
print(words, seen['layer_0'].shape)


def next_tokens(logits_V, count=5):
  probs_V = np.asarray(jax.nn.softmax(logits_V))
  best = np.argsort(-probs_V, kind='stable')[:count]
  return [(model.detokenize([i]), float(probs_V[i])) for i in best]


print(next_tokens(told.logits[-1]))

# %%
norm = lambda x: np.linalg.norm(x[-1])
figure, axes = plt.subplots(figsize=(8, 3), layout='constrained')
axes.semilogy([norm(seen[x]) for x in layers], 'k.-', label='the stream')
for part in ('attn', 'mlp'):
  sizes = [norm(seen[f'{layer}.{part}']) for layer in layers]
  axes.semilogy(sizes, '.--', label=f'added by {part}')
axes.set_xlabel('layer')
axes.set_ylabel('norm at the last position')
axes.set_title('What each layer adds')
axes.legend()
# %% [markdown]
# ## The logit lens
#
# What would the model say if it ended after layer 10? `unembed` applies the
# last norm and the vocabulary to the stream of any layer. Each cell shows the
# likeliest next word there; the darker, the surer.

# %%
stream_LTD = np.stack([seen[layer] for layer in layers])
logits_LTV = model.unembed(stream_LTD)
probs_LTV = np.asarray(jax.nn.softmax(logits_LTV))
best_LT = probs_LTV.argmax(-1)
every_second = range(1, len(layers), 2)


def label(token_id):
  text = model.detokenize([int(token_id)]).strip()
  return text if text.isascii() and text.isprintable() and text else '·'


figure, axes = plt.subplots(figsize=(7, 5), layout='constrained')
image = axes.imshow(
  probs_LTV.max(-1)[every_second],
  cmap='Blues',
  alpha=0.7,
  vmin=0,
  vmax=1,
  aspect='auto',
)
for row, layer in enumerate(every_second):
  for t in range(len(words)):
    text = label(best_LT[layer, t])[:12].replace('$', r'\$')
    axes.text(t, row, text, ha='center', va='center', fontsize=8)
axes.set_xticks(range(len(words)), words)
axes.set_yticks(range(len(every_second)), every_second)
axes.set_xlabel('after this token')
axes.set_ylabel('layer')
axes.set_title('The likeliest next token, read off each layer')
figure.colorbar(image, label='its probability')
# %% [markdown]
# ## Attention
#
# Some heads continue what they have seen before: at a token that came earlier,
# they look at the one that followed it then. To find them, we show the model
# random tokens twice, and ask each head how much it attends from the second
# round to the token after the same one in the first.

# %%
HALF = 16
rng = np.random.default_rng(0)
once = rng.integers(1000, 20_000, HALF)
twice = np.concatenate([once, once])
maps = model.look(twice, attention=layers).attention
attention_LNTT = np.stack([np.asarray(maps[layer]) for layer in layers])
second = np.arange(HALF, 2 * HALF - 1)
induction_LN = attention_LNTT[:, :, second, second - HALF + 1].mean(-1)
best_layer, best_head = np.unravel_index(
  induction_LN.argmax(), induction_LN.shape
)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout='constrained')
image = left.imshow(induction_LN.T, cmap='viridis', aspect='auto', vmin=0)
left.set_xlabel('layer')
left.set_ylabel('head')
left.set_title('Attention to what followed before', fontsize=10)
figure.colorbar(image, ax=left)
image = right.imshow(attention_LNTT[best_layer, best_head], cmap='magma')
right.set_xlabel('attends to position')
right.set_ylabel('position')
right.set_title(f'Layer {best_layer}, head {best_head}', fontsize=10)
figure.colorbar(image, ax=right)
# %% [markdown]
# The stripe in the second half is that: each position attends to the one after
# its own first occurrence.
#
# ## Take something away
#
# `add` adds to the stream at a point, so minus what a layer's attention adds
# takes it out. We do so for one layer after the other and watch how well the
# second round is predicted. The points named are the same each time, with zeros
# at those that stay, so there is one compilation.

# %%
points = [f'{layer}.attn' for layer in layers]
normal = model.look(twice, read=points)
added = {x: np.asarray(normal.seen[x]) for x in points}
nothing = {x: np.zeros_like(added[x]) for x in points}


def repeated(told):
  """Mean log-probability of the second round's tokens."""
  logprobs_TV = np.asarray(jax.nn.log_softmax(told.logits))
  return logprobs_TV[second, twice[second + 1]].mean()


untouched = repeated(model.look(twice, add=nothing))
without = [
  repeated(model.look(twice, add=nothing | {x: -added[x]})) for x in points
]

figure, axes = plt.subplots(figsize=(8, 3), layout='constrained')
axes.bar(range(len(layers)), without)
axes.axhline(untouched, color='k', linestyle=':', label='all layers')
axes.set_xlabel('layer whose attention is taken out')
axes.set_ylabel('log-probability')
axes.set_title('How well the repetition is predicted')
axes.legend()
# %% [markdown]
# ## Add something
#
# The difference of the stream between two words, at a layer in the middle, is a
# direction that means something there. Added in another sentence, it moves the
# prediction.

# %%
MIDDLE = layers[len(layers) // 2]
good, bad = (
  np.asarray(model.look(f'The film was {word}', read=[MIDDLE]).seen[MIDDLE])[-1]
  for word in ('wonderful', 'terrible')
)
sentence = 'Yesterday I ate at the new restaurant, and the food was'
scales = np.linspace(-1.5, 1.5, 7)
candidates = [' delicious', ' great', ' terrible', ' bad']
token_ids = [model.tokenize(word)[0] for word in candidates]
assert all(len(model.tokenize(word)) == 1 for word in candidates)

moved = np.stack(
  [
    np.asarray(
      jax.nn.softmax(
        model.look(sentence, add={MIDDLE: scale * (good - bad)}).logits[-1]
      )
    )[token_ids]
    for scale in scales
  ]
)
figure, axes = plt.subplots(figsize=(7, 3.2), layout='constrained')
for word, probs in zip(candidates, moved.T, strict=True):
  style = 'o-' if word in candidates[:2] else 's--'
  axes.semilogy(scales, probs, style, label=word.strip())
axes.set_xlabel('how much of "wonderful" minus "terrible" is added')
axes.set_ylabel('probability')
axes.set_title(f'The next word after "... {sentence[-16:]}"', fontsize=10)
figure.legend(loc='outside right upper')
# %% [markdown]
# ## The claims
#
# The stream is the sum of what is added to it. The lens at the last layer says
# what the model says. Attention is causal and sums to one. A head that repeats
# was found, there is a layer that the repetition needs, and the direction moves
# the words the way it should. And looking changes no bit of an answer.

# %%
stream = seen['embed'].copy()
for layer in layers:
  stream = stream + seen[f'{layer}.attn'] + seen[f'{layer}.mlp']
scale = np.abs(seen[layers[-1]]).max()
assert np.abs(stream - seen[layers[-1]]).max() < 1e-4 * scale

lens, own = np.asarray(logits_LTV[-1]), np.asarray(told.logits)
assert (lens.argmax(-1) == own.argmax(-1)).all()
assert 'Paris' in next_tokens(told.logits[-1], 1)[0][0]

np.testing.assert_allclose(attention_LNTT.sum(-1), 1, atol=1e-5)
assert not np.triu(attention_LNTT, k=1).any()
assert induction_LN.max() > 0.5

assert without[best_layer] < untouched - 1
good_share = moved[:, :2].sum(1) / moved.sum(1)
assert good_share[0] < good_share[3] < good_share[-1]

asked = {'seed': 7, 'max_tokens': 12, 'logprobs': True}
messages = [{'role': 'user', 'content': prompt}]
first = model.chat(messages, **asked)
model.look(prompt, add={MIDDLE: good})
assert model.chat(messages, **asked).choices == first.choices

model.close()
