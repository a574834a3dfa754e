import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type AdapterFile, AdapterMetadata, serializeAdapterFile } from '../../shared/adapter-file.ts'
import { backboneOf, readAdapters } from './candidates.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-candidates-'))
})
afterAll(() => rm(folder, { recursive: true }))

function adapter({ digest, fill }: { digest: string; fill: number }): AdapterFile {
  const metadata = AdapterMetadata.parse({
    format: 'quartet-adapter/1',
    kind: 'static',
    backbone: 'tiny',
    backbone_sha256: digest.repeat(64),
    d: '4',
    layers: '1',
    l_sp: '2',
  })
  const data = new Uint8Array(Float16Array.from({ length: 8 }, () => fill).buffer)
  const tensors = new Map([['layers.0.static', { dtype: 'F16', shape: [2, 4], data } as const]])
  return { metadata, provenance: {}, tensors }
}

async function write(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, bytes)
  return path
}

const file = (name: string, of: { digest: string; fill: number }) =>
  write(name, serializeAdapterFile(adapter(of)))

test('an adapter is called by its file, and by its path where two files have one name', async () => {
  const [a, b] = [
    await file('a.safetensors', { digest: 'a', fill: 1 }),
    await file('b.safetensors', { digest: 'a', fill: 2 }),
  ]
  expect((await readAdapters([a, b])).map(({ name }) => name)).toEqual(['a.safetensors', 'b.safetensors'])
})

test('a broken file is named', async () => {
  const path = await write('broken.safetensors', new Uint8Array([1, 2, 3]))
  await expect(readAdapters([path])).rejects.toThrow(`${path}: `)
})

test('the same adapter twice is refused', async () => {
  const [a, b] = [
    await file('one.safetensors', { digest: 'a', fill: 3 }),
    await file('two.safetensors', { digest: 'a', fill: 3 }),
  ]
  await expect(readAdapters([a, b])).rejects.toThrow(`${b} and ${a} are the same adapter`)
})

test('adapters of different backbones are refused', async () => {
  const paths = [
    await file('here.safetensors', { digest: 'a', fill: 1 }),
    await file('there.safetensors', { digest: 'b', fill: 1 }),
  ]
  await expect(backboneOf(await readAdapters(paths))).rejects.toThrow('are for different backbones')
})

test('a backbone that is not on this machine is named with its digest', async () => {
  const path = await file('alone.safetensors', { digest: 'c', fill: 1 })
  await expect(backboneOf(await readAdapters([path]))).rejects.toThrow(
    'is for the backbone tiny with digest cccccccccccc…, which is not on this machine',
  )
})
