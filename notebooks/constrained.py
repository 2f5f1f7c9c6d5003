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
# # Answers that have to have a form
#
# A program that reads a model's answers wants them in a form it can read.
# Asking for it in words helps, most of the time. Constrained decoding makes it
# certain: before each token a grammar says which tokens may come next, and the
# others get probability 0. The model chooses among the rest as always.

# %%
import collections
import json
import math

import matplotlib.pyplot as plt
import numpy as np

import chatjax
from chatjax import types

model = chatjax.load('qwen2.5-coder-0.5b-instruct')

# %% [markdown]
# ## Asked in words
#
# Eight draws, and how many of them a program could read as the JSON that was
# asked for.

# %%
prompt = (
  'Describe the city of Lyon as JSON with the keys "river" (a string), '
  '"population" (an integer) and "is_capital" (true or false). JSON only.'
)
messages = [{'role': 'user', 'content': prompt}]
asked = {'seed': 7, 'n': 8, 'max_tokens': 64}


def problem(text):
  """What keeps a text from being what was asked for; '' if nothing does."""
  try:
    city = json.loads(text)
  except ValueError:
    return 'not JSON'
  if not isinstance(city, dict) or set(city) != set(wanted):
    return 'other keys'
  for key, kind in wanted.items():
    if type(city[key]) is not kind:
      return f'{key} is a {type(city[key]).__name__}'
  return ''


wanted = {'river': str, 'population': int, 'is_capital': bool}
free = model.chat(messages, **asked)
texts = [choice.message.content for choice in free.choices]
print(texts[0], '\n')
print(collections.Counter(problem(text) or 'fine' for text in texts))

# %% [markdown]
# ## Held to a schema
#
# `response_format` takes a JSON schema. The same seed, the same draws.

# %%
schema = {
  'type': 'object',
  'properties': {
    'river': {'type': 'string', 'maxLength': 20},
    'population': {'type': 'integer', 'minimum': 0, 'maximum': 10_000_000},
    'is_capital': {'type': 'boolean'},
  },
  'required': ['river', 'population', 'is_capital'],
  'additionalProperties': False,
}
form = {
  'type': 'json_schema',
  'json_schema': {'name': 'city', 'strict': True, 'schema': schema},
}
held = model.chat(messages, response_format=form, **asked)
for choice in held.choices[:4]:
  print(choice.message.content)
cities = [json.loads(choice.message.content) for choice in held.choices]

# %% [markdown]
# A form is no knowledge: what stands in the fields is as right or wrong as the
# model is.
#
# ## What the grammar does to the probabilities
#
# `logprobs_mode` asks for either side of it: `raw` is what the model thought,
# `sampled` is what the token was drawn with. Where the grammar leaves one token
# only, that is 1, however the model felt about it.

# %%
told = {
  mode: model.chat(
    messages,
    seed=7,
    max_tokens=64,
    response_format=form,
    logprobs=True,
    logprobs_mode=mode,
  ).choices[0]
  for mode in ('raw', 'sampled')
}
print(told['raw'].message.content)

figure, axes = plt.subplots(figsize=(9, 3.4), layout='constrained')
for mode, shape in (('raw', 'o'), ('sampled', 'x')):
  entries = told[mode].logprobs.content
  axes.plot([math.exp(x.logprob) for x in entries], shape, label=mode)
labels = [x.token.replace(' ', '\u00b7').replace('\n', '\\n') for x in entries]
axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
axes.set_ylabel('probability')
axes.set_title('The drawn tokens: to the model, and within the grammar')
axes.legend()
# %% [markdown]
# ## One of a few words
#
# `structured_outputs` takes plain lists, regular expressions and grammars.
# With `choice` the model becomes a classifier, and the probability of a class
# can be read off its draws: within the grammar, at temperature 1. (Half a
# billion parameters are few: not all of these are judged well.)

# %%
reviews = [
  'Wonderful! I would buy it again at once.',
  'It broke on the first day and nobody answers the phone.',
  'Not bad at all, to my surprise.',
  'I want my money back.',
]
classes = ['positive', 'negative']


def classify(review):
  """Probability of each class that was drawn."""
  question = f'Review: "{review}"\nSentiment (positive or negative):'
  answer = model.chat(
    [{'role': 'user', 'content': question}],
    seed=7,
    n=8,
    structured_outputs={'choice': classes},
    logprobs=True,
    logprobs_mode='sampled',
  )
  # One word can be spelled by several rows of tokens: their sum is its own.
  spelled = {
    tuple(x.token for x in choice.logprobs.content): choice
    for choice in answer.choices
  }
  found = dict.fromkeys(classes, 0.0)
  for choice in spelled.values():
    total = sum(x.logprob for x in choice.logprobs.content)
    found[choice.message.content] += math.exp(total)
  return found


probabilities = [classify(review) for review in reviews]

figure, axes = plt.subplots(figsize=(9, 2.8), layout='constrained')
left = np.zeros(len(reviews))
for name in classes:
  width = np.array([each[name] for each in probabilities])
  axes.barh(range(len(reviews)), width, left=left, label=name)
  left += width
axes.set_yticks(range(len(reviews)), reviews)
axes.invert_yaxis()
axes.set_xlim(0, 1)
axes.set_xlabel('probability (white: what was not drawn)')
figure.legend(loc='outside upper right', ncols=2)
# %% [markdown]
# ## Patterns and grammars
#
# A regular expression for short things, a grammar in lark for languages.

# %%
date = model.chat(
  [{'role': 'user', 'content': 'When did people first walk on the moon?'}],
  seed=7,
  structured_outputs={'regex': r'(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]'},
)
print(date.choices[0].message.content)

arithmetic = r"""
start: sum " = " NUMBER
sum: NUMBER (" + " NUMBER)+
NUMBER: /[1-9][0-9]{0,2}/
"""
sums = model.chat(
  [{'role': 'user', 'content': 'Write a sum and its result.'}],
  seed=7,
  n=4,
  max_tokens=24,
  structured_outputs={'grammar': arithmetic},
)
for choice in sums.choices:
  print(choice.finish_reason, choice.message.content)

# %% [markdown]
# ## What cannot be held is refused
#
# A strict schema with something that no grammar can enforce is an error that
# points at it, not a promise that is then broken.

# %%
properties = schema['properties'] | {
  'mail': {'type': 'string', 'format': 'phone'}
}
impossible = schema | {
  'properties': properties,
  'required': list(properties),
}
refusal = None
try:
  model.chat(
    messages,
    response_format={
      'type': 'json_schema',
      'json_schema': {'name': 'city', 'strict': True, 'schema': impossible},
    },
  )
except types.RequestError as error:
  refusal = error
  print(error)

# %% [markdown]
# ## The claims
#
# Asked in words, not every answer could be read; under the schema every one
# can. The mode of the log-probabilities changed no token. And a seed is a seed
# under a grammar too.


# %%
def bits(choice):
  logprobs = [x.logprob for x in choice.logprobs.content]
  return np.array(logprobs, np.float32).view(np.int32).tolist()


assert any(problem(text) for text in texts)
assert all(choice.finish_reason == 'stop' for choice in held.choices)
for choice in held.choices:
  assert not problem(choice.message.content)
assert all(0 <= city['population'] <= 10_000_000 for city in cities)
assert refusal is not None
assert 'mail' in str(refusal)

raw, sampled = told['raw'], told['sampled']
assert raw.message == sampled.message
forced = [x for x in sampled.logprobs.content if x.logprob == 0]
assert len(forced) > 5
assert sum(map(lambda x: x.logprob, sampled.logprobs.content)) > sum(
  map(lambda x: x.logprob, raw.logprobs.content)
)
for each in probabilities:
  assert sum(each.values()) < 1 + 1e-5
best = [max(each, key=each.get) for each in probabilities]
assert best[:2] == ['positive', 'negative']
for choice in sums.choices:
  if choice.finish_reason == 'stop':
    assert choice.message.content.count(' = ') == 1

again = model.chat(
  messages, seed=7, max_tokens=64, response_format=form, logprobs=True
)
assert again.choices[0].message == raw.message
assert bits(again.choices[0]) == bits(raw)

model.close()
