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
#   marks: [real_model]
# ---

# %% [markdown]
# # Seeds, and experiments that share their noise
#
# An answer is drawn: at each step a uniform number picks a token from the
# model's distribution. In chatjax that number is a function of the seed, the
# choice and the step, and of nothing else. This makes answers repeatable. It
# also makes them comparable: two settings can be tried with the same noise, so
# that what differs between the answers is what the settings did.

# %%
import matplotlib.pyplot as plt
import numpy as np

import chatjax
from chatjax.sampling import keys

model = chatjax.load('qwen2.5-coder-0.5b-instruct')
messages = [
  {'role': 'user', 'content': 'Write one sentence about a lighthouse.'}
]

# %% [markdown]
# ## The noise
#
# Two choices of seed 7, and the numbers that they are drawn with. They are not
# advanced from step to step, so any of them can be had by itself.

# %%
figure, axes = plt.subplots(figsize=(8, 2.4), layout='constrained')
for choice in (0, 1):
  noise = keys.noise(seed=7, num_tokens=40, choice=choice)
  axes.plot(noise, 'o-', linewidth=0.5, label=f'choice {choice}')
axes.set_xlabel('step')
axes.set_ylabel('uniform number')
axes.set_title('What seed 7 draws with')
figure.legend(loc='outside right upper')
# %% [markdown]
# ## A sweep
#
# `sweep` takes arrays where `chat` takes numbers, and reads the prompt once for
# all of them. Every answer is the one that `chat` would give for its settings,
# and those of one seed are drawn with the same noise. Here four seeds down,
# six temperatures across.

# %%
temperatures = np.array([0.0, 0.4, 0.7, 0.9, 0.95, 1.0])
seeds = np.arange(4)
told = {'max_tokens': 20, 'logprobs': True, 'return_token_ids': True}
sweep = model.sweep(
  messages, temperature=temperatures, seed=seeds[:, None], **told
)
print(sweep.shape)
for row in sweep.texts:
  print()
  for temperature, text in zip(temperatures, row, strict=True):
    print(f'{temperature:4.2f}  {text[:70]}')

# %% [markdown]
# The answers of one seed stay together for a while and then part. How long is
# that, against two answers that have nothing in common but the prompt? We count
# the tokens that two answers begin with together: one at temperature 1.0, and
# one of the same seed, or else of another one.

# %%
ids = np.full((*sweep.shape, told['max_tokens']), -1)
for place, answer in zip(np.ndindex(sweep.shape), sweep.answers, strict=True):
  drawn = answer.choices[0].token_ids
  ids[place][: len(drawn)] = drawn


def common(a, b):
  """How many tokens two answers begin with together."""
  differs = (a != b) | (a < 0)
  return int(differs.argmax()) if differs.any() else len(a)


def together(shift):
  """By temperature: the mean over the seeds, and over those `shift` on."""
  others = np.roll(ids[:, -1], shift, axis=0)
  return [
    np.mean([common(a, b) for a, b in zip(column, others, strict=True)])
    for column in ids.swapaxes(0, 1)
  ]


coupled = together(0)
independent = np.mean([together(shift) for shift in (1, 2, 3)], axis=0)

figure, axes = plt.subplots(figsize=(7, 3), layout='constrained')
axes.plot(temperatures, coupled, 'o-', label='of the same seed')
axes.plot(temperatures, independent, 's--', label='of another seed')
axes.set_xlabel('temperature of the other answer')
axes.set_ylabel('tokens in common')
axes.set_title('How far an answer goes along with one at temperature 1.0')
axes.legend()
# %% [markdown]
# ## What would have been drawn
#
# Once two answers part, they have different histories, and comparing them token
# by token means little. `counterfactuals` keeps the history: at each step of a
# given answer it tells what other settings would have drawn there, with the
# noise of that step.

# %%
SEED = int(seeds[1])
given = ids[SEED, -1]
given = given[given >= 0]
grid = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5])
other = model.counterfactuals(messages, given, seed=SEED, temperature=grid)

figure, axes = plt.subplots(figsize=(10, 3.4), layout='constrained')
axes.imshow(other.differs, cmap='Oranges', vmax=1.6, aspect='auto')
for (i, t), token in np.ndenumerate(other.tokens):
  if other.differs[i, t]:
    token = token.strip().replace('$', r'\$')[:8]
    axes.text(t, i, token, ha='center', va='center', fontsize=7)
labels = [model.detokenize([token_id]) for token_id in given]
axes.set_xticks(range(len(given)), labels, rotation=60, ha='right')
axes.set_yticks(range(len(grid)), grid)
axes.set_ylabel('temperature')
axes.set_title('The answer below, and what else would have been drawn')
# %% [markdown]
# The row at 1.0 is blank: with its own settings the answer is what it is.
#
# ## Smaller errors for the same work
#
# Common noise is worth most where two settings are to be compared. Say we ask
# how much less likely to the model its first token gets when the temperature
# goes from 0.9 to 1.0. Forty seeds are asked for one token at each. Taken pair
# by pair, the noise cancels; taken as two separate samples, it adds up.

# %%
MANY = 40
first = model.sweep(
  messages,
  temperature=[0.9, 1.0],
  seed=np.arange(MANY)[:, None],
  max_tokens=1,
  logprobs=True,
)
logprob = np.array(
  [answer.choices[0].logprobs.content[0].logprob for answer in first.answers]
).reshape(first.shape)

change = logprob[:, 1] - logprob[:, 0]
paired_error = change.std(ddof=1) / np.sqrt(MANY)
separate_error = np.sqrt(logprob.var(axis=0, ddof=1).sum() / MANY)
print(f'change of the log-probability: {change.mean():.3f}')
print(f'standard error, paired:   {paired_error:.3f}')
print(f'standard error, separate: {separate_error:.3f}')
saved = (separate_error / paired_error) ** 2
print(f'separate samples would take {saved:.1f} times the draws')

figure, axes = plt.subplots(figsize=(4.2, 4), layout='constrained')
axes.plot(logprob[:, 0], logprob[:, 1], 'o', alpha=0.4)
low = logprob.min() - 0.3
axes.plot([low, 0], [low, 0], color='grey', linewidth=0.7)
axes.set_xlabel('log-probability at temperature 0.9')
axes.set_ylabel('at temperature 1.0')
axes.set_title('One token for each of 40 seeds', fontsize=10)

# %% [markdown]
# ## The claims
#
# An answer of a sweep is the answer of its settings alone, to the last bit. The
# counterfactuals of an answer's own settings are the answer, and at temperature
# 0 they are the likeliest tokens. Answers of one seed go together for longer,
# and pairs have the smaller error.


# %%
def bits(answer):
  entries = answer.choices[0].logprobs.content
  logprobs = np.array([x.logprob for x in entries], np.float32)
  return logprobs.view(np.int32).tolist()


for i in (3, 8, 17, 23):
  alone = model.chat(messages, **sweep.settings[i])
  assert alone.choices[0].token_ids == sweep.answers[i].choices[0].token_ids
  assert bits(alone) == bits(sweep.answers[i])

scored = model.score(messages, given)
assert not other.differs[grid.tolist().index(1.0)].any()
assert (other.token_ids[0] == scored.greedy_ids).all()
own = sweep.answers[SEED * len(temperatures) + len(temperatures) - 1]
shown = [x.logprob for x in own.choices[0].logprobs.content]
assert scored.logprobs[: len(shown)].view(np.int32).tolist() == bits(own)

assert np.mean(coupled[:-1]) > np.mean(independent[:-1])
assert paired_error < separate_error

model.close()
