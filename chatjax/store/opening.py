"""Where answers are kept."""

from __future__ import annotations

import pathlib

from chatjax.store import store as store_lib

FILE = 'completions.db'


def open_store(url: str | None, home: pathlib.Path) -> store_lib.Store:
  """The store of a URL; without one, a file under `home`.

  Raises:
    store.StoreError: it cannot be opened.
  """
  if url is None:
    return store_lib.Store.in_file(home / FILE)
  return store_lib.Store(url)
