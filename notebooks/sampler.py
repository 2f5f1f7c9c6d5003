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
# ---

# %% [markdown]
# # The sampler as a pure function
#
# A language model gives one number per token of its vocabulary, the logits.
# What makes a token of them is `chatjax.sampling`: a function of the logits,
# the parameters, a key and a step, and of nothing else. There is no generator
# whose state moves on, and no model is needed to call it. So it can be put
# under `jax.jit`, `jax.vmap` and `jax.grad` like any other function, and what
# is shown here of twelve words is what a server does with a vocabulary of
# 152,000.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from chatjax import types
from chatjax.sampling import keys
from chatjax.sampling import sampler

# %% [markdown]
# Our vocabulary: what might follow "The sky is". The logits are made up; only
# their differences matter.

# %%
words = ['blue', 'grey', 'clear', 'dark', 'red', 'falling']
words += ['open', 'vast', 'low', 'wide', 'green', 'a']
logits_V = jnp.array(
  [4.0, 3.2, 3.1, 2.6, 1.5, 1.2, 0.9, 0.8, 0.6, 0.1, -0.4, -1.0], jnp.float32
)
V = len(words)

# %% [markdown]
# ## One token
#
# A key is folded from the seed (all 64 bits of it) and the number of the
# choice; the step is the third number. Nothing is advanced: ask for step 7
# before step 3, or for step 7 alone, and it is the same token.


# %%
def params(**fields):
  return sampler.host_params(types.SamplingParams(**fields))


draw = jax.jit(sampler.sample_row)
key = keys.choice_key(seed=2024, choice=0)
said = [draw(logits_V, params(), key=key, step=step) for step in range(8)]
print(' '.join(words[int(one.token)] for one in said))
seventh = draw(logits_V, params(), key=key, step=7)
print('step 7 again, by itself:', words[int(seventh.token)])

# %% [markdown]
# ## The distribution that it draws from
#
# `sampler.log_distribution` says what the draw is made from: after the
# temperature, with what the cuts (`top_k`, `top_p`, `min_p`) remove at minus
# infinity. The parameters are arrays, so a whole sweep of them is one `vmap`,
# and one compilation.


# %%
def distribution(params):
  return jnp.exp(sampler.log_distribution(logits_V, params))


def stack(*rows):
  """Parameters of several rows: every field gains an axis."""
  return jax.tree.map(lambda *fields: jnp.stack(fields), *rows)


temperatures = np.linspace(0, 2.5, 26)
cuts = {
  'no cut': {},
  'top_k = 3': {'top_k': 3},
  'top_p = 0.8': {'top_p': 0.8},
  'min_p = 0.1': {'min_p': 0.1},
}
rows = [params(temperature=float(t)) for t in temperatures]
rows += [params(**fields) for fields in cuts.values()]
probs = np.asarray(jax.jit(jax.vmap(distribution))(stack(*rows)))
probs_TV, probs_CV = probs[:26], probs[26:]
print('temperatures, words:', probs_TV.shape)

# %%
figure, axes = plt.subplots(figsize=(7.5, 3.4), layout='constrained')
image = axes.imshow(
  probs_TV.T,
  aspect='auto',
  cmap='viridis',
  vmin=0,
  vmax=1,
  extent=(-0.05, 2.55, V - 0.5, -0.5),
)
axes.set_yticks(range(V), words)
axes.set_xlabel('temperature')
axes.set_title('Probability of each word, by temperature')
figure.colorbar(image, label='probability')
# %% [markdown]
# At temperature 0 the likeliest word takes all; the higher it is, the flatter
# the distribution. One number says how flat: the entropy, here beside the
# largest it could be.

# %%
log_TV = np.log(np.where(probs_TV > 0, probs_TV, 1))
entropy_T = -np.sum(probs_TV * log_TV, axis=-1)

figure, axes = plt.subplots(figsize=(7.5, 2.8), layout='constrained')
axes.plot(temperatures, entropy_T, marker='.', label='of the draw')
axes.axhline(np.log(V), color='grey', linestyle=':', label=f'of {V} equals')
axes.set_xlabel('temperature')
axes.set_ylabel('entropy (nats)')
axes.set_title('How open the draw is')
axes.legend()
# %% [markdown]
# The distribution has a gradient, too: how fast does the likeliest word lose
# probability as it gets warmer? (A drawn token has no gradient; its
# log-probability has.)


# %%
def share_of_blue(temperature):
  warm = dataclasses.replace(params(), temperature=temperature)
  return distribution(warm)[0]


slope = jax.jit(jax.grad(share_of_blue))(1.0)
finite = (probs_TV[11, 0] - probs_TV[9, 0]) / (
  temperatures[11] - temperatures[9]
)
print(f'by jax.grad {slope:.4f}, from the points of the curve {finite:.4f}')

# %% [markdown]
# ## What the cuts leave
#
# `top_k` keeps so many tokens, `top_p` the fewest that together reach so much
# probability, `min_p` those that are at least so likely next to the likeliest.
# What is left is scaled up to one again.

# %%
figure, axes = plt.subplots(figsize=(7.5, 3.2), layout='constrained')
for i, (name, probs_V) in enumerate(zip(cuts, probs_CV, strict=True)):
  axes.bar(np.arange(V) + (i - 1.5) * 0.2, probs_V, width=0.2, label=name)
axes.set_xticks(range(V), words, rotation=45)
axes.set_ylabel('probability')
axes.set_title('Three ways to cut the tail')
axes.legend()
# %% [markdown]
# ## Thousands of draws
#
# A draw is a function of its step, so all of them can be made by one program,
# in any order. `sampler.sample` is the `vmap` of the draw over rows, here six
# temperatures; `lax.map` runs it at 2,000 steps. (Inside, a row is padded to
# 8,192 tokens: a `vmap` over the steps too would want the memory of a batch of
# 12,000 rows.)


# %%
@jax.jit
def draw_many(logits_BV, params_B, key_B):
  def at(step):
    B = logits_BV.shape[0]
    step_B = jnp.full(B, step)
    return sampler.sample(logits_BV, params_B, key=key_B, step=step_B)

  return jax.lax.map(at, jnp.arange(2000))


chosen = temperatures[::5]
B, N = len(chosen), 2000
drawn = draw_many(
  jnp.stack([logits_V] * B), stack(*rows[:26:5]), jnp.stack([key] * B)
)
token_BN = np.asarray(drawn.token.T)
exact_BV = probs_TV[::5]
share_BV = np.stack([np.bincount(row, minlength=V) / N for row in token_BN])

# %%
figure, panels = plt.subplots(
  1, B, figsize=(9, 3.2), sharex=True, sharey=True, layout='constrained'
)
for axes, t, exact_V, share_V in zip(
  panels, chosen, exact_BV, share_BV, strict=True
):
  axes.barh(range(V), share_V, color='tab:blue', alpha=0.5, label='drawn')
  axes.plot(exact_V, range(V), 'k.', label='exact')
  axes.set_title(f'temperature {t}', fontsize=10)
panels[0].set_yticks(range(V), words)
panels[0].invert_yaxis()
panels[-1].legend(loc='lower right', fontsize=8)
figure.supxlabel('share of 2,000 draws', fontsize=10)
# %% [markdown]
# The six rows have the same key, so they share their noise: at each step the
# same uniform number meets six distributions. Neighbouring temperatures often
# say the same word, which makes them easy to compare.

# %%
same_BB = np.mean(token_BN[:, None] == token_BN[None], axis=-1)
print('share of steps at which two temperatures draw the same word')
print('      ' + ' '.join(f'{t:5.1f}' for t in chosen))
for t, row in zip(chosen, same_BB, strict=True):
  print(f'{t:5.1f} ' + ' '.join(f'{x:5.2f}' for x in row))

# %% [markdown]
# ## A crowd
#
# A server draws for many requests at once. Here our request at temperature 1 is
# row 3 of the same program; the other rows are strangers with logits,
# parameters and keys of their own.

# %%
ROW = 3
noise_BV = jax.random.normal(jax.random.key(1), (B, V), jnp.float32)
theirs = params(temperature=1.3, top_k=7)
crowd = draw_many(
  noise_BV.at[ROW].set(logits_V),
  stack(*(params() if b == ROW else theirs for b in range(B))),
  jnp.stack([keys.choice_key(2024 if b == ROW else b, 0) for b in range(B)]),
)
for step in range(4):
  told, same = said[step], crowd.token[step, ROW]
  print(f'step {step}: alone {words[int(told.token)]!r},', end=' ')
  print(f'in the crowd {words[int(same)]!r}')

# %% [markdown]
# ## The claims
#
# A token is a function of seed, choice and step: in any order, under `vmap`,
# and in a crowd, to the last bit of its log-probability.


# %%
def bits(x):
  return np.asarray(x).view(np.int32).tolist()


for step, told in enumerate(said):
  assert int(told.token) == int(crowd.token[step, ROW])
  assert bits(told.logprob) == bits(crowd.logprob[step, ROW])
assert crowd.token[:, ROW].tolist() == token_BN[2].tolist()
assert bits(crowd.logprob[:, ROW]) == bits(drawn.logprob[:, 2])
assert int(seventh.token) == int(said[7].token)

# %% [markdown]
# Seeds differ in all of their 64 bits, and choice 1 of a seed has nothing to do
# with choice 0 of the next.

# %%
pairs = [(5, 0), (5 + 2**32, 0), (-1, 0), (2**63 - 1, 0), (5, 1), (6, 0)]
others = draw_many(
  jnp.stack([logits_V] * B),
  stack(*[params()] * B),
  jnp.stack([keys.choice_key(*pair) for pair in pairs]),
)
differ_BB = np.mean(others.token.T[:, None] != others.token.T[None], axis=-1)
assert differ_BB[~np.eye(B, dtype=bool)].min() > 0.5

# %% [markdown]
# And the draws follow the distribution, which the cuts trim as they promise.

# %%
assert (token_BN[0] == words.index('blue')).all()  # temperature 0
np.testing.assert_allclose(share_BV, exact_BV, atol=0.04)
assert (np.diff(entropy_T) > 0).all()
assert abs(slope - finite) < 0.01 * abs(finite)

whole_V = np.exp(logits_V) / np.exp(logits_V).sum()  # in falling order
kept = dict(zip(cuts, (probs_CV > 0).sum(axis=1), strict=True))
assert kept['no cut'] == V
assert kept['top_k = 3'] == 3
assert kept['top_p = 0.8'] == np.searchsorted(whole_V.cumsum(), 0.8) + 1
assert kept['min_p = 0.1'] == (whole_V >= 0.1 * whole_V[0]).sum()
