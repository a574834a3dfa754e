import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { writeFileAtomically } from './atomic-file.ts'

let folder: string
let path: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-atomic-'))
  path = join(folder, 'kept')
})

afterEach(() => rm(folder, { recursive: true }))

/** A program that writes `bytes` bytes to the path, in a process that may be cut off. */
const writing = (bytes: number) => `
  import { writeFileAtomically } from ${JSON.stringify(new URL('./atomic-file.ts', import.meta.url))}
  await writeFileAtomically(${JSON.stringify(path)}, { data: Buffer.alloc(${bytes}, 'n'), mode: 0o600 })`

it('a file is replaced as a whole, with its mode', async () => {
  await writeFileAtomically(path, { data: 'old', mode: 0o600 })
  await writeFileAtomically(path, { data: 'new', mode: 0o644 })
  expect(await readFile(path, 'utf8')).toBe('new')
  expect((await stat(path)).mode & 0o777).toBe(0o644)
  expect(await readdir(folder)).toEqual(['kept'])
})

it('a write that fails when some of it is on the disk leaves the old file and no partial one', async () => {
  await writeFileAtomically(path, { data: 'old', mode: 0o600 })
  // In units of 512 bytes or of 1 KiB, by the shell.
  const limited = `ulimit -f 64 && exec "$0" --input-type=module --eval "$1"`
  const run = promisify(execFile)('sh', ['-c', limited, process.execPath, writing(10 * 2 ** 20)])
  await expect(run).rejects.toThrow(/EFBIG/)
  expect(await readFile(path, 'utf8')).toBe('old')
  expect(await readdir(folder)).toEqual(['kept'])
})

it('a process that is killed while it writes leaves the old file', async () => {
  await writeFileAtomically(path, { data: 'old', mode: 0o600 })
  const child = spawn(process.execPath, ['--input-type=module', '--eval', writing(512 * 2 ** 20)])
  const isPartial = async () => (await readdir(folder)).some((name) => name.endsWith('.partial'))
  while (!(await isPartial())) await new Promise((resolve) => setTimeout(resolve, 1))
  child.kill('SIGKILL')
  await once(child, 'exit')
  expect(await readFile(path, 'utf8')).toBe('old')
})
