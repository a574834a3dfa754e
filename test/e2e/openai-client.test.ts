import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { nodeGauge } from './node-metrics.ts'
import { clientOf, pirate, stack } from './shared-stack.ts'

/** The official `openai` package, unmodified, against the real stack. */

const client = clientOf(pirate.key)
const base = { model: stack.backbone, temperature: 0, max_tokens: 24 } as const
const sea = [{ role: 'user', content: 'Tell me about the sea.' }] as const

const chat = { ...base, messages: [...sea] }

describe('chat completions', () => {
  it('answer with text, a finish reason and counts that add up', async () => {
    const completion = await client.chat.completions.create(chat)
    expect(completion.choices[0]?.message.content).toMatch(/sea/i)
    expect(completion.choices[0]?.finish_reason).toBe('length')
    const { prompt_tokens = 0, completion_tokens = 0, total_tokens = 0 } = completion.usage ?? {}
    expect(prompt_tokens).toBeGreaterThan(10)
    expect(completion_tokens).toBe(24)
    expect(total_tokens).toBe(prompt_tokens + completion_tokens)
  })

  it('streamed say the same as not streamed, in many pieces, with usage at the end when asked for', async () => {
    const whole = await client.chat.completions.create(chat)
    const stream = await client.chat.completions.create({
      ...chat,
      stream: true,
      stream_options: { include_usage: true },
    })
    const pieces: string[] = []
    const usages: unknown[] = []
    for await (const chunk of stream) {
      const text = chunk.choices[0]?.delta.content
      if (text) pieces.push(text)
      if (chunk.usage) usages.push(chunk.usage)
    }
    expect(pieces.length).toBeGreaterThan(5)
    expect(pieces.join('')).toBe(whole.choices[0]?.message.content)
    expect(usages).toEqual([whole.usage])
  })

  it('stop at a stop string that lies across tokens, and never show it', async () => {
    const { choices } = await client.chat.completions.create(chat)
    const text = choices[0]?.message.content ?? ''
    const middle = text.slice(12, 19)
    const cut = await client.chat.completions.create({ ...chat, stop: middle })
    expect(cut.choices[0]?.message.content).toBe(text.slice(0, text.indexOf(middle)))
    expect(cut.choices[0]?.finish_reason).toBe('stop')
    expect(cut.usage?.completion_tokens).toBeLessThan(24)
  })

  it('give n choices, counted together', async () => {
    const completion = await client.chat.completions.create({ ...chat, n: 2, temperature: 1, seed: 7 })
    expect(completion.choices.map(({ index }) => index)).toEqual([0, 1])
    expect(completion.choices[0]?.message.content).not.toBe(completion.choices[1]?.message.content)
    expect(completion.usage?.completion_tokens).toBe(48)
  })

  it('with the same seed are the same', async () => {
    const sampled = { ...chat, temperature: 1, seed: 42 }
    const [first, second, other] = await Promise.all([
      client.chat.completions.create(sampled),
      client.chat.completions.create(sampled),
      client.chat.completions.create({ ...sampled, seed: 43 }),
    ])
    expect(second.choices[0]?.message.content).toBe(first.choices[0]?.message.content)
    expect(other.choices[0]?.message.content).not.toBe(first.choices[0]?.message.content)
  })

  it('give log-probabilities of what was chosen and of the alternatives, best first', async () => {
    const { choices } = await client.chat.completions.create({ ...chat, logprobs: true, top_logprobs: 3 })
    const content = choices[0]?.logprobs?.content ?? []
    expect(content.map(({ token }) => token).join('')).toBe(choices[0]?.message.content)
    for (const { logprob, token, top_logprobs } of content) {
      expect(logprob).toBeLessThanOrEqual(0)
      expect(top_logprobs).toHaveLength(3)
      expect(top_logprobs[0]?.token).toBe(token)
    }
  })

  it('name the model, the request and the node in headers', async () => {
    const { response, request_id } = await client.chat.completions.create(chat).withResponse()
    expect(request_id).toMatch(/^req_[0-9a-f]{32}$/)
    expect(response.headers.get('server-timing')).toMatch(/auth/)
  })
})

describe('completions', () => {
  it('continue a text, streamed or not', async () => {
    const asked = { ...base, prompt: 'The capital of France is' }
    const whole = await client.completions.create(asked)
    expect(whole.choices[0]?.text).toMatch(/Paris/)
    let streamed = ''
    for await (const chunk of await client.completions.create({ ...asked, stream: true }))
      streamed += chunk.choices[0]?.text ?? ''
    expect(streamed).toBe(whole.choices[0]?.text)
  })

  it('take token ids as well', async () => {
    const completion = await client.completions.create({ ...base, prompt: [504, 3575, 282, 4649, 314] })
    expect(completion.usage?.prompt_tokens).toBe(5)
  })
})

it('models lists the tenant’s own aliases and the backbone', async () => {
  const ids = (await client.models.list()).data.map(({ id }) => id)
  expect(ids).toContain('pirate')
  expect(ids).toContain(stack.backbone)
  expect(ids).not.toContain('tickets')
})

describe('a client that aborts', () => {
  it('gets an APIUserAbortError and the node stops its work', async () => {
    const controller = new AbortController()
    const stream = await client.chat.completions.create(
      { ...chat, max_tokens: 1500, ...{ ignore_eos: true }, stream: true },
      { signal: controller.signal },
    )
    let pieces = 0
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta.content) pieces += 1
      if (pieces === 3) controller.abort()
    }
    expect(pieces).toBeLessThan(100)
    await expect.poll(() => nodeGauge(stack.node, 'running'), { timeout: 5000 }).toBe(0)
  })
})

describe('errors are the package’s own', () => {
  it('a wrong key', async () => {
    const stranger = new OpenAI({ baseURL: `${stack.edge}/v1`, apiKey: 'qk_wrong', maxRetries: 0 })
    await expect(stranger.chat.completions.create(chat)).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
  })

  it('a model that is not there', async () => {
    const asked = client.chat.completions.create({ ...chat, model: 'nobody' })
    await expect(asked).rejects.toMatchObject({ status: 404, code: 'model_not_found', param: 'model' })
  })

  it('a parameter that is not supported, by name', async () => {
    const asked = client.chat.completions.create({
      ...chat,
      web_search_options: {},
    })
    await expect(asked).rejects.toBeInstanceOf(OpenAI.BadRequestError)
    await expect(asked).rejects.toMatchObject({ code: 'unsupported_parameter', param: 'web_search_options' })
  })
})
