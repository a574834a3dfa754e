import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { Messages } from '../../cli/adapter-source.ts'
import { clientOf, pirate, reviewDesk, stack } from './shared-stack.ts'

/** The two demo tenants: what their compiled adapters do, and what they must not do. */

type Message = Messages[number]

const answers = { temperature: 0, max_tokens: 32 } as const
const sky: Message = { role: 'user', content: 'Why is the sky blue?' }
const review: Message = { role: 'user', content: 'Review: The hotel room was dirty and loud.\nSentiment:' }

async function chat(key: string, { model, messages }: { model: string; messages: readonly Message[] }) {
  const completion = await clientOf(key).chat.completions.create({
    ...answers,
    model,
    messages: [...messages],
  })
  return completion.choices[0]?.message.content ?? ''
}

const demo = async (name: string) =>
  Messages.parse(JSON.parse(await readFile(new URL(`../../demo/${name}.json`, import.meta.url), 'utf8')))

describe('the demo adapters', () => {
  it('make a pirate of the same backbone', async () => {
    const tuned = await chat(pirate.key, { model: 'pirate', messages: [sky] })
    const untuned = await chat(pirate.key, { model: stack.backbone, messages: [sky] })
    expect(tuned).toMatch(/^Arrr, matey!/)
    expect(untuned).toMatch(/scattering/)
    expect(untuned).not.toMatch(/arrr/i)
  })

  it('teach one-word verdicts by example', async () => {
    expect(await chat(reviewDesk.key, { model: 'sentiment', messages: [review] })).toBe('negative')
    const praise: Message = {
      role: 'user',
      content: 'Review: Best pizza in town, friendly waiters.\nSentiment:',
    }
    expect(await chat(reviewDesk.key, { model: 'sentiment', messages: [praise] })).toBe('positive')
    expect(await chat(reviewDesk.key, { model: stack.backbone, messages: [review] })).not.toBe('negative')
  })
})

describe('an adapter compiled from a conversation equals that conversation in front of the prompt', () => {
  const questions = [
    'How do I reset my password?',
    'I really enjoyed the concert, thank you!',
    'Who are you?',
  ]
  it.each(questions)('%s', async (content) => {
    const question: Message = { role: 'user', content }
    const [tuned, spelledOut] = await Promise.all([
      chat(pirate.key, { model: 'pirate', messages: [question] }),
      chat(pirate.key, { model: stack.backbone, messages: [...(await demo('pirate')), question] }),
    ])
    expect(tuned).toBe(spelledOut)
  })
})

describe('neighbours', () => {
  it('in the same batch change nobody’s answer', async () => {
    const alone = {
      base: await chat(pirate.key, { model: stack.backbone, messages: [sky] }),
      pirate: await chat(pirate.key, { model: 'pirate', messages: [sky] }),
      sentiment: await chat(reviewDesk.key, { model: 'sentiment', messages: [review] }),
    }
    const rounds = await Promise.all(
      Array.from({ length: 4 }, async () => ({
        base: await chat(reviewDesk.key, { model: stack.backbone, messages: [sky] }),
        pirate: await chat(pirate.key, { model: 'pirate', messages: [sky] }),
        sentiment: await chat(reviewDesk.key, { model: 'sentiment', messages: [review] }),
      })),
    )
    for (const together of rounds) expect(together).toEqual(alone)
  })
})

describe('tenants', () => {
  it('a key never reaches another tenant’s alias: 404 in the same words as for no alias at all', async () => {
    const ask = (model: string) => chat(pirate.key, { model, messages: [review] })
    const refusal = await ask('sentiment').catch((error: Error) => error.message.replace('sentiment', 'X'))
    expect(refusal).toMatch(/^404/)
    expect(
      await ask('never-existed').catch((error: Error) => error.message.replace('never-existed', 'X')),
    ).toBe(refusal)
  })
})
