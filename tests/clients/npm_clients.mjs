// Talks to a server as programs in JavaScript do; prints what came of it.
//   node npm_clients.mjs BASE_URL MODEL

import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const [baseURL, model] = process.argv.slice(2);
const Person = z.object({ name: z.string(), age: z.number().int() });
const Numbers = z.object({ a: z.number(), b: z.number() });
const who = [{ role: 'user', content: 'Who is Ada?' }];
const sum = [{ role: 'user', content: 'Add 1 and 2.' }];

async function openaiPackage() {
  const client = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 });
  const completions = client.chat.completions;
  const parsed = await completions.parse({
    model,
    messages: who,
    response_format: zodResponseFormat(Person, 'person'),
  });
  const streamed = await completions
    .stream({ model, messages: who, stream_options: { include_usage: true } })
    .finalChatCompletion();
  const called = [];
  const add = zodFunction({
    name: 'add',
    description: 'Adds two numbers.',
    parameters: Numbers,
    function: ({ a, b }) => {
      called.push([a, b]);
      return String(a + b);
    },
  });
  const turns = { model, messages: sum, tools: [add] };
  const whole = completions.runTools(turns);
  const inParts = completions.runTools({ ...turns, stream: true });
  const failed = await completions
    .create({ model: 'other', messages: who })
    .catch((error) => error);
  return {
    parsed: parsed.choices[0].message.parsed,
    hasRequestId: parsed._request_id === parsed.id,
    streamed: streamed.choices[0].message.content,
    streamedTokens: streamed.usage.completion_tokens,
    loops: [await whole.finalContent(), await inParts.finalContent()],
    called,
    error: [failed.status, failed.code],
  };
}

async function vercelSdk() {
  const chatjax = createOpenAICompatible({
    name: 'chatjax',
    baseURL,
    apiKey: 'none',
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
  const called = [];
  const add = tool({
    description: 'Adds two numbers.',
    inputSchema: Numbers,
    execute: async ({ a, b }) => {
      called.push([a, b]);
      return a + b;
    },
  });
  const asked = {
    model: chatjax(model),
    messages: sum,
    tools: { add },
    stopWhen: stepCountIs(3),
    maxRetries: 0,
  };
  const whole = await generateText(asked);
  const inParts = streamText(asked);
  let text = '';
  for await (const part of inParts.textStream) text += part;
  const typed = await generateText({
    model: chatjax(model),
    messages: who,
    output: Output.object({ schema: Person }),
    maxRetries: 0,
  });
  return {
    loops: [whole.text, text],
    steps: [whole.steps.length, (await inParts.steps).length],
    tokens: [whole.totalUsage, await inParts.totalUsage].map(
      (usage) => usage.outputTokens,
    ),
    warnings: [...whole.warnings, ...typed.warnings],
    called,
    typed: typed.output,
  };
}

const told = { openai: await openaiPackage(), vercel: await vercelSdk() };
console.log(JSON.stringify(told));
