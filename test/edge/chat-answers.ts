import { expect } from 'vitest'
import { readSse } from './edge.ts'

export interface ChatAnswer {
  readonly choices: readonly { readonly message: { readonly content: string } }[]
}

/** The text of an answer of one choice. */
export const content = async (response: Response) =>
  (await response.json<{ choices: [{ message: { content: string } }] }>()).choices[0].message.content

/** The text of each choice of a stream that ended well. */
export async function textsOf(response: Response): Promise<string[]> {
  const texts: string[] = []
  const events = await readSse(response)
  expect(events.pop()).toBe('[DONE]')
  for (const event of events) {
    const [choice] = JSON.parse(event).choices
    texts[choice.index] = (texts[choice.index] ?? '') + (choice.delta.content ?? '')
  }
  return texts
}
