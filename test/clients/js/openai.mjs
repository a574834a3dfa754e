import OpenAI from 'openai'
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod'
import { z } from 'zod'
import { alias, backbone, check, edge, feature, key, sea, weather } from './report.mjs'

const client = new OpenAI({ baseURL: `${edge}/v1`, apiKey: key, maxRetries: 0 })
const ask = { model: alias, messages: [{ role: 'user', content: sea }], max_tokens: 16, temperature: 0 }
const Mood = z.object({ mood: z.enum(['calm', 'wild']), isDeep: z.boolean() })
const tool = {
  type: 'function',
  function: {
    name: 'get_weather',
    strict: true,
    parameters: {
      type: 'object',
      properties: { city: { type: 'string', enum: ['Paris', 'Ulm'] } },
      required: ['city'],
      additionalProperties: false,
    },
  },
}
const toolAsk = {
  model: backbone,
  messages: [{ role: 'user', content: weather }],
  tools: [tool],
  tool_choice: 'required',
  parallel_tool_calls: false,
  max_tokens: 60,
}

await feature('models', async () => {
  const ids = []
  for await (const { id } of client.models.list()) ids.push(id)
  check(ids.includes(alias) && ids.includes(backbone), 'the alias and the backbone are listed')
})
await feature('chat', async () => {
  const { choices, usage } = await client.chat.completions.create({ ...ask, n: 2 })
  check(choices.length === 2 && choices[0].message.content.length > 0 && usage.total_tokens > 0, 'an answer')
})
await feature('chat, streamed', async () => {
  let text = ''
  for await (const chunk of await client.chat.completions.create({ ...ask, stream: true }))
    text += chunk.choices[0]?.delta.content ?? ''
  check(text.length > 0, 'text')
})
await feature('structured output', async () => {
  const { choices } = await client.chat.completions.parse({
    ...ask,
    max_tokens: 60,
    response_format: zodResponseFormat(Mood, 'mood'),
  })
  check(Mood.safeParse(choices[0].message.parsed).success, 'an object of the schema')
})
await feature('functions', async () => {
  const { choices } = await client.chat.completions.create(toolAsk)
  const [call] = choices[0].message.tool_calls
  check(['Paris', 'Ulm'].includes(JSON.parse(call.function.arguments).city), 'arguments of the schema')
  const { choices: then } = await client.chat.completions.create({
    ...toolAsk,
    tool_choice: 'none',
    messages: [
      ...toolAsk.messages,
      choices[0].message,
      { role: 'tool', tool_call_id: call.id, content: '21 degrees' },
    ],
  })
  check(then[0].message.content.length > 0, 'an answer to the result')
})
await feature('functions, streamed', async () => {
  const stream = client.chat.completions.stream(toolAsk)
  const { choices } = await stream.finalChatCompletion()
  check(choices[0].message.tool_calls[0].function.name === 'get_weather', 'a call')
})
await feature('responses', async () => {
  const first = await client.responses.create({ model: alias, input: sea, max_output_tokens: 16 })
  check(first.output_text.length > 0, 'text')
  const next = await client.responses.create({
    model: alias,
    input: 'And then?',
    previous_response_id: first.id,
    max_output_tokens: 16,
  })
  check(next.previous_response_id === first.id, 'the conversation goes on')
  await client.responses.delete(first.id)
})
await feature('responses, streamed', async () => {
  let text = ''
  const stream = client.responses.stream({ model: alias, input: sea, max_output_tokens: 16 })
  for await (const event of stream) if (event.type === 'response.output_text.delta') text += event.delta
  check(text === (await stream.finalResponse()).output_text, 'the pieces are the whole')
})
await feature('responses, structured output', async () => {
  const response = await client.responses.parse({
    model: alias,
    input: sea,
    text: { format: zodTextFormat(Mood, 'mood') },
  })
  check(Mood.safeParse(response.output_parsed).success, 'an object of the schema')
})
await feature('responses, functions', async () => {
  const { output } = await client.responses.create({
    model: backbone,
    input: weather,
    tools: [{ type: 'function', ...tool.function }],
    tool_choice: 'required',
  })
  check(
    output.some(({ type }) => type === 'function_call'),
    'a call',
  )
})
await feature('completions', async () => {
  const { choices } = await client.completions.create({
    model: backbone,
    prompt: 'The sea',
    max_tokens: 4,
    logprobs: 2,
    echo: true,
  })
  check(choices[0].text.startsWith('The sea') && choices[0].logprobs.tokens.length >= 5, 'echo')
})
await feature('embeddings', async () => {
  const { data } = await client.embeddings.create({ model: alias, input: ['a', 'b'] })
  check(data.length === 2 && data[0].embedding.length > 100, 'vectors')
})
await feature('errors', async () => {
  const refused = await client.chat.completions.create({ ...ask, model: 'nobody' }).catch((error) => error)
  check(refused instanceof OpenAI.NotFoundError, 'a NotFoundError')
})
