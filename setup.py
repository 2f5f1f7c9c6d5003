"""The one thing that setup.cfg cannot say: the optional native kernels."""

from pathlib import Path

import jaxlib
import setuptools

setuptools.setup(
  ext_modules=[
    setuptools.Extension(
      'chatjax.native._kernels',
      sources=['chatjax/native/kernels.cc'],
      depends=[str(path) for path in Path('chatjax/native').glob('*.h')],
      include_dirs=[str(Path(jaxlib.__file__).parent / 'include')],
      # Contraction would round otherwise where there is a fused instruction.
      extra_compile_args=['-std=c++20', '-O3', '-ffp-contract=off'],
      language='c++',
      optional=True,  # without a compiler the install goes on
    )
  ]
)
