import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import OpenAI from 'openai'
import { schema, tree } from '../test/fakes/json-schemas.ts'
import { type Quartet, startQuartet } from './quartet.ts'
import { report } from './report.ts'

/** Requests under schemas that are under way at once; a free one runs beside every two. */
const together = 6
const temperatures = [0, 0.7, 1, 2]
const mostTokens = 120

/** What came of all answers. */
interface Counts {
  answers: number
  whole: number
  cutOff: number
  tokens: number
}

/**
 * So many random schemas through a whole local stack with the real model, the untuned one and an adapter in turn, streamed
 * and not, one answer and three, at temperatures from 0 to 2, beside free answers. Every whole answer must parse and
 * validate, and every other must say that it was cut off.
 */
export async function fuzzStructure(count: number): Promise<boolean> {
  await using quartet = await startQuartet(1)
  const ajv = new Ajv2020({ strict: false, validateFormats: false })
  const counts: Counts = { answers: 0, whole: 0, cutOff: 0, tokens: 0 }
  const faults: string[] = []
  const roots = fc
    .sample(schema, { numRuns: count, seed: 14 })
    .map((generated) => ({ $defs: { tree }, anyOf: [generated] }))
  const client = new OpenAI({
    baseURL: `${quartet.edge}/v1`,
    apiKey: quartet.key,
    maxRetries: 0,
    timeout: 600_000,
  })
  let next = 0
  const worker = async (): Promise<void> => {
    for (let at = next++; at < roots.length; at = next++) {
      const root = roots[at] ?? {}
      const free = at % 2 === 0 ? freeAnswer(client, quartet, at) : undefined
      try {
        for (const { finish, text } of await held(client, quartet, { at, root, counts })) {
          const fault = faultOf({ finish, text }, { isValid: (value) => ajv.validate(root, value), counts })
          if (fault !== undefined) faults.push(`${fault}: ${text} under ${JSON.stringify(root)}`)
        }
      } catch (error) {
        faults.push(`${error instanceof Error ? error.message : error}: under ${JSON.stringify(root)}`)
      }
      await free
    }
  }
  await Promise.all(Array.from({ length: together }, worker))
  for (const fault of faults) console.log(fault)
  return report(`${count} random schemas through the whole stack, beside free answers`, [
    { name: 'answers', value: counts.answers, unit: '' },
    { name: 'tokens', value: counts.tokens, unit: '' },
    { name: 'whole ones', value: counts.whole, unit: '' },
    { name: 'cut off by max_tokens', value: counts.cutOff, unit: '' },
    { name: 'faults', value: faults.length, unit: '', bound: { kind: 'at most', value: 0 } },
  ])
}

interface Answer {
  text: string
  finish: string | null
}

async function held(
  client: OpenAI,
  { adapters, backbone }: Quartet,
  { at, counts, root }: { at: number; root: object; counts: Counts },
): Promise<readonly Readonly<Answer>[]> {
  const n = at % 3 === 0 ? 3 : 1
  const body = {
    model: at % 4 === 0 ? (adapters[0] ?? backbone) : backbone,
    messages: [{ role: 'user' as const, content: `Answer number ${at} in JSON.` }],
    response_format: {
      type: 'json_schema' as const,
      json_schema: { name: 'form', schema: { ...root }, strict: false },
    },
    temperature: temperatures[at % temperatures.length] ?? 1,
    seed: at,
    max_tokens: mostTokens,
    n,
  }
  if (at % 2 === 0) {
    const { choices, usage } = await client.chat.completions.create(body)
    counts.tokens += usage?.completion_tokens ?? 0
    return choices.map(({ finish_reason, message }) => ({
      text: message.content ?? '',
      finish: finish_reason,
    }))
  }
  const answers = Array.from({ length: n }, (): Answer => ({ text: '', finish: null }))
  const stream = await client.chat.completions.create({
    ...body,
    stream: true,
    stream_options: { include_usage: true },
  })
  for await (const { choices, usage } of stream) {
    counts.tokens += usage?.completion_tokens ?? 0
    for (const { delta, finish_reason, index } of choices) {
      const answer = answers[index]
      if (answer === undefined) throw new Error(`a choice ${index} of ${n}`)
      answer.text += delta.content ?? ''
      answer.finish ??= finish_reason
    }
  }
  return answers
}

async function freeAnswer(client: OpenAI, { backbone }: Quartet, at: number): Promise<void> {
  const stream = await client.completions.create({
    model: backbone,
    prompt: `Story ${at}:`,
    max_tokens: 40,
    temperature: 1,
    seed: at,
    stream: true,
  })
  for await (const _ of stream);
}

function faultOf(
  { finish, text }: Readonly<Answer>,
  { counts, isValid }: { isValid: (value: unknown) => boolean; counts: Counts },
): string | undefined {
  counts.answers += 1
  if (finish === 'length') {
    counts.cutOff += 1
    return undefined
  }
  if (finish !== 'stop') return `it ended with ${finish}`
  counts.whole += 1
  try {
    return isValid(JSON.parse(text)) ? undefined : 'it does not validate'
  } catch {
    return 'it does not parse'
  }
}
