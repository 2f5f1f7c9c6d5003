"""One file from the Hugging Face hub, or from its cache on this machine."""

from __future__ import annotations

from collections.abc import Callable
import functools
import pathlib
from typing import Any

import huggingface_hub
from huggingface_hub import errors as hub_errors
import tqdm

from chatjax.ckpt import errors

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
