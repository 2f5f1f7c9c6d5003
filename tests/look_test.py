"""Inside of a model: loss, taps, attention maps, steering."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chatjax import api
from chatjax import types
from chatjax.engine import engine as engine_lib
from chatjax.testing import tiny
from tests.interface import tiny_chat

MESSAGES = [{'role': 'user', 'content': 'Tell me of the sea.'}]
IDS = np.random.default_rng(0).integers(0, 256, 20)


def made(dtype):
  config = dataclasses.replace(tiny.ENGINE, dtype=dtype)
  engine = engine_lib.Engine(tiny.weights('llama', dtype), config)
  return api.Chat(tiny_chat.session(engine))


@pytest.fixture(scope='module')
def model():
  with made('float32') as one:
    yield one


@pytest.fixture(scope='module')
def int8():
  with made('int8') as one:
    yield one


def bits(x):
  return np.asarray(x, np.float32).view(np.int32)


def test_the_loss_is_that_of_the_scores(model):
  scored = model.score(IDS[:8], IDS[8:])
  mask = np.arange(20) >= 8
  assert float(model.loss(IDS, mask)) * 12 == pytest.approx(
    -scored.total, rel=1e-5
  )
  each = [float(model.loss(x)) for x in (IDS, IDS[:7], IDS[:2])]
  several = float(model.loss([IDS, IDS[:7].tolist(), list(IDS[:2])]))
  assert several == pytest.approx(
    (19 * each[0] + 6 * each[1] + each[2]) / 26, rel=1e-5
  )
  assert float(model.loss(np.stack([IDS, IDS]))) == pytest.approx(each[0])


def test_its_gradient_is_that_of_finite_differences(model):
  loss = jax.jit(lambda params: model.loss(IDS, params=params))
  params = model.params
  grads = jax.grad(loss)(params)
  assert jax.tree.structure(grads) == jax.tree.structure(params)
  rng = np.random.default_rng(1)
  step = jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), params
  )
  h = 1e-3

  def along(t):
    return float(loss(jax.tree.map(lambda p, d: p + t * d, params, step)))

  slope = sum(
    float(jnp.vdot(g, d))
    for g, d in zip(jax.tree.leaves(grads), jax.tree.leaves(step), strict=True)
  )
  assert abs(slope) > 1e-2
  assert (along(h) - along(-h)) / (2 * h) == pytest.approx(slope, rel=0.02)


def test_a_mask_hides_what_it_does_not_count(model):
  mask = np.ones((2, 20))
  mask[1, 5:] = 0
  other = np.stack([IDS, IDS])
  other[1, 5:] = 7
  assert float(model.loss(np.stack([IDS, IDS]), mask)) == float(
    model.loss(other, mask)
  )
  assert float(model.loss(IDS, np.zeros(20))) == 0


def test_int8_has_no_loss(int8):
  with pytest.raises(types.ChatjaxError, match="dtype='float32'"):
    int8.loss(IDS)


@pytest.mark.parametrize(
  ('ids', 'mask'), [([1], None), ([1, 300], None), ([1, 2, 3], [1, 1])]
)
def test_what_has_no_loss_is_refused(model, ids, mask):
  with pytest.raises((types.RequestError, ValueError)):
    model.loss(ids, mask)


@pytest.mark.parametrize('kind', ['model', 'int8'])
def test_looking_changes_nothing(kind, request):
  chat = request.getfixturevalue(kind)
  plain = chat.look(IDS)
  points = ['embed', 'layer_0.attn', 'layer_0.mlp', 'layer_0', 'layer_2']
  watched = chat.look(
    IDS, read=[*points, 'final_norm'], attention=['layer_0', 'layer_2']
  )
  assert set(watched.seen) == {*points, 'final_norm'}
  for one in watched.seen.values():
    assert one.shape == (20, 32)
  np.testing.assert_allclose(watched.logits, plain.logits, atol=2e-2)
  # The stream is the sum of what is added to it.
  seen = watched.seen
  np.testing.assert_allclose(
    seen['embed'] + seen['layer_0.attn'] + seen['layer_0.mlp'],
    seen['layer_0'], atol=1e-5,
  )  # fmt: skip
  np.testing.assert_allclose(
    chat.unembed(seen['layer_2']), watched.logits, atol=1e-4
  )
  for probs_NTT in watched.attention.values():
    assert probs_NTT.shape == (4, 20, 20)
    np.testing.assert_allclose(probs_NTT.sum(-1), 1, atol=1e-5)
    assert not np.triu(probs_NTT, 1).any()
  assert np.abs(
    watched.attention['layer_0'] - watched.attention['layer_2']
  ).max() > 1e-3  # fmt: skip


def test_the_logits_are_those_that_score(model):
  scored = model.score(IDS[:8], IDS[8:])
  logprobs_TV = jax.nn.log_softmax(model.look(IDS).logits)
  told = [logprobs_TV[t - 1, IDS[t]] for t in range(8, 20)]
  np.testing.assert_allclose(scored.logprobs, told, atol=1e-4)


def test_adding_moves_what_comes_after(model):
  rng = np.random.default_rng(2)
  vector = rng.normal(size=32).astype(np.float32)
  points = ['layer_0', 'layer_1', 'layer_1.mlp', 'final_norm']
  before = model.look(IDS, read=points)
  after = model.look(IDS, read=points, add={'layer_1.mlp': vector})
  np.testing.assert_array_equal(
    bits(before.seen['layer_0']), bits(after.seen['layer_0'])
  )
  for point in ('layer_1.mlp', 'layer_1'):
    np.testing.assert_allclose(
      after.seen[point] - before.seen[point],
      np.broadcast_to(vector, (20, 32)), atol=1e-5,
    )  # fmt: skip
  assert np.abs(after.logits - before.logits).max() > 0.1
  late = np.zeros((20, 32), np.float32)
  late[10:] = vector
  causal = model.look(IDS, read=points, add={'embed': late})
  moved_T = np.abs(causal.logits - before.logits).max(axis=1)
  assert moved_T[:10].max() < 1e-4 < 1e-2 < moved_T[10:].min()


def test_looking_is_pure_under_jit_and_grad(model):
  """What is added may be traced: here the loss has a gradient by it."""
  vector = jnp.ones(32)

  def score(v):
    return model.look(IDS, add={'layer_1': v}).logits[-1, 65]

  g = jax.jit(jax.grad(score))(vector)
  h = 1e-2
  along = (score(vector + h * g) - score(vector - h * g)) / (2 * h)
  assert float(along) == pytest.approx(float(g @ g), rel=0.02)


@pytest.mark.parametrize(
  ('fields', 'param', 'words'),
  [
    ({'read': ['layer_9']}, 'read', 'embed, layer_0.attn, .*final_norm'),
    ({'read': 'layer_1'}, 'read', 'give a list'),
    ({'attention': ['embed']}, 'attention', 'layer_0, layer_1, layer_2'),
    ({'add': {'layer_1': np.ones(31)}}, 'add', r'\[31\].*\[20, 32\]'),
  ],
)
def test_a_wrong_point_is_refused(model, fields, param, words):
  with pytest.raises(types.RequestError, match=words) as caught:
    model.look(IDS, **fields)
  assert caught.value.param == param


TOLD = {'logprobs': True, 'return_token_ids': True, 'max_tokens': 30}


def test_a_steered_model_is_another_one(int8):
  vector = np.random.default_rng(3).normal(size=32) * 2
  asked = {'seed': 5, **TOLD}
  plain = int8.chat(MESSAGES, **asked)
  zeros = {'layer_1': np.zeros(32), 'layer_2.attn': np.zeros(32)}
  with int8.steered(zeros) as zero:
    same = zero.chat(MESSAGES, **asked)
    assert same.choices == plain.choices
    names = {int8.system_fingerprint, zero.system_fingerprint}
  with int8.steered({'layer_1': vector, 'layer_2.attn': vector}) as steered:
    names.add(steered.system_fingerprint)
    answer = steered.chat(MESSAGES, **asked)
    ids = answer.choices[0].token_ids
    assert ids != plain.choices[0].token_ids
    # Prompts and answers are steered, as the dense forward is.
    scored = steered.score(MESSAGES, ids)
    told = {x.token: x.logprob for x in answer.choices[0].logprobs.content}
    assert told.items() >= {
      (token, float(value))
      for token, value in zip(scored.tokens, scored.logprobs, strict=True)
      if token in told and scored.tokens.count(token) == 1
    }
    whole = [*IDS, *ids]
    dense = steered.look(whole)
    added = int8.look(whole, add={'layer_1': vector, 'layer_2.attn': vector})
    np.testing.assert_allclose(dense.logits, added.logits, atol=1e-4)
    twice = steered.look(whole, add={'layer_1': vector})
    added = int8.look(
      whole, add={'layer_1': 2 * vector, 'layer_2.attn': vector}
    )
    np.testing.assert_allclose(twice.logits, added.logits, atol=1e-4)
    by_rows = steered.score(IDS, ids).logprobs
    logprobs_TV = jax.nn.log_softmax(dense.logits)
    told_T = logprobs_TV[np.arange(19, 19 + len(ids)), np.array(ids)]
    np.testing.assert_allclose(by_rows, told_T, atol=0.1)
    with pytest.raises(types.RequestError, match='steered already'):
      steered.steered({'layer_1': vector})
  assert len(names) == 3
  assert int8.chat(MESSAGES, **asked).choices == plain.choices


def test_a_model_is_not_steered_at_unknown_points(int8):
  with pytest.raises(types.RequestError, match='no point'):
    int8.steered({'layer_7': np.ones(32)})
