"""The terms that weights come under, and whether they were accepted."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib

from chatjax import types
from chatjax.ckpt import home as home_lib


class LicenceError(types.ChatjaxError):
  """Terms that were not accepted; the message holds them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Licence:
  """The terms of some weights.

  Attributes:
    id: short name; SPDX's where there is one.
    text: what is shown; a summary where the terms are long.
    url: of the terms themselves.
    needs_acceptance: whether they must be accepted before the first fetch.
  """

  id: str
  title: str
  text: str
  url: str
  needs_acceptance: bool

  def __post_init__(self):
    home_lib.check_name(self.id)

  @property
  def digest(self) -> str:
    """Of what was shown: other words need another acceptance."""
    shown = f'{self.title}\n{self.text}\n{self.url}'
    return hashlib.sha256(shown.encode()).hexdigest()


APACHE_2 = Licence(
  id='Apache-2.0',
  title='Apache License 2.0',
  text='Free use, change and distribution under the Apache License 2.0.',
  url='https://www.apache.org/licenses/LICENSE-2.0',
  needs_acceptance=False,
)

GEMMA = Licence(
  id='gemma',
  title='Gemma Terms of Use',
  text="""\
This model comes under the Gemma Terms of Use. A summary, which does not
replace them:
  - Gemma and what is derived from it may be used, changed and distributed
    only as the terms allow (2.2).
  - It must not be used against the law, nor for the uses that the Gemma
    Prohibited Use Policy forbids (3.2):
    https://ai.google.dev/gemma/prohibited_use_policy
  - Who passes it on, also as a hosted service, must pass on these use
    restrictions and a copy of the terms, mark changed files as changed, and
    add the notice "Gemma is provided under and subject to the Gemma Terms of
    Use found at ai.google.dev/gemma/terms" (3.1; a hosted service needs no
    notice file).
  - Google claims no rights in what you generate; you are responsible for
    it (3.3).
  - There is no warranty, liability is limited, and Google may end the
    agreement if it is broken (4.3 to 4.5).""",
  url='https://ai.google.dev/gemma/terms',
  needs_acceptance=True,
)


def require(licence: Licence, home: pathlib.Path, *, accept: bool) -> None:
  """Returns once the terms are accepted, now or before; records it.

  Raises:
    LicenceError: they are not.
  """
  if not licence.needs_acceptance:
    return
  record = home / 'licences' / f'{licence.id}.json'
  accepted = home_lib.read_json(record)
  if isinstance(accepted, dict) and accepted.get('digest') == licence.digest:
    return
  if not accept:
    raise LicenceError(
      f'{licence.title}: please read and accept before the first use.\n\n'
      f'{licence.text}\n\nThe terms: {licence.url}\n'
      'To accept them pass --accept_license (in Python accept_license=True).'
    )
  home_lib.write_json(
    record, {'id': licence.id, 'url': licence.url, 'digest': licence.digest}
  )
