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
# # A first chat, and what the model thought of it
#
# A chat model gives a probability to every token that could come next; a token
# is drawn, and the whole goes on from there. Here we talk to one, look at the
# probabilities behind its answer, and have the same answer drawn again.
#
# The model is Qwen2.5-Coder 0.5B. The first `load` fetches 491 MB and converts
# them, which takes a minute or two; later ones take seconds.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import chatjax

model = chatjax.load('qwen2.5-coder-0.5b-instruct')
print(model.model_id, model.system_fingerprint)

# %% [markdown]
# ## Ask
#
# Messages and fields are those of OpenAI's interface, and so is the answer.

# %%
messages = [
  {'role': 'user', 'content': 'In two sentences: why is the sky blue?'}
]
answer = model.chat(messages, seed=7, max_tokens=48)
print(answer.choices[0].message.content)

# %% [markdown]
# With the text come the reason why it ended, what it took, and the seed of its
# draws. Without `seed=` one is drawn, and told here.

# %%
print('ended by:', answer.choices[0].finish_reason)
print('tokens:  ', answer.usage.prompt_tokens, 'in the prompt,', end=' ')
print(answer.usage.completion_tokens, 'in the answer')
print('seed:    ', answer.chatjax.seed)

# %% [markdown]
# ## Watch it being written
#
# A stream has the same tokens as they come. This one is the same answer, since
# the seed is the same.

# %%
streamed = ''
for chunk in model.stream(messages, seed=7, max_tokens=48):
  for choice in chunk.choices:
    streamed += choice.delta.content or ''
    print(choice.delta.content or '', end='', flush=True)

# %% [markdown]
# ## How sure was it?
#
# `logprobs=True` tells the log-probability of every token that was drawn,
# `top_logprobs` the likeliest others at its place.

# %%
asked = {'seed': 7, 'max_tokens': 48, 'logprobs': True, 'top_logprobs': 8}
answer = model.chat(messages, **asked)
entries = answer.choices[0].logprobs.content
for entry in entries[:6]:
  others = [
    f'{x.token!r} {math.exp(x.logprob):.3f}' for x in entry.top_logprobs
  ]
  print(f'{entry.token!r:12}', ', '.join(others[:4]))


# %%
def shown(token):
  """A token's text with its blanks visible."""
  return token.replace(' ', '\u00b7').replace('\n', '\\n').replace('$', r'\$')


def bars(axes, entries):
  axes.bar(range(len(entries)), [math.exp(x.logprob) for x in entries])
  labels = [shown(x.token) for x in entries]
  axes.set_xticks(range(len(entries)), labels, rotation=90, fontsize=8)
  axes.set_xlim(-0.8, len(entries) - 0.2)
  axes.set_ylim(0, 1)
  axes.set_ylabel('probability')


figure, axes = plt.subplots(figsize=(9, 3.2), layout='constrained')
bars(axes, entries)
axes.set_title('Probability of each token of the answer, when it was drawn')
# %% [markdown]
# Some tokens could hardly have been others; at some the sentence could have
# gone elsewhere. This is the place at which the drawn token was least expected.

# %%
place = min(range(len(entries)), key=lambda i: entries[i].logprob)
before = ''.join(x.token for x in entries[:place])
top = entries[place].top_logprobs
names = [shown(x.token) for x in top]
colors = [
  'tab:orange' if x.bytes == entries[place].bytes else 'tab:blue' for x in top
]

figure, axes = plt.subplots(figsize=(6, 3.2), layout='constrained')
axes.barh(range(len(top)), [math.exp(x.logprob) for x in top], color=colors)
axes.set_yticks(range(len(top)), names)
axes.invert_yaxis()
axes.set_xlabel('probability')
axes.set_title(f'After "...{before[-30:]}" (orange: drawn)', fontsize=10)
# %% [markdown]
# ## Temperature
#
# A low temperature makes the likely likelier, a high one levels. What is
# reported are the model's own probabilities, whatever the temperature; with
# `logprobs_mode='sampled'` it is those that the token was really drawn with.
# Here both for the first token of a name.

# %%
name = [
  {'role': 'user', 'content': 'Invent a name for a cat. Say only the name.'}
]
temperatures = [0.5, 1.0, 1.5]
figure, panels = plt.subplots(
  1, 3, figsize=(9, 3), sharey=True, layout='constrained'
)
for axes, temperature in zip(panels, temperatures, strict=True):
  first = {}
  for mode in ('raw', 'sampled'):
    told = model.chat(
      name,
      seed=1,
      temperature=temperature,
      max_tokens=1,
      logprobs=True,
      top_logprobs=20,
      logprobs_mode=mode,
    )
    top = told.choices[0].logprobs.content[0].top_logprobs
    first[mode] = {shown(x.token): math.exp(x.logprob) for x in top}
  names = list(first['raw'])[:7]
  axes.plot([first['raw'][x] for x in names], 'o', label='raw')
  axes.plot([first['sampled'].get(x, 0) for x in names], 'x', label='sampled')
  axes.set_xticks(range(len(names)), names, rotation=60)
  axes.set_title(f'temperature {temperature}', fontsize=10)
panels[0].set_ylabel('probability')
panels[-1].legend()
# %% [markdown]
# ## Several answers
#
# `n` asks for several choices at once. They share the reading of the prompt,
# and each has draws of its own.

# %%
cats = model.chat(name, seed=3, n=8, max_tokens=12, logprobs=True)
for choice in cats.choices:
  total = sum(x.logprob for x in choice.logprobs.content)
  print(f'{total:7.2f}  {choice.message.content!r}')

# %% [markdown]
# ## The claims
#
# The bytes of the entries are the text. The stream said the same. And asked
# again, every choice has the same tokens and the same log-probabilities, to the
# last bit: also as one of eight, and as one of three.


# %%
def bits(choice):
  told = [x.logprob for x in choice.logprobs.content]
  return np.array(told, np.float32).view(np.int32).tolist()


content = answer.choices[0].message.content
assert b''.join(bytes(x.bytes) for x in entries).decode() == content
assert streamed == content
for entry in entries:
  others = {bytes(x.bytes): x.logprob for x in entry.top_logprobs}
  assert others[bytes(entry.bytes)] == entry.logprob
  assert sum(map(math.exp, others.values())) < 1 + 1e-5

again = model.chat(messages, **asked)
assert again.choices == answer.choices
assert bits(again.choices[0]) == bits(answer.choices[0])
three = model.chat(name, seed=3, n=3, max_tokens=12, logprobs=True)
for choice, same in zip(three.choices, cats.choices, strict=False):
  assert choice.message == same.message
  assert bits(choice) == bits(same)

model.close()
