"""From a checkpoint to parameters: convert once, restore ever after."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import pathlib
from typing import Any

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.ckpt import gguf
from chatjax.ckpt import manifest as manifest_lib
from chatjax.ckpt import mapping
from chatjax.ckpt import orbax
from chatjax.models import families
from chatjax.models import filling
from chatjax.models import gguf_source
from chatjax.models import hub_source
from chatjax.models import source as source_lib
from chatjax.nn import sharding
from chatjax.nn import transformer

# (parameters done, parameters in all)
Progress = Callable[[int, int], None]

LoadError = source_lib.LoadError
FAMILIES = families.BY_GGUF


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
  """A model's sizes and the way to its parameters.

  Attributes:
    abstract: the parameters' tree as shapes and dtypes.
    restore: reads the parameters: a nested dict of arrays and quantized
      weights. Takes an `orbax.Placement` if they shall not all go to the
      default device.
    texts: tokenizer and chat template; None for random weights.
    digest: sha256 of all that the checkpoint says.
    dtype: how the weights are kept, as `quant.storage` says.
  """

  config: model_config.ModelConfig
  abstract: Any
  restore: Callable[..., Any]
  digest: str
  dtype: str
  texts: source_lib.Texts | None = None


@contextlib.contextmanager
def open_source(path: pathlib.Path, digest: str) -> Iterator[source_lib.Source]:
  """Opens a GGUF file or a hub folder.

  Raises:
    types.ChatjaxError: it is not a model that can be run.
  """
  if path.is_dir():
    yield hub_source.read(path, digest)
    return
  with gguf.GGUF.open(path) as file:
    yield gguf_source.read(file, digest)


def load(
  path: pathlib.Path,
  digest: str,
  *,
  dtype: str,
  checkpoints: pathlib.Path,
  progress: Progress = lambda done, total: None,
  mesh: config_lib.MeshConfig = config_lib.MeshConfig(),  # noqa: B008 - frozen
  prepare: Callable[[], None] = lambda: None,
) -> Weights:
  """Makes a checkpoint's weights ready to be restored in a dtype.

  The first call converts and keeps an Orbax checkpoint under `checkpoints`;
  later calls find it.

  Args:
    path: a GGUF file or a hub folder.
    digest: its sha256.
    dtype: how the engine wants them.
    checkpoints: where converted weights are kept.
    progress: called while they are converted.
    mesh: what they are for.
    prepare: called if they have to be converted; it may do so elsewhere.

  Raises:
    types.ChatjaxError: the checkpoint is not a model that can be run.
  """
  dtype = sharding.storage(dtype, mesh)
  with open_source(path, digest) as source:
    abstract = transformer.Transformer(source.config, dtype).abstract_params()
    folder = _converted(source, dtype, abstract, checkpoints, progress, prepare)
    return Weights(
      config=source.config,
      abstract=abstract,
      restore=lambda placement=lambda name: None: orbax.restore(
        folder, abstract, placement
      ),
      texts=source.texts,
      digest=digest,
      dtype=dtype,
    )


def _converted(
  source: source_lib.Source,
  dtype: str,
  abstract: Any,
  checkpoints: pathlib.Path,
  progress: Progress,
  prepare: Callable[[], None],
) -> pathlib.Path:
  """The folder that holds the parameters in a dtype."""
  if source.converted is not None and source.converted.dtype == dtype:
    return source.path
  manifest = manifest_lib.Manifest(
    source=source.path.name, sha256=source.digest, dtype=dtype
  )
  if not manifest.is_complete(manifest.folder(checkpoints)):
    prepare()
  return orbax.ensure(
    checkpoints,
    manifest,
    abstract,
    convert(source, abstract, progress),
  )


def convert(
  source: source_lib.Source, abstract: Any, progress: Progress
) -> Callable[[Any], Any]:
  """What makes parts of a parameter tree (on the host).

  Raises:
    LoadError: tensors that do not make these parameters.
  """
  wanted = filling.leaves(abstract)
  done: list[str] = []

  def make(part: Any) -> Any:
    mine = filling.leaves(part)
    done[:] = list(wanted)[: list(wanted).index(next(iter(mine)))]

    def tick() -> None:
      done.append('')
      progress(len(done), len(wanted))

    with told(source):
      plans = filling.check(
        source.rules, source.tensors, source.letters, wanted
      )
      made = filling.fill(
        {path: plans[path] for path in mine}, source.tensors, mine, tick
      )
    return filling.nested(made)

  return make


@contextlib.contextmanager
def told(source: source_lib.Source) -> Iterator[None]:
  """Names the checkpoint in what is wrong with its tensors."""
  kept = source.converted
  if kept is not None and kept.dtype not in config_lib.FLOATS:
    raise LoadError(
      f'{source.path} holds weights as {kept.dtype}, which cannot be made'
      ' into another form. Convert them from the original checkpoint.'
    )
  try:
    yield
  except mapping.MappingError as e:
    raise LoadError(f'{source.path.name}: {e}') from e
