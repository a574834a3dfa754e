import { spawnSync } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { pinnedFile, writeWheel } from '../../test/python-wheel.ts'
import { openCache } from '../backbone/cache.ts'
import { fileSha256 } from '../backbone/file-digest.ts'
import { cudaFolder } from '../runtime/ort/cuda-folder.ts'
import { packagedLibrary, pinnedRelease } from '../runtime/ort/library.ts'
import { type CudaSetUpOptions, gpuPackage, type ProviderPackage, setUpCuda } from './cuda-provider.ts'
import { host } from './process-identity.ts'

/** Where the package lies, which the tests read only. */
let made: string
let provider: ProviderPackage
let packagedSha256: string
beforeAll(async () => {
  made = await mkdtemp(join(tmpdir(), 'quartet-cuda-package-'))
  provider = await localPackage()
  packagedSha256 = await fileSha256(packagedLibrary())
})
afterAll(() => rm(made, { recursive: true }))

let root: string
let notes: string[]
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'quartet-cuda-'))
  notes = []
  vi.stubEnv('PIP_NO_INDEX', '1')
  vi.stubEnv('PIP_FIND_LINKS', join(made, 'index'))
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(root, { recursive: true })
})

const library = basename(packagedLibrary())
const cache = () => openCache({ QUARTET_CACHE: join(root, 'cache') })
const folder = () => cudaFolder(cache())

const setUp = (options: CudaSetUpOptions = {}) =>
  setUpCuda({
    cache: cache(),
    machine: { platform: 'linux', arch: 'x64' },
    provider,
    onProgress: (event) => event.type === 'note' && notes.push(event.text),
    ...options,
  })

/** A package like the real one, with small libraries, which the real pip finds in a folder. */
async function localPackage(): Promise<ProviderPackage> {
  const libraries = []
  const members: Record<string, string> = {}
  for (const { name } of gpuPackage.libraries) {
    await writeFile(join(made, name), `what is in ${name}`)
    libraries.push(await pinnedFile(join(made, name), name))
    members[`onnxruntime/capi/${name}`] = `what is in ${name}`
  }
  const { package: name, tags, version } = gpuPackage
  const tag = 'cp312-cp312-manylinux_2_28_x86_64'
  return {
    package: name,
    version,
    tags,
    wheel: await writeWheel(join(made, 'index'), { package: name, version, tag, members }),
    libraries,
  }
}

/** Puts all that a set-up brings where it belongs. */
async function putWhole(): Promise<void> {
  await mkdir(folder(), { recursive: true })
  await copyFile(packagedLibrary(), join(folder(), library))
  for (const { name } of provider.libraries) await copyFile(join(made, name), join(folder(), name))
}

const withoutIndex = () => vi.stubEnv('PIP_FIND_LINKS', join(root, 'nowhere'))

/** Holds the folder to the package's libraries beside the npm package's own one, and to nothing else. */
async function expectWhole(): Promise<void> {
  const { libraries } = provider
  expect((await readdir(folder())).sort()).toEqual([library, ...libraries.map(({ name }) => name)].sort())
  for (const { name, sha256 } of libraries) expect(await fileSha256(join(folder(), name))).toBe(sha256)
  expect(await fileSha256(join(folder(), library))).toBe(packagedSha256)
  expect(await readdir(join(folder(), '..'))).toEqual([basename(folder())])
}

test('the CUDA libraries are pinned for the release of ONNX Runtime that is installed', () => {
  expect(gpuPackage.version).toBe(pinnedRelease())
  expect(gpuPackage.wheel.name).toContain(`-${pinnedRelease()}-`)
})

test('CUDA libraries for another release than the installed one are not fetched', async () => {
  await expect(setUp({ provider: { ...provider, version: '1.29.0' } })).rejects.toMatchObject({
    code: 'internal_error',
    message: expect.stringContaining(`1.29.0, and ${pinnedRelease()} is installed`),
  })
})

test('set-ups at once share one download, over what one that was killed has left, and later ones fetch nothing', async () => {
  const { pid } = spawnSync(process.execPath, ['--version'])
  for (const name of ['wheel', basename(folder())]) {
    const left = join(folder(), '..', `.${name}.partial.${host}.${pid}.0123abcd`)
    await mkdir(left, { recursive: true })
    await writeFile(join(left, provider.wheel.name), 'half of it')
  }
  await mkdir(folder())
  await writeFile(join(folder(), library), 'half of it')
  expect(await Promise.all([setUp(), setUp(), setUp()])).toEqual(Array(3).fill(folder()))
  await expectWhole()
  expect(notes).toEqual(Array(2).fill('another process is getting the CUDA libraries; waiting for it'))
  withoutIndex()
  expect(await setUp()).toBe(folder())
  await expectWhole()
})

test('ONNX Runtime’s own library is brought back where it was lost or is broken, without the index', async () => {
  await putWhole()
  withoutIndex()
  const path = join(folder(), library)
  await rm(path)
  await setUp()
  await expectWhole()
  await truncate(path, 1000)
  await setUp()
  await expectWhole()
  const other = await readFile(path)
  other[other.length >> 1] = 1 + (other[other.length >> 1] ?? 0)
  await writeFile(path, other)
  await setUp()
  await expectWhole()
})

test.for(['lost', 'broken'])('a provider’s library that is %s is fetched again', async (fault) => {
  await putWhole()
  const [shared, cuda] = provider.libraries
  if (shared === undefined || cuda === undefined) throw new Error('the package has two libraries')
  if (fault === 'lost') await rm(join(folder(), shared.name))
  else await writeFile(join(folder(), cuda.name), 'x'.repeat(cuda.bytes))
  await setUp()
  await expectWhole()
})

test('a wheel or a library with another hash, and another wheel, are refused and not kept', async () => {
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
    const refused = setUp({ provider: changed })
    await expect(refused).rejects.toThrow(reason)
    await expect(refused).rejects.toMatchObject({
      code: 'digest_mismatch',
      message: expect.stringMatching(/pip config list.*pip cache purge.*run the command again/),
    })
    expect(await readdir(join(folder(), '..'))).toEqual([])
  }
})

test('without an index that has the package one line says what pip needs', async () => {
  withoutIndex()
  await expect(setUp()).rejects.toMatchObject({
    code: 'not_found',
    message: expect.stringMatching(
      /^pip did not bring onnxruntime-gpu .*No matching distribution.*PIP_INDEX_URL.*PIP_FIND_LINKS/,
    ),
  })
})

test.for(['Python', 'pip'])(
  'without %s one line says that it is missing, and nothing of an index',
  async (missing) => {
    const folder = join(root, 'programs')
    await mkdir(folder)
    if (missing === 'pip') await writeFile(join(folder, 'python3'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
    vi.stubEnv('PATH', folder)
    await expect(setUp()).rejects.toMatchObject({
      code: 'not_found',
      message: 'there is no python3 with pip on the PATH: install it',
    })
  },
)

test.for([
  // In blocks of 512 bytes: Python looks for a place for temporary files by writing to one.
  ['pip', 1],
  ['zipfile', 0],
] as const)('a disk that takes no more from %s is not said to be the index', async ([module, blocks]) => {
  const programs = join(root, 'programs')
  await mkdir(programs)
  const script = `#!/bin/sh
case "$*" in *${module}*) ulimit -f ${blocks};; esac
PATH='${process.env.PATH}' exec python3 "$@"
`
  await writeFile(join(programs, 'python3'), script, { mode: 0o755 })
  vi.stubEnv('PATH', `${programs}:${process.env.PATH}`)
  await expect(setUp()).rejects.toMatchObject({
    code: 'EFBIG',
    message: expect.stringMatching(/^[^\n]*\[Errno 27\][^\n]*$/),
  })
  expect(await readdir(join(folder(), '..'))).toEqual([])
})

test.for([
  { platform: 'linux', arch: 'arm64' },
  { platform: 'darwin', arch: 'arm64' },
  { platform: 'win32', arch: 'x64' },
] as const)('$platform-$arch has no CUDA libraries, and nothing is fetched there', async (machine) => {
  await expect(setUp({ machine })).rejects.toMatchObject({
    code: 'invalid_request',
    message: `nodes use CUDA on linux-x64, and this is ${machine.platform}-${machine.arch}: use --device webgpu or cpu here`,
  })
  expect(await readdir(root)).not.toContain('cache')
})
