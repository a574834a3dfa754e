import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { Messages } from '../../cli/compile/messages.ts'
import { cafe, clientOf, helpDesk, pirate, stack } from './shared-stack.ts'

/** These tests try the trained and compiled adapters of the demo tenants. */

type Message = Messages[number]

const answers = { temperature: 0, max_tokens: 32 } as const
const sky: Message = { role: 'user', content: 'Why is the sky blue?' }
const lost: Message = { role: 'user', content: 'Where is my parcel? It should be here by now.' }

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

  it('sort tickets into queues with one word', async () => {
    expect(await chat(helpDesk.key, { model: 'tickets', messages: [lost] })).toBe('shipping')
    const charged: Message = { role: 'user', content: 'You charged my card twice this month.' }
    expect(await chat(helpDesk.key, { model: 'tickets', messages: [charged] })).toBe('billing')
    const untuned = await chat(helpDesk.key, { model: stack.backbone, messages: [lost] })
    expect(untuned.split(' ').length).toBeGreaterThan(5)
  })

  it('turn an order into a line of JSON', async () => {
    const order: Message = { role: 'user', content: 'Two lattes and a croissant to go, please.' }
    const written = await chat(cafe.key, { model: 'orders', messages: [order] })
    expect(JSON.parse(written)).toEqual({ items: { latte: 2, croissant: 1 }, to_go: true })
    expect(await chat(cafe.key, { model: stack.backbone, messages: [order] })).not.toContain('"items"')
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
      tickets: await chat(helpDesk.key, { model: 'tickets', messages: [lost] }),
    }
    const rounds = await Promise.all(
      Array.from({ length: 4 }, async () => ({
        base: await chat(helpDesk.key, { model: stack.backbone, messages: [sky] }),
        pirate: await chat(pirate.key, { model: 'pirate', messages: [sky] }),
        tickets: await chat(helpDesk.key, { model: 'tickets', messages: [lost] }),
      })),
    )
    for (const together of rounds) expect(together).toEqual(alone)
  })
})

describe('tenants', () => {
  it('a key never reaches another tenant’s alias: 404 in the same words as for no alias at all', async () => {
    const ask = (model: string) => chat(pirate.key, { model, messages: [lost] })
    const refusal = await ask('tickets').catch((error: Error) => error.message.replace('tickets', 'X'))
    expect(refusal).toMatch(/^404/)
    expect(
      await ask('never-existed').catch((error: Error) => error.message.replace('never-existed', 'X')),
    ).toBe(refusal)
  })
})
