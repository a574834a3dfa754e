import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { CliFailure } from '../command/failure.ts'

/** A question to one tenant's model, as a client would ask it. */
export interface Question {
  readonly edge: string
  readonly key: string
  readonly model: string
  readonly question: string
  readonly maxTokens: number
}

const body = ({ model, question, maxTokens }: Question) =>
  JSON.stringify({
    model,
    messages: [{ role: 'user', content: question }],
    temperature: 0,
    max_tokens: maxTokens,
  })

export const shellQuote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** A shell command that asks the question. */
export function curlLine(question: Question): string {
  return [
    `curl -s ${question.edge}/v1/chat/completions`,
    `-H ${shellQuote(`Authorization: Bearer ${question.key}`)}`,
    `-H ${shellQuote('Content-Type: application/json')}`,
    `-d ${shellQuote(body(question))}`,
  ].join(' ')
}

const ChatAnswer = z.object({
  choices: z.array(z.object({ message: z.object({ content: z.string() }) })).min(1),
})

const retryForMs = 15_000

/** The model's answer. A stack that has just started gets a moment to route to its node. */
export async function ask(question: Question): Promise<string> {
  const deadline = Date.now() + retryForMs
  for (;;) {
    const response = await fetch(`${question.edge}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${question.key}`, 'content-type': 'application/json' },
      body: body(question),
    })
    const text = await response.text()
    if (response.ok) return ChatAnswer.parse(JSON.parse(text)).choices[0]?.message.content ?? ''
    if (response.status !== 503 || Date.now() > deadline)
      throw new CliFailure(`${question.model} does not answer: ${response.status} ${text}`, {
        remedy: 'see the logs under QUARTET_HOME/logs',
      })
    await delay(100)
  }
}
