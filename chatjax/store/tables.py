"""The tables of a store."""

from __future__ import annotations

import sqlalchemy as sa

# Raised with every change; a store of another version is refused.
VERSION = 1

METADATA = sa.MetaData()

# One row: which version made these tables.
STORE = sa.Table(
  'chatjax_store', METADATA, sa.Column('version', sa.Integer, primary_key=True)
)

COMPLETIONS = sa.Table(
  'chatjax_completions',
  METADATA,
  # Where it stands in the order of creation; ids are random.
  sa.Column('number', sa.Integer, primary_key=True, autoincrement=True),
  sa.Column('id', sa.String(64), unique=True, nullable=False),
  sa.Column('created', sa.Integer, nullable=False),
  sa.Column('model', sa.String(256), nullable=False),
  sa.Column('completion', sa.Text, nullable=False),
  sa.Column('messages', sa.Text, nullable=False),
  sa.Column('provenance', sa.Text, nullable=False),
  sa.Index('chatjax_completions_by_model', 'model', 'number'),
)

NOTES = sa.Table(
  'chatjax_metadata',
  METADATA,
  sa.Column(
    'number',
    sa.ForeignKey(COMPLETIONS.c.number, ondelete='CASCADE'),
    primary_key=True,
  ),
  sa.Column('key', sa.String(64), primary_key=True),
  sa.Column('value', sa.String(512), nullable=False),
  sa.Index('chatjax_metadata_by_value', 'key', 'value', 'number'),
)
