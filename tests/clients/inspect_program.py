"""Run by the Python that has inspect-ai: a local task against a server.

  python inspect_program.py DATASET MODEL LOG_DIR

The address is in CHATJAX_BASE_URL. Prints the accuracy and the answers as JSON.
"""

import json
import sys

import inspect_ai
from inspect_ai import dataset
from inspect_ai import model
from inspect_ai import scorer
from inspect_ai import solver

path, name, log_dir = sys.argv[1:]
task = inspect_ai.Task(
  dataset=dataset.json_dataset(path),
  solver=[solver.system_message('Be brief.'), solver.generate()],
  scorer=scorer.match(),
  config=model.GenerateConfig(
    temperature=0.7, seed=11, max_tokens=64, top_p=0.9, logprobs=True,
    top_logprobs=2,
  ),
)  # fmt: skip
(log,) = inspect_ai.eval(
  task, model=f'openai-api/chatjax/{name}', log_dir=log_dir, display='none',
  epochs=1, score=True, max_retries=0,
)  # fmt: skip
assert log.status == 'success', log.error
samples = sorted(log.samples, key=lambda sample: sample.id)
(score,) = log.results.scores
print(
  json.dumps(
    {
      'accuracy': score.metrics['accuracy'].value,
      'answers': [sample.output.completion for sample in samples],
      'logprobs': [
        len(sample.output.choices[0].logprobs.content) for sample in samples
      ],
      'tokens': [sample.output.usage.total_tokens for sample in samples],
    }
  )
)
