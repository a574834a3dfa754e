import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { lstat, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { describeFailure } from '../command/failure.ts'
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

it('a link stays, and the file behind it is replaced', async () => {
  await writeFile(path, 'old')
  const link = join(folder, 'link')
  await symlink('kept', link)
  await writeFileAtomically(link, { data: 'new', mode: 0o600 })
  expect((await lstat(link)).isSymbolicLink()).toBe(true)
  expect(await readFile(path, 'utf8')).toBe('new')
  expect((await readdir(folder)).sort()).toEqual(['kept', 'link'])
})

it('a pipe is written to and stays, as /dev/stdout must', async () => {
  await promisify(execFile)('mkfifo', [path])
  const reader = spawn('cat', [path], { stdio: ['ignore', 'pipe', 'ignore'] })
  const read = text(reader.stdout)
  await writeFileAtomically(path, { data: 'through', mode: 0o600 })
  expect(await read).toBe('through')
  expect((await stat(path)).isFIFO()).toBe(true)
  expect(await readdir(folder)).toEqual(['kept'])
})

it('a write that fails names the file that was asked for', async () => {
  const says = (target: string) =>
    writeFileAtomically(target, { data: 'new', mode: 0o600 }).then(
      () => 'it was written',
      (error: unknown) => describeFailure(error),
    )
  const away = join(folder, 'away', 'file')
  expect(await says(away)).toBe(`no such file or folder (${away}); check the path`)
  expect(await says(folder)).toBe(`a file was expected and this is a folder (${folder}); name a file`)
  await writeFile(path, 'a file')
  const inside = join(path, 'file')
  expect(await says(inside)).toBe(`a folder was expected and this is a file (${inside}); name a folder`)
})
