import type { Backend, LoadedAdapter } from '../model/runtime/backend.ts'
import { adapterTensorSpecs } from '../shared/adapter-file.ts'
import { openBenchBackend } from './backend.ts'
import { randomAdapter } from './random-adapter.ts'
import { cpuTimed, lowerQuartileRatio } from './statistics.ts'

const tokens = Array.from({ length: 256 }, (_, at) => 1000 + ((at * 7919) % 20_000))
const rounds = 11

/** One setting for each thing that can cost time. All have four rows where nothing else is said. */
const settings: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'iapt, m 64': { kind: 'iapt', m: '64' },
  'iapt, m 16': { kind: 'iapt', m: '16' },
  static: { kind: 'static' },
  'static, 20 rows': { kind: 'static', l_sp: '20' },
  'idpg, own generators, m 16': { kind: 'idpg', m: '16' },
  'idpg, own generators, m 64': { kind: 'idpg', m: '64' },
  'idpg, shared generator, m 64': { kind: 'idpg', m: '64', generator: 'shared', anchor: 'own' },
  'idpg at 0, m 64': { kind: 'idpg', m: '64', at: '0' },
  'lpt at 15, m 64': { kind: 'lpt', m: '64', at: '15' },
  'ipt, m 16': { kind: 'ipt', m: '16' },
}

async function prefill(backend: Backend, adapter?: LoadedAdapter): Promise<number> {
  const slot = backend.allocate(tokens.length + (adapter?.rows ?? 0))
  if (slot === undefined) throw new Error('the backend has no room for the benchmark; raise its limits')
  const time = await cpuTimed(() => backend.prefill({ slot, tokens, ...(adapter && { adapter }) }))
  slot.release()
  return time
}

/** The costs of each kind of adapter in parameters, memory and prefill. Informs; holds nothing to a bound. */
export async function benchKinds(): Promise<boolean> {
  // One thread: several would wait for each other busily, and count that as work.
  const { backend, manifest } = await openBenchBackend({ threads: 1 })
  const table = []
  for (const [name, metadata] of Object.entries(settings)) {
    const file = randomAdapter(manifest, { seed: 1, metadata })
    const adapter = backend.loadAdapter(file)
    const ratio = await lowerQuartileRatio(rounds, {
      a: () => prefill(backend, adapter),
      b: () => prefill(backend),
    })
    const sizes = Array.from(adapterTensorSpecs(file.metadata).values(), ({ shape }) =>
      shape.reduce((product, n) => product * n, 1),
    )
    table.push({
      kind: name,
      parameters: sizes.reduce((sum, size) => sum + size),
      'resident, MB': Number((adapter.bytes / 1e6).toFixed(2)),
      'prefill of 256 tokens, against none': Number(ratio.toFixed(3)),
    })
  }
  await backend.close()
  console.log(`\nkinds: ${manifest.slug}, CPU time of one thread, lower quartiles of ${rounds} runs in turn`)
  console.table(table)
  return true
}
