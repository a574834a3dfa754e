import { spawnSync } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { pinnedFile, writeWheel } from '../../test/python-wheel.ts'
import { openCache } from '../backbone/cache.ts'
import { fileSha256 } from '../backbone/file-digest.ts'
import { cudaFolder } from '../runtime/ort/cuda-folder.ts'
import { packagedLibrary, pinnedRelease } from '../runtime/ort/library.ts'
import { type CudaSetUpOptions, gpuPackage, type ProviderPackage, setUpCuda } from './cuda-provider.ts'
import { host } from './process-identity.ts'

let root: string
let notes: string[]
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'quartet-cuda-'))
  notes = []
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(root, { recursive: true })
})

const library = basename(packagedLibrary())
const cache = () => openCache({ QUARTET_CACHE: join(root, 'cache') })
const folder = () => cudaFolder(cache())

const setUp = (provider: ProviderPackage, options: CudaSetUpOptions = {}) =>
  setUpCuda({
    cache: cache(),
    machine: { platform: 'linux', arch: 'x64' },
    provider,
    onProgress: (event) => event.type === 'note' && notes.push(event.text),
    ...options,
  })

/** A package like the real one, with small libraries, which the real pip finds in a folder. */
async function localPackage(): Promise<ProviderPackage> {
  const index = join(root, 'index')
  const libraries = []
  const members: Record<string, string> = {}
  for (const { name } of gpuPackage.libraries) {
    await writeFile(join(root, name), `what is in ${name}`)
    libraries.push(await pinnedFile(join(root, name), name))
    members[`onnxruntime/capi/${name}`] = `what is in ${name}`
  }
  const { package: name, tags, version } = gpuPackage
  const tag = 'cp312-cp312-manylinux_2_28_x86_64'
  vi.stubEnv('PIP_NO_INDEX', '1')
  vi.stubEnv('PIP_FIND_LINKS', index)
  return {
    package: name,
    version,
    tags,
    wheel: await writeWheel(index, { package: name, version, tag, members }),
    libraries,
  }
}

/** Puts all that a set-up brings where it belongs. */
async function putWhole({ libraries }: ProviderPackage): Promise<void> {
  await mkdir(folder(), { recursive: true })
  await copyFile(packagedLibrary(), join(folder(), library))
  for (const { name } of libraries) await copyFile(join(root, name), join(folder(), name))
}

const withoutIndex = () => vi.stubEnv('PIP_FIND_LINKS', join(root, 'nowhere'))

/** Holds the folder to the package's libraries beside the npm package's own one, and to nothing else. */
async function expectWhole({ libraries }: ProviderPackage): Promise<void> {
  expect((await readdir(folder())).sort()).toEqual([library, ...libraries.map(({ name }) => name)].sort())
  for (const { name, sha256 } of libraries) expect(await fileSha256(join(folder(), name))).toBe(sha256)
  expect(await fileSha256(join(folder(), library))).toBe(await fileSha256(packagedLibrary()))
  expect(await readdir(join(folder(), '..'))).toEqual([basename(folder())])
}

test('the CUDA libraries are pinned for the release of ONNX Runtime that is installed', () => {
  expect(gpuPackage.version).toBe(pinnedRelease())
  expect(gpuPackage.wheel.name).toContain(`-${pinnedRelease()}-`)
})

test('CUDA libraries for another release than the installed one are not fetched', async () => {
  const provider = await localPackage()
  await expect(setUp({ ...provider, version: '1.29.0' })).rejects.toMatchObject({
    code: 'internal_error',
    message: expect.stringContaining(`1.29.0, and ${pinnedRelease()} is installed`),
  })
})

test('set-ups at once share one download, over what one that was killed has left, and later ones fetch nothing', async () => {
  const provider = await localPackage()
  const { pid } = spawnSync(process.execPath, ['--version'])
  for (const name of ['wheel', basename(folder())]) {
    const left = join(folder(), '..', `.${name}.partial.${host}.${pid}.0123abcd`)
    await mkdir(left, { recursive: true })
    await writeFile(join(left, provider.wheel.name), 'half of it')
  }
  await mkdir(folder())
  await writeFile(join(folder(), library), 'half of it')
  expect(await Promise.all([setUp(provider), setUp(provider), setUp(provider)])).toEqual(
    Array(3).fill(folder()),
  )
  await expectWhole(provider)
  expect(notes).toEqual(Array(2).fill('another process is getting the CUDA libraries; waiting for it'))
  withoutIndex()
  expect(await setUp(provider)).toBe(folder())
  await expectWhole(provider)
})

test('ONNX Runtime’s own library is brought back where it was lost or is broken, without the index', async () => {
  const provider = await localPackage()
  await putWhole(provider)
  withoutIndex()
  const path = join(folder(), library)
  await rm(path)
  await setUp(provider)
  await expectWhole(provider)
  await truncate(path, 1000)
  await setUp(provider)
  await expectWhole(provider)
  const other = await readFile(path)
  other[other.length >> 1] = 1 + (other[other.length >> 1] ?? 0)
  await writeFile(path, other)
  await setUp(provider)
  await expectWhole(provider)
})

test.for(['lost', 'broken'])('a provider’s library that is %s is fetched again', async (fault) => {
  const provider = await localPackage()
  await putWhole(provider)
  const [shared, cuda] = provider.libraries
  if (shared === undefined || cuda === undefined) throw new Error('the package has two libraries')
  if (fault === 'lost') await rm(join(folder(), shared.name))
  else await writeFile(join(folder(), cuda.name), 'x'.repeat(cuda.bytes))
  await setUp(provider)
  await expectWhole(provider)
})

test('a wheel or a library with another hash, and another wheel, are refused and not kept', async () => {
  const provider = await localPackage()
  const sha256 = '0'.repeat(64)
  const [shared, cuda] = provider.libraries
  if (shared === undefined || cuda === undefined) throw new Error('the package has two libraries')
  for (const [changed, reason] of [
    [{ ...provider, wheel: { ...provider.wheel, sha256 } }, /has the SHA-256 .* instead of 0000/],
    [{ ...provider, libraries: [shared, { ...cuda, sha256 }] }, /has the SHA-256 .* instead of 0000/],
    [
      { ...provider, wheel: { ...provider.wheel, name: 'other.whl' } },
      /pip chose onnxruntime_gpu.* other.whl/,
    ],
  ] as const) {
    const refused = setUp(changed)
    await expect(refused).rejects.toThrow(reason)
    await expect(refused).rejects.toMatchObject({
      code: 'digest_mismatch',
      message: expect.stringMatching(/pip config list.*pip cache purge.*run the command again/),
    })
    expect(await readdir(join(folder(), '..'))).toEqual([])
  }
})

test('without an index that has the package one line says what pip needs', async () => {
  const provider = await localPackage()
  withoutIndex()
  await expect(setUp(provider)).rejects.toMatchObject({
    code: 'not_found',
    message: expect.stringMatching(
      /^pip did not bring onnxruntime-gpu .*No matching distribution.*PIP_INDEX_URL.*PIP_FIND_LINKS/,
    ),
  })
})

test('without Python one line says that it is missing, and nothing of an index', async () => {
  const provider = await localPackage()
  vi.stubEnv('PATH', join(root, 'nowhere'))
  await expect(setUp(provider)).rejects.toMatchObject({
    code: 'not_found',
    message: 'there is no python3 with pip on the PATH: install it',
  })
})

test.for([
  { platform: 'linux', arch: 'arm64' },
  { platform: 'darwin', arch: 'arm64' },
  { platform: 'win32', arch: 'x64' },
] as const)('$platform-$arch has no CUDA libraries, and nothing is fetched there', async (machine) => {
  const provider = await localPackage()
  await expect(setUp(provider, { machine })).rejects.toMatchObject({
    code: 'invalid_request',
    message: `nodes use CUDA on linux-x64, and this is ${machine.platform}-${machine.arch}: use --device webgpu or cpu here`,
  })
  expect(await readdir(root)).not.toContain('cache')
})
