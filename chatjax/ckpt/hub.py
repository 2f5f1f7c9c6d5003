"""Files from the Hugging Face hub, or from its cache on this machine."""

from __future__ import annotations

from collections.abc import Callable
import functools
import pathlib
import re
from typing import Any

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub import errors as hub_errors
import tqdm

from chatjax.ckpt import errors

_SHA256 = re.compile('[0-9a-f]{64}')
_WANTED = ('*.safetensors', '*.json', '*.jinja', 'tokenizer.model')
_FAILURES = (
  OSError, hub_errors.HTTPError, hub_errors.EntryNotFoundError,
  hub_errors.HFValidationError, hub_errors.XetDownloadError,
)  # fmt: skip


class _Bar(tqdm.tqdm):
  """Hands the count of bytes on and draws nothing."""

  def __init__(self, tick: Callable[[int], None], **kwargs: Any):
    super().__init__(**{**kwargs, 'disable': True})
    self._tick = tick

  def update(self, n: float | None = 1) -> None:
    self.n += n or 0
    self._tick(int(self.n))


class _Bytes(tqdm.tqdm):
  """Of the bars over a snapshot, hands on the one that counts its bytes."""

  def __init__(
    self, tick: Callable[[int, int], None], *args: Any, **kwargs: Any
  ):
    self._is_bytes = str(kwargs.get('desc', '')).startswith('Reconstructing')
    kwargs.pop('name', None)
    super().__init__(*args, **{**kwargs, 'disable': True})
    self._tick = tick

  def update(self, n: float | None = 1) -> None:
    self.n += n or 0
    if self._is_bytes:
      self._tick(int(self.n), int(self.total or 0))


def snapshot(
  repo: str, revision: str, *, tick: Callable[[int, int], None]
) -> pathlib.Path:
  """The folder of a model, in the hub's own cache (`HF_HOME`).

  Only weights in safetensors and what is said of them come along. Without the
  hub, or with `HF_HUB_OFFLINE`, what is in the cache serves.

  Args:
    repo: `owner/name`.
    revision: branch, tag or commit.
    tick: called with the bytes that have come so far, and those in all.

  Raises:
    errors.FetchError: the hub cannot serve it, or may not be asked.
  """
  try:
    return pathlib.Path(
      huggingface_hub.snapshot_download(
        repo,
        revision=revision,
        allow_patterns=_WANTED,
        # Other formats of the same weights lie there, or in folders.
        ignore_patterns=['*/*', 'consolidated*'],
        tqdm_class=functools.partial(_Bytes, tick),
      )
    )
  except (hub_errors.HfHubHTTPError, *_FAILURES) as error:
    if status := _status(error):
      raise errors.FetchError(
        f'The hub answered {status} for {repo}@{revision}. Check the name; a'
        ' model behind terms needs them accepted on its page, and a token in'
        ' HF_TOKEN.'
      ) from error
    if constants.HF_HUB_OFFLINE:
      raise errors.FetchError(
        f'{repo}@{revision} is not in the cache of the hub, and HF_HUB_OFFLINE'
        ' is set.'
      ) from error
    words = ' '.join(str(error).split())[:200] or type(error).__name__
    raise errors.FetchError(
      f'{repo}@{revision} could not be fetched ({words}). Check the network'
      ' and start again; what has come is kept.'
    ) from error


def _status(error: BaseException | None) -> int | None:
  """What the hub answered, if it is what an error comes from."""
  while error is not None:
    if isinstance(error, hub_errors.HfHubHTTPError):
      return error.response.status_code
    error = error.__cause__
  return None


def published_sha256(path: pathlib.Path) -> str | None:
  """What the hub says of a large file in its cache: the blob's name."""
  blob = path.resolve()
  is_blob = (
    blob.parent.name == 'blobs' and path.parent.parent.name == 'snapshots'
  )
  return blob.name if is_blob and _SHA256.fullmatch(blob.name) else None


def cached_folders() -> list[pathlib.Path]:
  """The snapshots in the hub's own cache that branches or tags name."""
  found = set()
  for repo in pathlib.Path(constants.HF_HUB_CACHE).glob('models--*'):
    for ref in (repo / 'refs').glob('*'):
      if ref.is_file():
        found.add(repo / 'snapshots' / ref.read_text(errors='replace').strip())
  return sorted(path for path in found if path.is_dir())


def find_cached(repo: str, filename: str, revision: str) -> pathlib.Path | None:
  """The file in the hub's own cache, if it is there. No network."""
  found = huggingface_hub.try_to_load_from_cache(
    repo, filename, revision=revision
  )
  return pathlib.Path(found) if isinstance(found, str) else None


def download(
  repo: str,
  filename: str,
  revision: str,
  *,
  folder: pathlib.Path,
  tick: Callable[[int], None],
) -> pathlib.Path:
  """Downloads a file below `folder`; goes on where an earlier try ended.

  `HF_HUB_OFFLINE`, `HF_ENDPOINT` and the hub's token work as they always do.

  Args:
    repo: `owner/name`.
    filename: path inside the repository.
    revision: branch, tag or commit.
    folder: takes the file and what the hub's library keeps beside it.
    tick: called with the bytes that have come so far.

  Raises:
    errors.UnavailableError: the hub cannot serve it, or may not be asked.
  """
  try:
    # Without this question, an unreachable hub costs half a minute of retries.
    huggingface_hub.get_hf_file_metadata(
      huggingface_hub.hf_hub_url(repo, filename, revision=revision)
    )
    return pathlib.Path(
      huggingface_hub.hf_hub_download(
        repo,
        filename,
        revision=revision,
        local_dir=folder,
        tqdm_class=functools.partial(_Bar, tick),
      )
    )
  except hub_errors.OfflineModeIsEnabled as error:
    raise errors.UnavailableError('HF_HUB_OFFLINE is set') from error
  except hub_errors.HfHubHTTPError as error:
    status = error.response.status_code
    raise errors.UnavailableError(f'the hub answered {status}') from error
  except _FAILURES as error:
    words = ' '.join(str(error).split())[:200] or type(error).__name__
    raise errors.UnavailableError(f'the hub failed: {words}') from error
