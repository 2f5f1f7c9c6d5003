"""A file answered on a local Ray; prints the records by id.

Ray leaves processes and sockets behind, which are no business of other tests.
"""

import json
import sys

import ray

from chatjax.batch import ray_adapter
from tests.batch import ray_test
from tests.batch import runs


def main(path):
  ray.init(
    num_cpus=4, include_dashboard=False, log_to_driver=False,
    runtime_env={'env_vars': {'PYTHONPATH': str(runs.ROOT)}},
  )  # fmt: skip
  answers = ray.data.read_text(path).map_batches(
    ray_adapter.Answerer,
    fn_constructor_kwargs={
      'model': runs.MODEL,
      'load': ray_test.load,
      'max_rows': 4,
    },
    compute=ray.data.ActorPoolStrategy(size=2),
    batch_size=16,
  )
  made = {one['custom_id']: one['record'] for one in answers.take_all()}
  print(f'made: {json.dumps(made)}')
  ray.shutdown()


if __name__ == '__main__':
  main(sys.argv[1])
