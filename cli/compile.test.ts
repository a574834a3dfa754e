import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { openCache } from '../model/backbone/cache.ts'
import { importBackbone } from '../model/import/import.ts'
import { parseAdapterFile } from '../shared/adapter-file.ts'
import { writeGguf } from '../test/model-files.ts'
import { adapterCommand } from './adapter.ts'
import { describeFailure } from './command/failure.ts'

/** `quartet adapter compile` on a small random backbone. */

let folder: string
const path = (name: string) => join(folder, name)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-compile-'))
  vi.stubEnv('QUARTET_CACHE', path('cache'))
  await writeGguf(path('tiny.gguf'))
  await importBackbone({
    path: path('tiny.gguf'),
    slug: 'tiny',
    weights: 'q8',
    destination: openCache().backbone('tiny', 'q8'),
    signal: new AbortController().signal,
    onProgress: () => {},
  })
  await mkdir(path('folder'))
  await writeFile(path('text.txt'), 'hello world')
  await writeFile(path('mark.txt'), '\ufeffhello world')
  await writeFile(path('latin1.txt'), Buffer.from('caf\u00e9', 'latin1'))
  await writeFile(path('messages.json'), '[{"role": "user"}]')
})
afterAll(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true })
})

async function compile(...words: readonly string[]): Promise<void> {
  const spies = [process.stdout, process.stderr].map((stream) =>
    vi.spyOn(stream, 'write').mockReturnValue(true),
  )
  try {
    await adapterCommand().parseAsync(['compile', '--backbone', 'tiny', ...words], { from: 'user' })
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}

const refusal = (...words: readonly string[]): Promise<string> =>
  compile(...words).then(
    () => 'it was not refused',
    (error: unknown) => describeFailure(error),
  )

describe('adapter compile', () => {
  it('replaces a file only when it is told to, and never the one that it reads', async () => {
    await writeFile(path('trained.safetensors'), 'hours of work')
    const out = ['--out', path('trained.safetensors')]
    expect(await refusal('--text', 'hello', ...out)).toBe(
      `${path('trained.safetensors')} is there already; choose another --out, or replace it with --force`,
    )
    expect(await readFile(path('trained.safetensors'), 'utf8')).toBe('hours of work')
    await compile('--text', 'hello', ...out, '--force')
    expect(parseAdapterFile(await readFile(path('trained.safetensors'))).metadata.kind).toBe('static')
    for (const option of ['--text-file', '--messages'])
      expect(await refusal(option, path('text.txt'), '--out', path('text.txt'), '--force')).toMatch(
        /--out .*text.txt would write over a file that this command reads/,
      )
    expect(await readFile(path('text.txt'), 'utf8')).toBe('hello world')
  })

  it('reads a file of text without the mark in front of it, and no bytes that are no text', async () => {
    await compile('--text-file', path('mark.txt'), '--out', path('mark.safetensors'))
    await compile('--text', 'hello world', '--out', path('plain.safetensors'))
    expect(await readFile(path('mark.safetensors'))).toEqual(await readFile(path('plain.safetensors')))
    expect(await refusal('--text-file', path('latin1.txt'), '--out', path('a'))).toBe(
      `${path('latin1.txt')} is not UTF-8 text; save the file as UTF-8`,
    )
  })

  it('says in front of any work, in one line, which option cannot be and what helps', async () => {
    expect(await refusal('--text', '', '--out', path('a'))).toBe('--text is empty')
    expect(await refusal('--system', '', '--out', path('a'))).toBe('--system is empty')
    expect(await refusal('--text-file', '', '--out', path('a'))).toBe('--text-file is empty; name a file')
    expect(await refusal('--text', 'hello', '--out', '')).toBe('--out is empty; name a file')
    expect(await refusal('--text', 'hello', '--out', path('folder'))).toBe(
      `--out ${path('folder')} is a folder; name a file in it`,
    )
    expect(await refusal('--text', 'hello', '--out', path('none/a'))).toBe(
      `the folder ${path('none')} is not there; make it, or choose another --out`,
    )
    expect(await refusal('--text-file', path('folder'), '--out', path('a'))).toBe(
      `${path('folder')} is a folder; name a file in it`,
    )
    expect(await refusal('--messages', path('messages.json'), '--out', path('a'))).toMatch(
      /messages.json is not a list of chat messages: message 1: content .*; write \[\{/,
    )
    expect(await readdir(path('folder'))).toEqual([])
  })
})
