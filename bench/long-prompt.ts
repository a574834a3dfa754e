import { Engine } from '../gpu-node/engine/engine.ts'
import { openBenchBackend } from './backend.ts'
import { runRequest, textIds } from './engine-run.ts'
import { report } from './report.ts'

const queue = { total: 16, perTenant: 16 }
const stepMs = 100

/** `npm run bench -- long-prompt` measures the cost of a long prompt, and its cost for the streams beside it. */
export async function benchLongPrompt(): Promise<boolean> {
  const { backend } = await openBenchBackend()
  const engine = new Engine({ backend, queue, stepMs })
  const msPerToken = async (length: number, seed: number) => {
    const prompt = textIds(length, seed)
    const { firstTokenMs } = await runRequest(engine, { backbone: backend.backbone, prompt, maxTokens: 1 })
    return firstTokenMs / length
  }
  await msPerToken(512, 1)
  const before = await msPerToken(512, 2)
  const long = await msPerToken(7_880, 3)
  const short = (before + (await msPerToken(512, 4))) / 2

  let isRead = false
  const streams = [1, 2, 3, 4].map(async (seed) => {
    let longestGapMs = 0
    // Streams go on for as long as the prompt is read.
    for (let round = 0; !isRead; round++) {
      const prompt = textIds(8, 10 + seed + 100 * round)
      const run = await runRequest(engine, { backbone: backend.backbone, prompt, maxTokens: 200 })
      longestGapMs = Math.max(longestGapMs, run.longestGapMs)
    }
    return longestGapMs
  })
  const beside = await msPerToken(7_000, 5)
  isRead = true
  const gap = Math.max(...(await Promise.all(streams)))
  await backend.close()
  return report('A long prompt', [
    { name: 'prefill of 512 tokens, per token', value: short, unit: 'ms' },
    { name: 'prefill of 7,880 tokens, per token', value: long, unit: 'ms' },
    {
      name: '7,880 / 512, per token',
      value: long / short,
      unit: '×',
      bound: { kind: 'at most', value: 2.5 },
    },
    { name: 'prefill of 7,000 tokens beside four streams, per token', value: beside, unit: 'ms' },
    {
      name: 'the longest pause of the four streams, in steps of 100 ms',
      value: gap / stepMs,
      unit: '×',
      bound: { kind: 'at most', value: 2 },
    },
  ])
}
