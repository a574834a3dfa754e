import { Engine } from '../gpu-node/engine/engine.ts'
import type { Backend } from '../model/runtime/backend.ts'
import { openBenchBackend } from './backend.ts'
import { type EngineRun, runRequest, textIds } from './engine-run.ts'
import { report } from './report.ts'
import { compare, median, timed } from './statistics.ts'

const systemTokens = 1_500
const turns = 10
const questionTokens = 20
const answerTokens = 24
const queue = { total: 16, perTenant: 16 }
const prefixBytes = 512 * 1024 ** 2

/** A chat of ten turns, each over all that was said before. */
async function chat(backend: Backend, engine: Engine): Promise<readonly EngineRun[]> {
  const runs: EngineRun[] = []
  let prompt = textIds(systemTokens, 1)
  for (let turn = 0; turn < turns; turn++) {
    prompt = [...prompt, ...textIds(questionTokens, 100 + turn)]
    const run = await runRequest(engine, { backbone: backend.backbone, prompt, maxTokens: answerTokens })
    runs.push(run)
    prompt = [...prompt, ...run.ids]
  }
  return runs
}

/** `npm run bench -- prefix`: a conversation with and without kept rows, and prompts that never come again. */
export async function benchPrefix(): Promise<boolean> {
  const { backend } = await openBenchBackend()
  const engineWith = (bytes: number) => new Engine({ backend, queue, prefixBytes: bytes })
  const without = await chat(backend, engineWith(0))
  const reusing = await chat(backend, engineWith(prefixBytes))
  const ratios = reusing
    .slice(1)
    .map(({ firstTokenMs }, at) => firstTokenMs / (without[at + 1]?.firstTokenMs ?? 0))
  const differing = reusing.filter(({ ids }, at) => ids.join() !== without[at]?.ids.join()).length

  const [keeping, plain] = [engineWith(prefixBytes), engineWith(0)]
  let seed = 1_000
  const fresh = (engine: Engine) => () =>
    timed(() =>
      runRequest(engine, { backbone: backend.backbone, prompt: textIds(512, seed++), maxTokens: 1 }),
    )
  const once = await compare(15, { a: fresh(keeping), b: fresh(plain) })

  const known = textIds(512, seed++)
  await runRequest(keeping, { backbone: backend.backbone, prompt: known, maxTokens: 1 })
  let others = 0
  // A tenant that was never seen asks what another's conversation was.
  const byAnother = () => {
    const tenant = `other-${others++}`
    return timed(() =>
      runRequest(keeping, { backbone: backend.backbone, prompt: known, maxTokens: 1, tenant }),
    )
  }
  const across = await compare(7, { a: byAnother, b: fresh(keeping) })
  await backend.close()
  return report('Prefix reuse: ten turns over a system prompt of 1,500 tokens', [
    {
      name: 'first token from turn 2 on, without reuse',
      value: median(without.slice(1).map(({ firstTokenMs }) => firstTokenMs)),
      unit: 'ms',
    },
    {
      name: 'the same, with reuse',
      value: median(reusing.slice(1).map(({ firstTokenMs }) => firstTokenMs)),
      unit: 'ms',
    },
    {
      name: 'with / without, median',
      value: median(ratios),
      unit: '×',
      bound: { kind: 'at most', value: 0.15 },
    },
    { name: 'with / without, worst turn', value: Math.max(...ratios), unit: '×' },
    { name: 'turns whose tokens differ', value: differing, unit: '', bound: { kind: 'at most', value: 0 } },
    {
      name: 'prompts of 512 that never repeat, keeping / not',
      value: once.ratio,
      unit: '×',
      bound: { kind: 'at most', value: 1.01 },
    },
    {
      name: 'what another tenant has asked before / what nobody has',
      value: across.ratio,
      unit: '×',
      bound: { kind: 'at least', value: 0.97 },
    },
  ])
}
