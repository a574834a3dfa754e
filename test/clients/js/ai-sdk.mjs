import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from 'ai'
import { z } from 'zod'
import { alias, backbone, check, edge, feature, key, sea, weather } from './report.mjs'

const options = { baseURL: `${edge}/v1`, apiKey: key }
const openai = createOpenAI(options)
const compatible = createOpenAICompatible({ name: 'quartet', ...options, supportsStructuredOutputs: true })
const Mood = z.object({ mood: z.enum(['calm', 'wild']), isDeep: z.boolean() })
const tools = {
  get_weather: tool({
    description: 'The weather of a city.',
    inputSchema: z.object({ city: z.enum(['Paris', 'Ulm']) }),
    execute: async ({ city }) => `21 degrees in ${city}`,
  }),
}

const once = { maxRetries: 0, maxOutputTokens: 60, temperature: 0 }

for (const [way, model] of [
  ['responses', (id) => openai(id)],
  ['chat', (id) => openai.chat(id)],
  ['compatible', (id) => compatible(id)],
]) {
  await feature(`${way}`, async () => {
    const { text } = await generateText({ ...once, model: model(alias), prompt: sea, maxOutputTokens: 16 })
    check(text.length > 0, 'text')
  })
  await feature(`${way}, streamed`, async () => {
    let text = ''
    const { textStream } = streamText({
      ...once,
      model: model(alias),
      prompt: sea,
      maxOutputTokens: 16,
      onError: ({ error }) => {
        throw error
      },
    })
    for await (const piece of textStream) text += piece
    check(text.length > 0, 'text')
  })
  await feature(`${way}, structured output`, async () => {
    const { output } = await generateText({
      ...once,
      model: model(alias),
      prompt: sea,
      output: Output.object({ schema: Mood }),
    })
    check(Mood.safeParse(output).success, 'an object of the schema')
  })
  await feature(`${way}, functions`, async () => {
    const { steps } = await generateText({
      ...once,
      model: model(backbone),
      prompt: weather,
      tools,
      toolChoice: 'required',
      stopWhen: stepCountIs(2),
    })
    check(steps.length === 2 && steps[0].toolResults.length > 0, 'a call, its result, and the next step')
  })
}
await feature('embeddings', async () => {
  const { embeddings } = await embedMany({
    model: openai.embedding(alias),
    values: ['a', 'b'],
    maxRetries: 0,
  })
  check(embeddings.length === 2 && embeddings[0].length > 100, 'vectors')
})
