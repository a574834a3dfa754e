import Anthropic from '@anthropic-ai/sdk'
import { alias, backbone, check, edge, feature, key, sea, weather } from './report.mjs'

const client = new Anthropic({ baseURL: edge, apiKey: key, maxRetries: 0 })
const ask = { model: alias, max_tokens: 16, messages: [{ role: 'user', content: sea }] }
const tools = [
  {
    name: 'get_weather',
    input_schema: {
      type: 'object',
      properties: { city: { type: 'string', enum: ['Paris', 'Ulm'] } },
      required: ['city'],
      additionalProperties: false,
    },
  },
]
const toolAsk = {
  model: backbone,
  max_tokens: 60,
  messages: [{ role: 'user', content: weather }],
  tools,
  tool_choice: { type: 'any' },
}

await feature('chat', async () => {
  const message = await client.messages.create({ ...ask, system: 'Be brief.' })
  check(message.content[0].text.length > 0 && message.usage.output_tokens > 0, 'an answer')
})
await feature('chat, streamed', async () => {
  const stream = client.messages.stream(ask)
  check((await stream.finalText()).length > 0, 'text')
})
await feature('functions', async () => {
  const message = await client.messages.create(toolAsk)
  const call = message.content.find(({ type }) => type === 'tool_use')
  check(['Paris', 'Ulm'].includes(call.input.city), 'input of the schema')
  const then = await client.messages.create({
    ...toolAsk,
    tool_choice: { type: 'none' },
    messages: [
      ...toolAsk.messages,
      { role: 'assistant', content: message.content },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: call.id, content: '21 degrees' }] },
    ],
  })
  check(then.content.length > 0, 'an answer to the result')
})
await feature('functions, streamed', async () => {
  const message = await client.messages.stream(toolAsk).finalMessage()
  check(message.stop_reason === 'tool_use', 'a call')
})
await feature('structured output', async () => {
  const { content } = await client.messages.create({
    ...ask,
    max_tokens: 60,
    output_config: {
      format: {
        type: 'json_schema',
        schema: {
          type: 'object',
          properties: { mood: { enum: ['calm', 'wild'] } },
          required: ['mood'],
          additionalProperties: false,
        },
      },
    },
  })
  check(['calm', 'wild'].includes(JSON.parse(content[0].text).mood), 'an object of the schema')
})
await feature('count tokens', async () => {
  const { input_tokens } = await client.messages.countTokens({ model: alias, messages: ask.messages })
  check(input_tokens > 5, 'a count')
})
await feature('errors', async () => {
  const refused = await client.messages.create({ ...ask, model: 'nobody' }).catch((error) => error)
  check(refused instanceof Anthropic.NotFoundError, 'a NotFoundError')
})
