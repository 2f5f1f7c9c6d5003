"""Real chat templates name the format that their model writes in."""

import json

import pytest

from chatjax.chat.parsers import formats
from tests.chat import conversations
from tests.chat import real_files
from tests.chat import real_tokenizers
from tests.chat.parsers import streams

TOKENIZERS = {
  'llama3': 'plain',
  'llama3_1': 'plain',
  'llama3_1_instruct': 'llama_json',
  'llama3_2': 'llama_json',
  'qwen2_5': 'hermes',
  'qwen3': 'hermes',
  'gemma2': 'plain',
  'gemma3': 'plain',
  'gptoss': 'harmony',
  'mistral_nemo': 'mistral',
  'deepseek_r1_distill_qwen': 'deepseek',
}
# Templates whose tokenizers are not at hand.
TEMPLATES = {
  'meta-llama-Llama-3.3-70B-Instruct': 'llama_json',
  'Qwen-Qwen2.5-7B-Instruct': 'hermes',
  'Qwen-Qwen3-0.6B': 'hermes',
  'Qwen-QwQ-32B': 'hermes',
  'Mistral-Small-3.2-24B-Instruct-2506': 'mistral_v11',
  'mistralai-Ministral-3-14B-Reasoning-2512': 'mistral_v11',
  'mistralai-Mistral-Nemo-Instruct-2407': 'mistral',
  'deepseek-ai-DeepSeek-R1-Distill-Llama-8B': 'deepseek',
  'deepseek-ai-DeepSeek-R1-Distill-Qwen-32B': 'deepseek',
  'microsoft-Phi-3.5-mini-instruct': 'plain',
  'HuggingFaceTB-SmolLM3-3B': 'think',  # as edited: it has no place for tools
  'NousResearch-Hermes-3-Llama-3.1-8B-tool_use': 'hermes',
}
# These are fetched by the quick run anyway.
QUICK = {'llama3_1', 'qwen3'}


def test_every_tokenizer_has_a_format():
  assert set(TOKENIZERS) == set(real_tokenizers.MODELS)


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in TOKENIZERS
])  # fmt: skip
def test_templates_beside_tokenizers(name):
  template = real_tokenizers.template(name)
  assert formats.detect(template) == TOKENIZERS[name]


@pytest.mark.parametrize(
  ('source', 'name'),
  [
    ('{{ "<tool_call>{\\"name\\": x, \\"arguments\\": y}" }}', 'hermes'),
    ('{{ \'<tool_call>{"name": x, "arguments": y}\' }}', 'hermes'),
    ('{{ "ipython {\\"parameters\\": " }}', 'llama_json'),
    ('{{ "<tool_call>arguments" }}', 'plain'),
  ],
)
def test_quotes_may_be_escaped(source, name):
  assert formats.detect(source) == name


@pytest.mark.slow
@pytest.mark.parametrize('name', TEMPLATES)
def test_templates_alone(name):
  assert formats.detect(real_files.template(name)) == TEMPLATES[name]


# What ends the turns of models whose template has a place for tools.
ENDS = {
  'llama3_1_instruct': '<|eot_id|>',
  'llama3_2': '<|eot_id|>',
  'qwen2_5': '<|im_end|>',
  'qwen3': '<|im_end|>',
  'gptoss': '<|call|>',
  'mistral_nemo': '</s>',
}


@pytest.mark.slow
@pytest.mark.parametrize('name', ENDS)
def test_a_call_as_the_template_writes_it_is_read(name):
  """The prompt of a turn with a call goes on where that for it ends."""
  _, form = real_tokenizers.read(name)
  asked = conversations.asked(name)
  before = form.prompt(**asked['tools']).text
  called = asked['called']
  after = form.prompt(**called | {
      'messages': called['messages'][:2], 'add_generation_prompt': False,
  }).text  # fmt: skip
  assert after.startswith(before)
  written, end, _ = after[len(before) :].rpartition(ENDS[name])
  assert end
  parsed = streams.parse(
    TOKENIZERS[name], written, streams.tools('get_weather'), prompt_tail=before
  )
  (call,) = parsed.calls
  assert call.name == 'get_weather'
  assert json.loads(call.arguments) == {'city': 'Zürich', 'days': 2}
  assert parsed.content.strip() == parsed.reasoning == ''
