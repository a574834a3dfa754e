import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type FakeHubModel, fakeHub, gitHash } from '../../test/fakes/fake-hub.ts'
import {
  encodeGguf,
  ggufMetadata,
  ggufTensors,
  tinySource,
  writeHuggingFace,
} from '../../test/model-files.ts'
import { verifyBackbone } from '../backbone/backbone-folder.ts'
import { openCache } from '../backbone/cache.ts'
import { type HubPullOptions, pullFromHub } from './hub-pull.ts'

let root: string
let notes: string[]
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'quartet-hub-'))
  notes = []
  vi.stubEnv('HF_HUB_CACHE', join(root, 'hub'))
  vi.stubEnv('HF_TOKEN', '')
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(root, { recursive: true })
})

const commit = 'c0ffee'.padEnd(40, '0')

/** A tiny model in both formats, as a repository. */
async function repository(changes: Partial<FakeHubModel> = {}): Promise<FakeHubModel> {
  const folder = join(root, 'repository')
  await writeHuggingFace(folder)
  const files = new Map<string, Uint8Array>([['README.md', new TextEncoder().encode('# Tiny')]])
  for (const name of await readdir(folder)) files.set(name, await readFile(join(folder, name)))
  return {
    commit,
    revisions: ['main'],
    licence: 'apache-2.0',
    files,
    large: /\.(safetensors|gguf)$/,
    ...changes,
  }
}

async function ggufFile(architecture = 'llama'): Promise<Uint8Array> {
  const source = tinySource()
  return encodeGguf(
    { ...ggufMetadata(source.config), 'general.architecture': architecture },
    await ggufTensors(source),
  )
}

async function hubOf(model: FakeHubModel) {
  const hub = await fakeHub({ 'Someone/Tiny-Model': model })
  vi.stubEnv('HF_ENDPOINT', hub.url)
  return hub
}

const pull = (options: Partial<HubPullOptions> = {}) =>
  pullFromHub({
    repo: 'Someone/Tiny-Model',
    weights: 'q8',
    cache: openCache({ QUARTET_CACHE: join(root, 'cache') }),
    onProgress: (event) => event.type === 'note' && notes.push(event.text),
    ...options,
  })

const message = (promise: Promise<unknown>) =>
  promise.then(
    () => 'it succeeded',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  )

test('any model of the hub is pulled by its id, its size and licence said first, and lies in the hub’s cache', async () => {
  const model = await repository()
  await using hub = await hubOf(model)
  const backbone = await pull()
  await verifyBackbone(backbone)
  expect(backbone.manifest.slug).toBe('tiny-model')
  expect(backbone.manifest.source).toMatchObject({
    kind: 'huggingface',
    name: `Someone/Tiny-Model@${commit}`,
  })
  expect(notes[0]).toMatch(
    /^Someone\/Tiny-Model at c0ffee000000, licence apache-2.0: \d files, [\d.]+ MB, [\d.]+ MB to download into /,
  )

  const inCache = join(root, 'hub', 'models--Someone--Tiny-Model')
  expect(await readFile(join(inCache, 'refs', 'main'), 'utf8')).toBe(commit)
  const config = model.files.get('config.json') ?? new Uint8Array()
  expect(await readlink(join(inCache, 'snapshots', commit, 'config.json'))).toBe(
    join('..', '..', 'blobs', gitHash(config)),
  )
  expect((await readdir(join(inCache, 'blobs'))).filter((name) => name.includes('part'))).toEqual([])
  expect(hub.sent.has('README.md')).toBe(false)

  hub.sent.clear()
  expect(await pull()).toEqual(backbone)
  await pull({ weights: 'f32' })
  expect([...hub.sent.keys()]).toEqual([])
  expect(notes.at(-1)).not.toContain('to download')
})

test('a file that another tool has put into the hub’s cache is not downloaded again', async () => {
  const model = await repository()
  await using hub = await hubOf(model)
  const snapshot = join(root, 'hub', 'models--Someone--Tiny-Model', 'snapshots', commit)
  await mkdir(snapshot, { recursive: true })
  for (const [name, bytes] of model.files) await writeFile(join(snapshot, name), bytes)
  await pull({ revision: commit })
  expect([...hub.sent.keys()]).toEqual([])
})

test('a GGUF file is chosen by --file, and by itself where it is the only one', async () => {
  const gguf = await ggufFile()
  const large = /\.gguf$/
  await using hub = await hubOf({
    commit,
    revisions: ['main'],
    large,
    files: new Map([
      ['tiny-Q8_0.gguf', gguf],
      ['sub/tiny-f16.gguf', gguf],
    ]),
  })
  expect(await message(pull())).toMatch(
    /has 2 GGUF models; choose one with --file: tiny-Q8_0.gguf, sub\/tiny-f16.gguf/,
  )
  expect(await message(pull({ file: 'none.gguf' }))).toMatch(
    /has no file none.gguf; its GGUF files are tiny-Q8_0.gguf/,
  )
  expect(await message(pull({ file: 'config.json' }))).toMatch(/--file config.json is not a GGUF file/)
  expect([...hub.sent.keys()]).toEqual([])
  const { manifest } = await pull({ file: 'sub/tiny-f16.gguf' })
  expect(manifest.slug).toBe('tiny-f16')
  expect(manifest.source.name).toBe(`Someone/Tiny-Model@${commit}/sub/tiny-f16.gguf`)
  expect(notes[0]).toContain('licence not stated: 1 file,')
  // Another file of the same name here is not taken for this one.
  expect(await message(pull({ file: 'tiny-Q8_0.gguf', slug: 'tiny-f16' }))).toMatch(
    /holds tiny-f16 from Someone\/Tiny-Model@.*another name with --slug/,
  )
})

test('a model that cannot be served is refused before its weights are downloaded', async () => {
  const model = await repository()
  const config = JSON.parse(new TextDecoder().decode(model.files.get('config.json')))
  const mixtral = new TextEncoder().encode(JSON.stringify({ ...config, model_type: 'mixtral' }))
  const withFile = (name: string, bytes: Uint8Array | undefined) => {
    const files = new Map(model.files)
    if (bytes === undefined) files.delete(name)
    else files.set(name, bytes)
    return { ...model, files }
  }
  const large = /\.gguf$/
  const cases: readonly [FakeHubModel, Partial<HubPullOptions>, RegExp][] = [
    [withFile('config.json', mixtral), {}, /config.json: .*mixtral/],
    [withFile('tokenizer.json', undefined), {}, /has no tokenizer.json/],
    [withFile('model.safetensors', undefined), {}, /has neither model.safetensors.*nor a GGUF file/],
    [
      { ...model, large, files: new Map([['x.gguf', await ggufFile('mamba')]]) },
      { file: 'x.gguf' },
      /Someone\/Tiny-Model\/x.gguf: .*mamba/,
    ],
    [model, { revision: 'v9' }, /Someone\/Tiny-Model has no revision v9|no model .* with the revision v9/],
    [model, { revision: '../v9' }, /--revision “..\/v9” is neither/],
    [model, { repo: 'Someone/Other' }, /the hub shows no model Someone\/Other to callers without a token/],
    [model, { repo: 'a/b/c' }, /“a\/b\/c” is not the id of a model/],
    [
      { ...model, gatedBy: 'hf_x' },
      {},
      /is gated: accept its terms at http.*Someone\/Tiny-Model, and set HF_TOKEN/,
    ],
  ]
  for (const [shown, options, expected] of cases) {
    await using hub = await hubOf(shown)
    expect(await message(pull(options))).toMatch(expected)
    expect(hub.sent.get('model.safetensors')).toBe(undefined)
    expect(await readdir(join(root, 'cache', 'backbones')).catch(() => [])).toEqual([])
    await rm(join(root, 'hub'), { recursive: true, force: true })
  }
})

test('a token opens a gated model', async () => {
  await using _hub = await hubOf(await repository({ gatedBy: 'hf_x' }))
  vi.stubEnv('HF_TOKEN', 'hf_x')
  await verifyBackbone(await pull({ slug: 'mine' }))
})

test('bytes with another hash are refused, and leave nothing under a final name', async () => {
  const model = await repository()
  for (const name of ['model.safetensors', 'config.json']) {
    const bytes = Uint8Array.from(model.files.get(name) ?? [])
    bytes.set([0x20], bytes.length - 1)
    await using _hub = await hubOf({ ...model, sentInstead: new Map([[name, bytes]]) })
    expect(await message(pull())).toMatch(new RegExp(`${name} .*has .*instead of`))
    const snapshot = join(root, 'hub', 'models--Someone--Tiny-Model', 'snapshots', commit)
    expect(await readdir(snapshot).catch(() => [])).not.toContain(name)
    expect(await readdir(join(root, 'cache', 'backbones')).catch(() => [])).toEqual([])
    await rm(join(root, 'hub'), { recursive: true, force: true })
  }
})
