"""Tokenizers of hub folders: the ids of `tokenizers`, special ones guarded."""

import functools
import json

import pytest
import tokenizers
from tokenizers import decoders
from tokenizers import models
from tokenizers import normalizers
from tokenizers import pre_tokenizers
from tokenizers import processors
from tokenizers import trainers

from chatjax import types
from chatjax.chat.parsers import events
from chatjax.chat.parsers import formats
from chatjax.testing import vocabularies
from chatjax.text import hub
from chatjax.text import hub_write
from chatjax.text import tokenizer as tokenizer_lib

CORPUS = (
  'the quick brown fox jumps over the lazy dog',
  'the dog sleeps  and the fox   runs over the hill',
  'über die Brücke läuft der Fuchs',
  "1234 we'll see\n\n<b>x</b>",
) * 4
TEXTS = (
  'Hello wörld 123', 'the quick <b> brown</b>  fox\n\nè', '', ' lead', 'a' * 50,
  '日本語 🙂', '\t tab', 'the fox', '▁x', '</s> <unk> <0x0A>', 'Ġword',
)  # fmt: skip
BYTES = [f'<0x{byte:02X}>' for byte in range(256)]


def byte_level():
  made = tokenizers.Tokenizer(models.BPE())
  made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  made.decoder = decoders.ByteLevel()
  alphabet = pre_tokenizers.ByteLevel.alphabet()
  made.train_from_iterator(
    CORPUS,
    trainers.BpeTrainer(
      vocab_size=330, initial_alphabet=alphabet, show_progress=False,
      special_tokens=['<|endoftext|>'],
    ),
  )  # fmt: skip
  made.add_special_tokens(['<|im_start|>', '<|im_end|>'])
  made.add_tokens(['<tool_call>'])
  return made


def sentence_piece(scheme):
  made = tokenizers.Tokenizer(
    models.BPE(byte_fallback=True, unk_token='<unk>', fuse_unk=True)
  )
  if scheme == 'legacy':  # as Llama 2's file has it
    made.normalizer = normalizers.Sequence(
      [normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')]
    )
  else:
    made.pre_tokenizer = pre_tokenizers.Metaspace(
      prepend_scheme=scheme, split=False
    )
  made.train_from_iterator(
    CORPUS,
    trainers.BpeTrainer(
      vocab_size=420, show_progress=False,
      special_tokens=['<unk>', '<s>', '</s>', *BYTES],
    ),
  )  # fmt: skip
  file = json.loads(made.to_str())
  file['added_tokens'] = [
    token for token in file['added_tokens'] if token['content'] not in BYTES
  ]
  return with_turns(tokenizers.Tokenizer.from_str(json.dumps(file)))


def unigram():
  made = tokenizers.Tokenizer(models.Unigram())
  made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='always')
  made.train_from_iterator(
    CORPUS,
    trainers.UnigramTrainer(
      vocab_size=90, unk_token='<unk>', show_progress=False,
      special_tokens=['<unk>', '<s>', '</s>'],
    ),
  )  # fmt: skip
  return with_turns(made)


def with_turns(made):
  made.add_special_tokens(['<start>', '<end>'])
  made.add_tokens(['<b>'])
  return made


MAKERS = {
  'byte_level': byte_level,
  'first': lambda: sentence_piece('first'),
  'always': lambda: sentence_piece('always'),
  'never': lambda: sentence_piece('never'),
  'legacy': lambda: sentence_piece('legacy'),
  'unigram': unigram,
}


@functools.cache
def oracle(kind):
  return MAKERS[kind]()


def build(file, *, extra=5, **more):
  file = json.loads(file.to_str()) if hasattr(file, 'to_str') else file
  size = 1 + max(
    [x['id'] for x in file['added_tokens']]
    + (
      [len(file['model']['vocab']) - 1]
      if isinstance(file['model']['vocab'], list)
      else list(file['model']['vocab'].values())
    )
  )
  given = {
    'tokenizer_config': {}, 'generation_config': {}, 'config': {}, **more
  }  # fmt: skip
  return hub.build(hub.Files(tokenizer=file, vocab_size=size + extra, **given))


@functools.cache
def mine(kind):
  return build(oracle(kind))


@pytest.fixture(name='kind', params=sorted(MAKERS))
def _kind(request):
  return request.param


def plain(kind):
  """The oracle without special tokens: how text that users write is read."""
  file = json.loads(oracle(kind).to_str())
  file['added_tokens'] = []
  return tokenizers.Tokenizer.from_str(json.dumps(file))


@pytest.mark.parametrize('text', TEXTS)
def test_ids_of_ordinary_text(kind, text):
  spelled = [x for x in mine(kind).special_ids if x in text]
  if not spelled:
    wanted = oracle(kind).encode(text, add_special_tokens=False).ids
    assert mine(kind).encode(text) == wanted


def test_bytes_of_tokens_join_to_the_text(kind):
  if kind == 'unigram':
    return  # it has no bytes to fall back on
  for text in TEXTS:
    if kind == 'legacy' and '<b>' in text:
      continue  # its normalizer adds a space after every added token
    joined = mine(kind).decode(mine(kind).encode(text))
    if kind != 'byte_level':
      text, joined = text.replace('▁', ' ').lstrip(' '), joined.lstrip(' ')
    assert joined == text


def test_text_never_becomes_a_special_id(kind):
  special = mine(kind).special_ids
  assert special
  hidden = set(special.values())
  if kind in ('unigram',):
    hidden.discard(special['<unk>'])  # what unknown characters become
  for spelling, token_id in special.items():
    for text in (
      spelling,
      f'a {spelling} b{spelling}',
      f' special {token_id} ',
    ):
      assert not hidden & set(mine(kind).encode(text)), text


def letters():
  """Pieces without merges: the last ones are letters that texts have."""
  pieces = ['<unk>', '<s>', '</s>', *BYTES, *'▁abcdefghij']
  made = tokenizers.Tokenizer(
    models.BPE(
      vocab={piece: i for i, piece in enumerate(pieces)}, merges=[],
      byte_fallback=True, unk_token='<unk>', fuse_unk=True,
    )
  )  # fmt: skip
  made.pre_tokenizer = pre_tokenizers.Metaspace(
    prepend_scheme='first', split=False
  )
  made.add_special_tokens(['<unk>', '<s>', '</s>'])
  return made


def test_ordinary_tokens_beyond_the_pieces_keep_their_ids():
  made = letters()
  made.add_tokens(['NEW', 'OTHER'])
  tokenizer = build(made)
  for text in ('abj', 'j i h', 'xNEWj', 'OTHER NEW'):
    wanted = made.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode(text) == wanted


def test_ids_of_a_template(kind):
  first, second = list(mine(kind).special_ids)[-2:]
  turns = f'{first}user\n Hello{second}\n{first} x'
  for text in (turns, f'begin {turns}', f'{first}{second}'):
    wanted = oracle(kind).encode(text, add_special_tokens=False).ids
    assert mine(kind).encode_template(text) == wanted


def test_special_tokens_that_swallow_white_space():
  made = byte_level()
  made.add_special_tokens([
    tokenizers.AddedToken('<|right|>', rstrip=True, normalized=False),
    tokenizers.AddedToken('<|left|>', lstrip=True, normalized=False),
  ])  # fmt: skip
  tokenizer = build(made)
  for text in ('a <|right|> \n b <|left|> c', '<|left|><|right|>  x '):
    wanted = made.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode_template(text) == wanted


def test_what_shows_and_what_does_not(kind):
  tokenizer = mine(kind)
  for spelling, token_id in tokenizer.special_ids.items():
    shown = tokenizer.token_bytes(token_id)
    assert shown == (spelling.encode() if spelling == '<tool_call>' else b'')
  assert tokenizer.token_bytes(tokenizer.vocab_size - 1) == b''
  assert tokenizer.vocab_size == 5 + oracle(kind).get_vocab_size()


def test_every_byte_has_its_token():
  for kind in ('byte_level', 'first'):
    single = {mine(kind).token_bytes(i) for i in range(mine(kind).vocab_size)}
    assert {bytes([byte]) for byte in range(256)} <= single


@pytest.mark.parametrize(
  ('generation', 'config', 'eos_token', 'wanted'),
  [
    ({'eos_token_id': 3}, {}, None, {3}),
    ({'eos_token_id': [3, 4]}, {'eos_token_id': 5}, None, {3, 4}),
    ({}, {'eos_token_id': 5}, None, {5}),
    ({'eos_token_id': 3}, {}, '<|im_start|>', {3, 'start'}),
    ({'eos_token_id': 3}, {}, {'content': '<|im_start|>'}, {3, 'start'}),
    ({}, {}, None, {'end', 'text'}),  # what is usual
    ({'eos_token_id': -1}, {}, None, {'end', 'text'}),
    ({'eos_token_id': -1}, {'eos_token_id': 5}, None, {5}),
  ],
)
def test_stop_ids(generation, config, eos_token, wanted):
  names = {
    'start': '<|im_start|>',
    'end': '<|im_end|>',
    'text': '<|endoftext|>',
  }
  tokenizer = build(
    oracle('byte_level'), generation_config=generation, config=config,
    tokenizer_config={'eos_token': eos_token},
  )  # fmt: skip
  ids = {tokenizer.special_ids[names[x]] if x in names else x for x in wanted}
  assert tokenizer.eos_ids == ids


@pytest.mark.parametrize('value', [10**6, -2, '<eos>', [3, None], True])
def test_stop_ids_that_there_are_not(value):
  with pytest.raises(hub.VocabularyError, match='eos_token_id is'):
    build(oracle('byte_level'), generation_config={'eos_token_id': value})


def test_bos_is_what_the_post_processor_adds():
  made = byte_level()
  config = {'bos_token': '<|im_start|>'}
  assert not build(made, tokenizer_config=config).add_bos
  bos_id = made.token_to_id('<|im_start|>')
  made.post_processor = processors.TemplateProcessing(
    single='<|im_start|> $A', special_tokens=[('<|im_start|>', bos_id)]
  )
  tokenizer = build(made, tokenizer_config=config)
  assert (tokenizer.add_bos, tokenizer.bos_id) == (True, bos_id)
  assert bos_id not in tokenizer.encode('x')


def test_a_tag_that_the_template_spells_is_special():
  made = sentence_piece('first')
  assert '<b>' not in build(made).special_ids
  assert '<b>' in build(made, template='{{ "<b>" }}').special_ids


def test_ordinary_added_tokens_of_a_byte_level_vocabulary():
  made = byte_level()
  made.add_tokens([
    tokenizers.AddedToken(content, normalized=True)
    for content in ('ü', '    ', '>>ANS', '\n\n', '[]')
  ])  # fmt: skip
  made.add_tokens([tokenizers.AddedToken('fox', single_word=True)])
  tokenizer = build(made, template="{{ 'ü' + '    ' + '\n\n' + 'fox' }}")
  for text in ('für', 'a    b', 'a     b', 'x>>ANSy', 'fox foxes', '\n\n[]'):
    wanted = made.encode(text).ids
    assert tokenizer.encode(text) == wanted
    assert tokenizer.encode_template(text) == wanted
    assert tokenizer.decode(wanted) == text
  assert list(tokenizer.special_ids)[3:] == ['<tool_call>']


@pytest.mark.parametrize('content', ['<x>', '[X]', '|x|', '<｜x▁y｜>', '@@x@@'])  # noqa: RUF001
def test_tags_of_a_byte_level_vocabulary(content):
  made = byte_level()
  made.add_tokens([content])
  token_id = made.token_to_id(content)
  tokenizer = build(made, template=f'a {content}')
  assert tokenizer.special_ids[content] == token_id
  assert token_id not in tokenizer.encode(f'a {content}b')
  is_known = content in build(made).special_ids
  assert is_known == (content != '@@x@@')


def test_calls_between_tags_that_hold_the_letter_for_spaces():
  """DeepSeek V3's: not called special, so they show in an answer."""
  names = 'calls▁begin call▁begin sep call▁end calls▁end'
  tags = [f'<\uff5ctool▁{name}\uff5c>' for name in names.split()]
  made = byte_level()
  made.add_tokens(tags)
  tokenizer = build(made)
  text = f'{tags[0]}{tags[1]}f{tags[2]}{{}}{tags[3]}{tags[4]}'
  shown = tokenizer.decode(tokenizer.encode_template(text))
  assert shown == text
  parser = formats.get('deepseek_v31').parser([types.Tool(name='f')])
  found = [*parser.feed(shown, False), *parser.finish()]
  assert [x.name for x in found if isinstance(x, events.Call)] == ['f']


@pytest.mark.parametrize('piece', ['你好', 'Ġ é'])
def test_pieces_outside_the_byte_alphabet(piece):
  file = json.loads(byte_level().to_str())
  token_id = len(file['model']['vocab']) + 10
  file['model']['vocab'][piece] = token_id
  made = tokenizers.Tokenizer.from_str(json.dumps(file))
  assert build(file).decode([token_id]) == made.decode([token_id]) == piece


@pytest.mark.parametrize('kind', ['byte_level', 'first'])
def test_tokens_that_only_the_config_adds(kind):
  made = MAKERS[kind]()
  file, size = made.to_str(), made.get_vocab_size()
  stated = {
    str(size + 1): {'content': 'NEW', 'special': False},
    str(size): {'content': '<|late|>', 'special': True, 'rstrip': True},
    '0': {'content': 'what the file says counts'},
  }
  tokenizer = build(
    tokenizers.Tokenizer.from_str(file),
    tokenizer_config={'added_tokens_decoder': stated},
  )
  made.add_special_tokens([tokenizers.AddedToken('<|late|>', rstrip=True)])
  made.add_tokens(['NEW'])
  text = 'a<|late|> bNEW c'
  wanted = made.encode(text, add_special_tokens=False).ids
  assert tokenizer.encode_template(text) == wanted
  assert size not in tokenizer.encode(text)
  assert (size in tokenizer.control_ids, size + 1 in wanted) == (True, True)


@pytest.mark.parametrize('stated', [{'x': {'content': 'a'}}, {'3': 'a'}])
def test_a_decoder_that_cannot_be_read(stated):
  config = {'added_tokens_decoder': stated}
  with pytest.raises(hub.VocabularyError, match='added_tokens_decoder of'):
    build(oracle('byte_level'), tokenizer_config=config)


@pytest.mark.parametrize('kind', ['byte_level', 'first'])
def test_what_ends_a_text_is_never_in_one(kind):
  made = MAKERS[kind]()
  made.add_tokens(['STOP'])
  stop = made.token_to_id('STOP')
  assert stop in build(made).encode('x STOP')
  tokenizer = build(made, generation_config={'eos_token_id': [stop]})
  assert stop not in tokenizer.encode('x STOP')
  assert tokenizer.encode_template('STOP') == [stop]


@pytest.mark.parametrize('extra', [['<b>'], {'image_token': '<b>'}])
def test_tokens_that_the_config_calls_special(extra):
  made = sentence_piece('first')
  config = {'extra_special_tokens': extra}
  assert '<b>' in build(made, tokenizer_config=config).special_ids


def test_a_token_beyond_the_model_is_left_out():
  file = json.loads(byte_level().to_str())
  size = len(file['model']['vocab'])
  made = hub.build(
    hub.Files(
      tokenizer=file, tokenizer_config={}, generation_config={}, config={},
      vocab_size=size,
    )
  )  # fmt: skip
  assert list(made.special_ids) == ['<|endoftext|>']
  assert made.vocab_size == size


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'model': {'type': 'WordPiece', 'vocab': {}}}, "'WordPiece' model"),
    ({'model': None}, "'None' model"),
    ({'pre_tokenizer': None, 'decoder': None}, 'neither byte-level nor'),
    ({'model': {'type': 'BPE', 'vocab': 3}}, 'vocab of tokenizer.json'),
    ({'added_tokens': [{'id': 'x'}]}, 'which cannot be read'),
    ({'added_tokens': [{'id': []}]}, 'which cannot be read'),
    ({'normalizer': {'type': 'No'}}, 'cannot be used'),
  ],
)
def test_files_that_cannot_be_used(change, message):
  file = json.loads(oracle('byte_level').to_str()) | change
  with pytest.raises(hub.VocabularyError, match=message):
    hub.build(
      hub.Files(
        tokenizer=file, generation_config={}, config={}, vocab_size=400,
        tokenizer_config={'added_tokens_decoder': {}},
      )
    )  # fmt: skip


@pytest.mark.parametrize('pre', ['qwen2', 'llama-bpe', 'gpt-2', 'smollm'])
def test_a_gguf_tokenizer_written_for_the_hub(pre):
  metadata = vocabularies.bpe_metadata(pre=pre)
  ours = tokenizer_lib.from_gguf(metadata)
  assert_written_alike(metadata, ours, TEXTS)


def assert_written_alike(metadata, ours, texts):
  files = hub_write.files(metadata, 'template')
  theirs = hub.build(
    hub.Files(
      tokenizer=files['tokenizer.json'],
      tokenizer_config=files['tokenizer_config.json'],
      generation_config=files['generation_config.json'],
      config={}, vocab_size=ours.vocab_size,
    )
  )  # fmt: skip
  assert theirs.special_ids == ours.special_ids
  assert theirs.control_ids == ours.control_ids
  assert theirs.eos_ids == ours.eos_ids
  assert (theirs.bos_id, theirs.add_bos) == (ours.bos_id, ours.add_bos)
  for text in texts:
    assert theirs.encode(text) == ours.encode(text)
    turn = ''.join(ours.special_ids) + text
    assert theirs.encode_template(turn) == ours.encode_template(turn)
  for token_id in range(ours.vocab_size):
    assert theirs.token_bytes(token_id) == ours.token_bytes(token_id)


@pytest.mark.real_model
def test_the_real_tokenizer_written_for_the_hub(gguf_metadata, real_tokenizer):
  model = 'qwen2.5-coder-0.5b-instruct'
  assert_written_alike(gguf_metadata(model), real_tokenizer(model), TEXTS)


def test_another_kind_is_not_written():
  with pytest.raises(hub.VocabularyError, match='Only byte-level BPE'):
    hub_write.files({'tokenizer.ggml.model': 'llama'}, None)
