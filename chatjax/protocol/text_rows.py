"""The rows of POST /v1/completions; see `parameter_rows`."""

OPENAI = """
I prompt | string or token ids, or array of 1 to {max_prompts} of either
  What is continued, as it is. Every prompt has n choices of its own.
I max_tokens | integer, 0 or more
  The most tokens of a choice; 16 if absent. 0 needs echo.
I logprobs | integer, 0 to 5
  Log-probabilities of the tokens, and of so many alternatives.
I echo | true, false
  The text begins with the prompt; its log-probabilities are told as well.
R suffix |
  Nothing is filled in between two texts.
R best_of | the same as n
  All that is drawn is returned.
"""

EXTENSIONS = """
I add_special_tokens | true, false
  Whether a text gets the token in front that starts every text; true if absent.
"""

# What chats have too, with all that is inside; of these OpenAI's interface of
# plain texts has the first.
SHARED_OPENAI = (
  *('model', 'temperature', 'top_p', 'n', 'seed', 'stop', 'presence_penalty'),
  *('frequency_penalty', 'logit_bias', 'stream', 'stream_options', 'user'),
)
SHARED_EXTENSIONS = (
  *('response_format', 'structured_outputs', 'top_k', 'min_p', 'min_tokens'),
  *('repetition_penalty', 'ignore_eos', 'stop_token_ids', 'bad_words'),
  *('include_stop_str_in_output', 'allowed_token_ids', 'logprobs_mode'),
  *('prompt_logprobs', 'return_token_ids', 'priority', 'cache_salt'),
  'speculation',
)
