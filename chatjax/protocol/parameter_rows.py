"""The rows of the table of parameters, as text.

  I path | what is allowed
    what it does here

with I for implemented, M for implemented with a meaning of its own, E for
validated and recorded without effect on tokens, R for refused (but for values
that ask for nothing).
`a.b` is a field of an object, `a[]` is any entry of an array, `{max_n}` is one
of `limits.Limits`.
"""

OPENAI = """
I messages | array of 1 to {max_messages} messages
  The conversation. It becomes the prompt by the model's chat template.
I messages[].role | developer, system, user, assistant, tool, function
  Who speaks. A template that has no developer gets its messages as system's.
I messages[].content | string, or array of 1 to {max_parts} parts
  What is said. May be null next to calls; parts are joined as they are.
I messages[].content[].type | text; file of users; refusal of the assistant
  The kind of a part.
I messages[].content[].text | string
  Text, encoded as ordinary text even where it spells a special token.
I messages[].content[].refusal | string
  A refusal in an earlier answer; the template gets it as text.
R messages[].content[].image_url |
  Images need a model that sees.
R messages[].content[].input_audio |
  Audio needs a model that hears.
R messages[].content[].prompt_cache_breakpoint |
  The prefix cache finds common beginnings by itself.
M messages[].content[].file | object
  A file that is text becomes part of the prompt, under its name.
M messages[].content[].file.filename | string of 1 to 255 characters
  The line above the text; its ending tells the type where the data does not.
M messages[].content[].file.file_data | base64; up to {max_file_bytes} bytes
  Text, markdown, JSON or CSV in UTF-8, as such or as a data URL.
R messages[].content[].file.file_id |
  Files are not stored here; send file_data.
I messages[].name | string of 1 to 64 characters
  Handed to chat templates that read it; required in function messages.
I messages[].refusal | string
  As a refusal part, after the content.
R messages[].annotations | []
  Answers come with an empty list; it may be sent back.
R messages[].audio |
  Audio needs a model that speaks.
I messages[].tool_calls | array of up to {max_tools} calls
  Calls of an earlier answer; each needs its tool message.
I messages[].tool_calls[].id | string
  What a tool message refers to; unique in its message.
I messages[].tool_calls[].type | function, custom
  The kind of the call.
I messages[].tool_calls[].function | object
  The function that was called.
I messages[].tool_calls[].function.name | string
  Its name.
I messages[].tool_calls[].function.arguments | string: the JSON of an object
  Its arguments; the template gets them as an object.
M messages[].tool_calls[].custom | object
  The custom tool that was called; templates see a function with one argument.
M messages[].tool_calls[].custom.name | string
  Its name.
M messages[].tool_calls[].custom.input | string
  Its text; the template gets it as the argument `input`.
I messages[].tool_call_id | id of an earlier call
  Which call a tool message answers; each call is answered exactly once.
M messages[].function_call | object
  The old form of one call; the template gets it as a tool call.
M messages[].function_call.name | string
  The function's name; a function message must have the same.
M messages[].function_call.arguments | string: the JSON of an object
  The function's arguments.
I model | id of a served model
  Another one is answered with 404.
I temperature | number, 0 to 2
  Divides the logits; 0 takes the most likely token, the lowest id of equals.
I top_p | number, 0 to 1
  Draws from the smallest set of tokens with this mass, after top_k.
I max_completion_tokens | integer, 1 or more
  The most tokens of a choice, reasoning included; the context bounds it too.
I max_tokens | integer, 1 or more
  The same by its old name; both must agree.
I n | integer, 1 to {max_n}
  Choices drawn from one prompt. Choice i does not depend on n.
I seed | integer, -2^63 to 2^63-1
  Same seed, same answer, bit for bit. Absent: one is drawn and returned.
I stop | non-empty string, or 1 to 4 of them
  Ends the answer before the string, wherever tokens are cut.
I presence_penalty | number, -2 to 2
  Subtracted once from the logit of every token that was generated.
I frequency_penalty | number, -2 to 2
  Subtracted from the logit of a token each time that it was generated.
I logit_bias | object of up to {max_logit_bias} token ids to -100 to 100
  Added to logits; -100 bans a token.
I logprobs | true, false
  Log-probabilities of the visible tokens.
I top_logprobs | integer, 0 to 20
  Alternatives per token; needs logprobs.
I stream | true, false
  Answers in server-sent events.
I stream_options | object
  Needs stream.
I stream_options.include_usage | true, false
  One more chunk at the end, with the counts.
M stream_options.include_obfuscation | true, false
  Pads events, so that their sizes tell less; off unless asked for.
I tools | array of up to {max_tools} tools
  What the model may call; every name once.
I tools[].type | function, custom
  The kind of the tool.
I tools[].function | object
  A function: called with JSON.
I tools[].function.name | 1 to 64 of a-z A-Z 0-9 _ -
  Its name.
I tools[].function.description | string
  Shown to the model.
I tools[].function.parameters | JSON schema, at most {max_schema_bytes} bytes
  What its arguments are; absent is none.
I tools[].function.strict | true, false
  Whether arguments are held to the schema as they are drawn.
I tools[].custom | object
  A custom tool: called with a text.
I tools[].custom.name | 1 to 64 of a-z A-Z 0-9 _ -
  Its name.
I tools[].custom.description | string
  Shown to the model.
I tools[].custom.format | object
  What its text must be.
I tools[].custom.format.type | text, grammar
  Anything, or what a grammar allows.
I tools[].custom.format.grammar | object
  The grammar.
I tools[].custom.format.grammar.syntax | lark, regex
  The language of the definition.
I tools[].custom.format.grammar.definition | string
  The grammar's text, as long as those of structured_outputs.
I tool_choice | none, auto, required, or an object
  Whether calls are made; required and named calls are forced.
I tool_choice.type | function, custom, allowed_tools
  What is named.
I tool_choice.function | object
  The function that must be called.
I tool_choice.function.name | name of one of tools
  Its name.
I tool_choice.custom | object
  The custom tool that must be called.
I tool_choice.custom.name | name of one of tools
  Its name.
I tool_choice.allowed_tools | object
  A choice among some of the tools.
I tool_choice.allowed_tools.mode | auto, required
  Whether a call must be made.
I tool_choice.allowed_tools.tools | array of 1 to {max_tools} tools
  The tools that may be called.
I tool_choice.allowed_tools.tools[].type | function, custom
  The kind of the tool.
I tool_choice.allowed_tools.tools[].function | object
  A function.
I tool_choice.allowed_tools.tools[].function.name | name of one of tools
  Its name.
I tool_choice.allowed_tools.tools[].function.description | as in tools
  May be repeated.
I tool_choice.allowed_tools.tools[].function.parameters | as in tools
  May be repeated.
I tool_choice.allowed_tools.tools[].function.strict | as in tools
  May be repeated.
I tool_choice.allowed_tools.tools[].custom | object
  A custom tool.
I tool_choice.allowed_tools.tools[].custom.name | name of one of tools
  Its name.
I parallel_tool_calls | true, false
  False: one call at most.
M functions | array of up to {max_tools} functions
  The old form of tools; answered in the old form, with one call at most.
M functions[].name | 1 to 64 of a-z A-Z 0-9 _ -
  As that of a tool.
M functions[].description | string
  As that of a tool.
M functions[].parameters | JSON schema, at most {max_schema_bytes} bytes
  As those of a tool.
M function_call | none, auto, or an object
  The old form of tool_choice.
M function_call.name | name of one of functions
  The function that must be called.
I response_format | object
  What the text must be.
I response_format.type | text, json_object, json_schema
  Anything, any JSON object, or the JSON of a schema.
I response_format.json_schema | object
  The schema and its name.
E response_format.json_schema.name | 1 to 64 of a-z A-Z 0-9 _ -
  Checked; it has no effect.
E response_format.json_schema.description | string
  Checked; it has no effect.
I response_format.json_schema.schema | JSON schema, {max_schema_bytes} bytes
  Tokens are drawn so that the text fits it.
I response_format.json_schema.strict | true, false
  Asks for objects that are closed and require all of their properties.
M reasoning_effort | none, minimal, low, medium, high, xhigh, max
  Whether and how long a model thinks; one that cannot takes none.
M verbosity | low, medium, high
  One line of instruction to the model.
M prediction | object
  Likely text, for speed: the tokens are the same as without it.
M prediction.type | content
  The kind of the prediction.
M prediction.content | string, or array of 1 to {max_parts} parts
  The likely text.
M prediction.content[].type | text
  The kind of a part.
M prediction.content[].text | string
  Text.
R prediction.content[].prompt_cache_breakpoint |
  As in messages.
M modalities | ["text"]
  What the model writes.
R audio |
  Audio needs a model that speaks.
R web_search_options |
  There is no web search here.
R moderation |
  There is no moderation here.
I metadata | object of up to 16 strings
  Returned with the answer. Keys of 1 to 64, values of up to 512 characters.
I store | boolean
  Whether the answer is kept: GET /v1/chat/completions lists what was.
M service_tier | auto, default, flex, scale, priority, fast
  Position in the queue: flex is one step behind, priority (or fast) one ahead.
M prompt_cache_key | string of up to {max_key_chars} characters
  Only requests with the same key share cached prefixes.
M prompt_cache_options | object
  The prefix cache finds common beginnings by itself.
M prompt_cache_options.mode | implicit
  The only mode.
R prompt_cache_options.ttl |
  Cached prefixes stay as long as there is room.
E prompt_cache_retention | in_memory, 24h
  Checked; cached prefixes stay in memory only.
E safety_identifier | string of up to {max_tools} characters
  Checked; it has no effect.
E user | string of up to {max_user_chars} characters
  Written to the log.
"""

EXTENSIONS = """
E messages[].parsed | object, at most {max_file_bytes} bytes of JSON
  What the official client's parse read from the content, which counts.
E messages[].tool_calls[].index | integer, 0 or more
  Left there by the official client's stream; the order counts.
E messages[].tool_calls[].function.parsed_arguments | object, as parsed
  What the official client read from the arguments, which count.
M messages[].reasoning | string
  What the model thought in an earlier answer, for templates that read it.
M messages[].reasoning_content | string
  The same by another name; the template gets it by this one.
I top_k | integer, -1 or more
  Draws from the k most likely tokens; 0 and -1 are off.
I min_p | number, 0 to 1
  Keeps tokens at least this likely, relative to the most likely one.
I repetition_penalty | number, 0.001 to 1000
  Divides (multiplies) positive (negative) logits of tokens already seen.
I min_tokens | integer, 0 or more
  Nothing ends a choice before it has so many tokens.
I ignore_eos | true, false
  The model's own end does not end a choice.
I stop_token_ids | array of up to {max_stop_token_ids} token ids
  Further tokens that end a choice.
I include_stop_str_in_output | true, false
  The text keeps the stop string that ended it.
I bad_words | array of up to {max_bad_words} non-empty strings
  Texts that are never written.
I allowed_token_ids | array of 1 to {max_allowed_token_ids} token ids
  Nothing else is drawn.
I logprobs_mode | raw, tempered, sampled
  Log-probabilities of the model, at the temperature, or as drawn from.
I prompt_logprobs | integer, 0 to 20
  Log-probabilities of the prompt, with so many alternatives; not in a stream.
I return_token_ids | true, false
  Token ids of the prompt and of the choices.
I add_generation_prompt | true, false
  Whether the prompt opens the assistant's turn.
I continue_final_message | true, false
  The last message is the beginning of the answer.
I chat_template_kwargs | object, at most {max_template_bytes} bytes of JSON
  Further variables of the chat template; the server's own are reserved.
I structured_outputs | object with exactly one of its fields
  What the text must be.
I structured_outputs.json | JSON schema, as an object or a string
  The JSON of a schema.
I structured_outputs.regex | string, at most {max_grammar_chars} characters
  What a pattern matches.
I structured_outputs.choice | array of 1 to {max_choices} non-empty strings
  One of these.
I structured_outputs.grammar | string, at most {max_grammar_chars} characters
  What a lark grammar derives.
I thinking_token_budget | integer, 0 or more
  Reasoning ends after so many tokens.
I priority | integer, -1000000 to 1000000
  Smaller goes first; stands above service_tier.
I cache_salt | string of 1 to {max_key_chars} characters
  Only requests with the same salt share cached prefixes.
I speculation | off, on, auto
  Whether tokens are guessed and verified together; they are the same.
"""
