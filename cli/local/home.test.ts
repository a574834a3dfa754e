import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { assertDiskSpace } from './disk-space.ts'
import { type Home, homeAt, makeHome } from './home.ts'
import { lockHome } from './home-lock.ts'
import { assertPortFree } from './port.ts'
import { ensureLocalSecrets } from './secrets.ts'

let home: Home

beforeEach(async () => {
  home = homeAt(await mkdtemp(join(tmpdir(), 'quartet-home-')))
  await makeHome(home)
})

afterEach(() => rm(home.folder, { recursive: true }))

it('secrets are made once, differ from each other, and only the owner can read them', async () => {
  const first = await ensureLocalSecrets(home)
  expect(await ensureLocalSecrets(home)).toEqual(first)
  expect(first.nodeSecret).not.toBe(first.adminKey)
  expect((await stat(home.secrets)).mode & 0o777).toBe(0o600)
})

it('a home that cannot be made is refused at once, with the cause', async () => {
  await writeFile(join(home.folder, 'file'), '')
  await expect(makeHome(homeAt(join(home.folder, 'file')))).rejects.toThrow(/file is a file/)
  await expect(makeHome(homeAt(join(home.folder, 'file', 'below')))).rejects.toMatchObject({
    code: 'ENOTDIR',
  })
  await expect(makeHome(homeAt('/proc/quartet/below'))).rejects.toMatchObject({ code: 'ENOENT' })
})

it('a home is made with the folders above it', async () => {
  const deep = homeAt(join(home.folder, 'a', 'b'))
  await makeHome(deep)
  expect((await stat(deep.logs)).isDirectory()).toBe(true)
})

it('a damaged secrets file is an error that names it, and it is not replaced', async () => {
  await writeFile(home.secrets, '{"nodeSecret": ')
  await expect(ensureLocalSecrets(home)).rejects.toThrow(`${home.secrets} cannot be read: it is not JSON`)
  expect(await readFile(home.secrets, 'utf8')).toBe('{"nodeSecret": ')
})

it('a disk that is too full for a stack is refused in megabytes', async () => {
  await assertDiskSpace(home.folder)
  const moreThanAnyDisk = 2 ** 62
  await expect(assertDiskSpace(home.folder, moreThanAnyDisk)).rejects.toThrow(
    /is full: \d+ MB are free and 4398046511104 MB are needed/,
  )
})

it('one home runs one stack, and is free again when its process is killed', async () => {
  const script = `
    import { lockHome } from ${JSON.stringify(new URL('./home-lock.ts', import.meta.url))}
    import { homeAt } from ${JSON.stringify(new URL('./home.ts', import.meta.url))}
    globalThis.lock = lockHome(homeAt(${JSON.stringify(home.folder)}))
    console.log('locked')
    setInterval(() => {}, 1000)`
  const holder = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    await once(holder.stdout, 'data')
    expect(() => lockHome(home)).toThrow(/another quartet start runs/)
  } finally {
    holder.kill('SIGKILL')
    await once(holder, 'exit')
  }
  lockHome(home)[Symbol.dispose]()
})

it('a busy port is named with the flag and the variable that choose another', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const named = { port, flag: '--edge-port', env: 'QUARTET_EDGE_PORT' }
  try {
    await expect(assertPortFree(named)).rejects.toMatchObject({
      message: `port ${port} is in use`,
      remedy: 'stop what uses it, or choose another with --edge-port or QUARTET_EDGE_PORT',
    })
  } finally {
    server.close()
  }
  await once(server, 'close')
  await assertPortFree(named)
})
