import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import type { BackboneManifest } from '../shared/backbone.ts'
import { nodeClient, readEvents } from '../test/contract/node-client.ts'
import type { Figure } from './report.ts'
import { timed } from './statistics.ts'

const HeldUp = z.object({ wall: z.number(), cpu: z.number() })
type HeldUp = z.infer<typeof HeldUp>

const promptTokens = 2000
const pollMs = 10

/** How a node answers others while it reads a long prompt. */
export async function healthFigures(manifest: BackboneManifest): Promise<Figure[]> {
  const child = fork(new URL('./engine-node.ts', import.meta.url), { stdio: 'inherit' })
  try {
    const url = z.url().parse(await answer(child))
    const { generate } = nodeClient(url)
    await heldUp(child)
    let reading = true
    const prompt = Array.from({ length: promptTokens }, (_, at) => 1000 + ((at * 7919) % 20_000))
    const read = generate({ backbone: manifest.digest, prompt, maxTokens: 1, timeoutMs: 300_000 })
      .then(readEvents)
      .finally(() => {
        reading = false
      })
    const answers: number[] = []
    while (reading) {
      answers.push(await timed(async () => (await fetch(`${url}/health`)).text()))
      await delay(pollMs)
    }
    const last = (await read).at(-1)
    if (last?.type !== 'done') throw new Error(`the prompt was not read: ${JSON.stringify(last)}`)
    const held = await heldUp(child)
    return [
      {
        name: `slowest of ${answers.length} answers to /health while ${promptTokens} prompt tokens run`,
        value: Math.max(...answers),
        unit: 'ms',
        bound: { kind: 'at most', value: 50 },
      },
      {
        name: 'longest that heartbeats were held up meanwhile',
        value: held.wall,
        unit: 'ms',
        bound: { kind: 'at most', value: 50 },
      },
      {
        name: '… in CPU time of their thread, which other processes do not lengthen',
        value: held.cpu,
        unit: 'ms',
        bound: { kind: 'at most', value: 50 },
      },
    ]
  } finally {
    child.disconnect()
  }
}

async function answer(child: ChildProcess): Promise<unknown> {
  const [message]: unknown[] = await once(child, 'message')
  return message
}

async function heldUp(child: ChildProcess): Promise<HeldUp> {
  child.send('held up?')
  return HeldUp.parse(await answer(child))
}
