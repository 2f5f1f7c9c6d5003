"""Stored completions in a database: SQLite by default, Postgres by URL."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import json
import pathlib
import sqlite3
from typing import Any
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy import exc

from chatjax import types
from chatjax.store import records
from chatjax.store import tables

Order = Literal['asc', 'desc']
_C, _N = tables.COMPLETIONS.c, tables.NOTES.c
_BUSY_S = 5  # that a writer waits for another


class StoreError(types.ChatjaxError):
  """The store cannot do it: full, locked, read-only, gone, or another's."""


class Store:
  """Stored completions. Thread-safe; several processes may share one.

  Args:
    url: as SQLAlchemy has it: 'sqlite:///FILE', 'postgresql+psycopg://...'.

  Raises:
    StoreError: it cannot be opened.
  """

  def __init__(self, url: str | sa.URL):
    try:
      self._engine = sa.create_engine(url, pool_pre_ping=True)
    except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
      raise StoreError(
        f'The store {_shown(url)} cannot be opened ({_first_line(error)});'
        " give a URL such as 'sqlite:///answers.db'."
      ) from None
    if self._engine.dialect.name == 'sqlite':
      event.listen(self._engine, 'connect', _set_up_sqlite)
    with _faults('opened'):
      tables.METADATA.create_all(self._engine)
      self._check_version()

  @classmethod
  def in_file(cls, path: pathlib.Path) -> Store:
    """An SQLite store."""
    with _faults('opened'):
      path.parent.mkdir(parents=True, exist_ok=True)
    # As text, a '?' in the path would begin the URL's options.
    return cls(sa.URL.create('sqlite', database=str(path)))

  def add(self, stored: records.Stored) -> None:
    """Keeps an answer.

    Raises:
      StoreError: it could not be kept.
    """
    row = {
      'id': stored.id,
      'created': stored.created,
      'model': stored.model,
      'completion': _json(stored.completion),
      'messages': _json(stored.messages),
      'provenance': stored.provenance.as_json(),
    }
    with _faults('written'), self._engine.begin() as connection:
      done = connection.execute(sa.insert(tables.COMPLETIONS), row)
      _add_notes(connection, done.inserted_primary_key[0], stored.metadata)

  def get(self, completion_id: str) -> dict[str, Any] | None:
    """OpenAI's object with its metadata; None if there is none."""
    with _faults('read'), self._engine.connect() as connection:
      shown = _shown_rows(connection, _C.id == completion_id)
    return shown[0] if shown else None

  def provenance(self, completion_id: str) -> records.Provenance | None:
    """What it takes to draw the answer again; None if there is none.

    Raises:
      ValueError: the record was changed since it was written.
    """
    query = sa.select(_C.provenance).where(_C.id == completion_id)
    with _faults('read'), self._engine.connect() as connection:
      text = connection.execute(query).scalar_one_or_none()
    return None if text is None else records.Provenance.from_json(text)

  def list(
    self,
    *,
    after: str | None = None,
    limit: int = 20,
    order: Order = 'asc',
    model: str | None = None,
    metadata: Mapping[str, str] | None = None,
  ) -> records.Page:
    """Answers in the order of their creation.

    Args:
      after: the id of the last one of the page before.
      limit: answers at most.
      order: 'desc' begins with the newest.
      model: of this model only.
      metadata: with all of these notes only.

    Raises:
      types.RequestError: `after` is the id of none.
    """
    wanted = [] if model is None else [_C.model == model]
    for key, value in (metadata or {}).items():
      having = sa.select(_N.number).where(_N.key == key, _N.value == value)
      wanted.append(_C.number.in_(having))
    is_up = order == 'asc'
    with _faults('read'), self._engine.connect() as connection:
      if after is not None:
        number = _number(connection, after)
        if number is None:
          raise not_found(after, 'after')
        wanted.append(_C.number > number if is_up else _C.number < number)
      by = _C.number.asc() if is_up else _C.number.desc()
      shown = _shown_rows(connection, *wanted, by=by, limit=limit + 1)
    return records.Page(tuple(shown[:limit]), len(shown) > limit)

  def update(
    self, completion_id: str, metadata: Mapping[str, str]
  ) -> dict[str, Any] | None:
    """Replaces an answer's metadata; returns it, None if there is none."""
    with _faults('written'), self._engine.begin() as connection:
      number = _number(connection, completion_id)
      if number is None:
        return None
      connection.execute(sa.delete(tables.NOTES).where(_N.number == number))
      _add_notes(connection, number, metadata)
      return _shown_rows(connection, _C.number == number)[0]

  def delete(self, completion_id: str) -> bool:
    """Forgets an answer; False if there is none."""
    gone = sa.delete(tables.COMPLETIONS).where(_C.id == completion_id)
    with _faults('written'), self._engine.begin() as connection:
      return connection.execute(gone).rowcount > 0

  def messages(self, completion_id: str) -> Sequence[dict[str, Any]] | None:
    """The messages of an answer's request; None if there is none."""
    query = sa.select(_C.messages).where(_C.id == completion_id)
    with _faults('read'), self._engine.connect() as connection:
      text = connection.execute(query).scalar_one_or_none()
    return None if text is None else json.loads(text)

  def close(self) -> None:
    """Closes its connections; a call that comes later opens new ones."""
    self._engine.dispose()

  def _check_version(self) -> None:
    with self._engine.begin() as connection:
      found = connection.execute(sa.select(tables.STORE.c.version)).scalar()
      if found is None:
        row = {'version': tables.VERSION}
        connection.execute(sa.insert(tables.STORE), row)
        found = tables.VERSION
    if found != tables.VERSION:
      raise StoreError(
        f'The store was made by another version (its tables are {found}, these'
        f' are {tables.VERSION}); give another URL.'
      )


def not_found(completion_id: str, param: str | None = None):
  """The error of an id that is kept nowhere."""
  return types.RequestError(
    f'There is no stored completion {completion_id[:100]!r}.',
    param=param,
    code='not_found',
    status=404,
  )


@contextlib.contextmanager
def _faults(what: str) -> Iterator[None]:
  """Turns a database's errors into `StoreError`s."""
  try:
    yield
  except (exc.SQLAlchemyError, OSError) as error:
    raise StoreError(
      f'The store could not be {what}: {_first_line(error)}.'
    ) from error


def _set_up_sqlite(connection: sqlite3.Connection, unused_record: Any) -> None:
  """Readers do not wait for writers; what was said to be kept is on disk."""
  cursor = connection.cursor()
  cursor.execute(f'PRAGMA busy_timeout={_BUSY_S * 1000}')
  cursor.execute('PRAGMA journal_mode=WAL')
  cursor.execute('PRAGMA synchronous=FULL')
  cursor.execute('PRAGMA foreign_keys=ON')
  cursor.close()


def _number(connection: sa.Connection, completion_id: str) -> int | None:
  query = sa.select(_C.number).where(_C.id == completion_id)
  return connection.execute(query).scalar_one_or_none()


def _add_notes(
  connection: sa.Connection, number: int, metadata: Mapping[str, str]
) -> None:
  rows = [
    {'number': number, 'key': key, 'value': value}
    for key, value in metadata.items()
  ]
  if rows:
    connection.execute(sa.insert(tables.NOTES), rows)


def _shown_rows(
  connection: sa.Connection,
  *wanted: sa.ColumnElement[bool],
  by: sa.ColumnElement[Any] | None = None,
  limit: int | None = None,
) -> list[dict[str, Any]]:
  """Answers with their metadata."""
  query = sa.select(_C.number, _C.completion).where(*wanted).limit(limit)
  rows = connection.execute(query if by is None else query.order_by(by)).all()
  numbers = [row.number for row in rows]
  notes: dict[int, dict[str, str]] = {number: {} for number in numbers}
  query = sa.select(_N.number, _N.key, _N.value).where(_N.number.in_(numbers))
  for number, key, value in connection.execute(query):
    notes[number][key] = value
  return [
    {**json.loads(row.completion), 'metadata': notes[row.number]}
    for row in rows
  ]


def _json(value: Any) -> str:
  return json.dumps(value, ensure_ascii=False)


def _shown(url: str | sa.URL) -> str:
  """A URL without its password."""
  try:
    return sa.make_url(url).render_as_string(hide_password=True)
  except exc.ArgumentError:
    return 'URL'


def _first_line(error: BaseException) -> str:
  cause = getattr(error, 'orig', None) or error
  return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
