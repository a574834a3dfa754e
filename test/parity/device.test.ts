import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { prepareCacheGraph } from '../../model/calibration/cache-graph.ts'
import { missingForCuda } from '../../model/runtime/ort/cuda.ts'
import { cudaFolder, providerLibraries } from '../../model/runtime/ort/cuda-folder.ts'
import { packagedLibrary } from '../../model/runtime/ort/library.ts'
import { adapterVariants } from './generation.ts'
import { softwareVulkan } from './software-vulkan.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

const Outputs = z.object({
  logits: z.array(z.array(z.number())),
  together: z.array(z.object({ ids: z.array(z.int()), logits: z.array(z.number()) })),
  longChunks: z.number(),
  copiers: z.record(z.string(), z.string()),
  refusals: z.array(z.object({ code: z.string(), message: z.string() })),
  crossings: z.array(z.object({ bytes: z.int(), reads: z.boolean(), rows: z.int() })),
})

const Opened = z.union([
  z.object({ logits: z.array(z.number()) }),
  z.object({ code: z.string(), message: z.string() }),
])

let tiny: TinyBackbone
let vulkan: Awaited<ReturnType<typeof softwareVulkan>>
beforeAll(async () => {
  tiny = await tinyBackbone()
  for (const layout of ['slots', 'pages'] as const) await prepareCacheGraph(tiny, { layout, type: 'f16' })
  vulkan = await softwareVulkan()
})
afterAll(async () => {
  await vulkan?.remove()
  await rm(dirname(tiny.folder), { recursive: true })
})

test('WebGPU gives the CPU’s logits and tokens, base and tuned, alone and batched, and its cache stays on the device', async () => {
  const cpu = await outputsOf('cpu', process.env)
  const gpu = await outputsOf('webgpu', vulkan.environment)
  expect(cpu.logits.length).toBe(adapterVariants.length)
  for (const [i, expected] of cpu.logits.entries())
    expect(largestDifference(gpu.logits[i], expected)).toBeLessThan(1e-4)
  expect(gpu.together.map(({ ids }) => ids)).toEqual(cpu.together.map(({ ids }) => ids))
  for (const [i, { logits }] of cpu.together.entries())
    expect(largestDifference(gpu.together[i]?.logits, logits)).toBeLessThan(1e-4)
  // SwiftShader has subgroups of 4, which the provider's attention over 32 queries and more is not written for.
  expect(cpu.longChunks).toBeLessThan(1e-5)
  expect(gpu.longChunks).toBeGreaterThan(0.1)
  const [halves, memory, pages] = gpu.refusals
  // SwiftShader has no 16-bit floats, and no buffer of more than 1 GiB.
  expect(halves).toMatchObject({
    code: 'node_unavailable',
    message: expect.stringContaining('--cache-type f32'),
  })
  // The graph over pages loads, and its attention is found on the device: it is the memory's first use that fails.
  expect(pages).toEqual(halves)
  expect(memory).toMatchObject({
    code: 'node_unavailable',
    message: expect.stringMatching(/needs 7325 MiB .*--cache-bytes.*--prefix-bytes/),
  })
  // The provider copies no rows of 8 bits: ONNX Runtime would take each to the CPU and back, and count nothing of it.
  expect(gpu.copiers).toEqual({
    float32: 'on the device',
    float16: 'on the device',
    int8: 'node_unavailable: ONNX Runtime runs copies of int8 rows on the CPU, not on webgpu: use --device cpu',
  })
  expect(new Set(Object.values(cpu.copiers))).toEqual(new Set(['on the device']))
  // 100 steps of prefill and decode cross as much however many rows the cache holds: nothing of it.
  expect(gpu.crossings.length).toBe(100)
  expect(gpu.crossings.at(-1)?.rows).toBe(103)
  for (const isRead of [false, true]) {
    const bytesOf = ({ crossings }: typeof gpu) =>
      crossings.filter(({ reads }) => reads === isRead).map(({ bytes }) => bytes)
    const [bytes = 0] = bytesOf(gpu)
    expect(new Set(bytesOf(gpu))).toEqual(new Set([bytes]))
    // On the CPU, whose cache lies in host memory, a run reads and writes all of it.
    expect(bytesOf(cpu)[0]).toBeGreaterThan(10 * bytes)
  }
})

test('a backbone of many layers runs on WebGPU as on the CPU', async ({ onTestFinished }) => {
  const deep = await tinyBackbone({ config: { layers: 15, d: 16, heads: 1, kvHeads: 1, ffn: 16 } })
  onTestFinished(() => rm(dirname(deep.folder), { recursive: true }))
  const cpu = await opened(deep, { device: 'cpu', env: process.env })
  const gpu = await opened(deep, { device: 'webgpu', env: vulkan.environment })
  if (!('logits' in cpu && 'logits' in gpu)) throw new Error(JSON.stringify(gpu))
  expect(largestDifference(gpu.logits, cpu.logits)).toBeLessThan(1e-4)
})

test('without a Vulkan driver, or its loader, a WebGPU node says what it needs and what runs without', async ({
  onTestFinished,
}) => {
  const nothing = await mkdtemp(join(tmpdir(), 'quartet-no-driver-'))
  onTestFinished(() => rm(nothing, { recursive: true }))
  const noDriver = {
    VK_DRIVER_FILES: join(nothing, 'none.json'),
    VK_ICD_FILENAMES: join(nothing, 'none.json'),
  }
  for (const env of [
    { ...vulkan.environment, ...noDriver },
    { ...process.env, ...noDriver },
  ])
    expect(await opened(tiny, { device: 'webgpu', env })).toMatchObject({
      code: 'node_unavailable',
      message: expect.stringMatching(/on webgpu: .*libvulkan\.so\.1 on Linux.*--device cpu/),
    })
})

test('without CUDA’s provider, driver or libraries a node says what to install', async ({
  onTestFinished,
}) => {
  const cache = await mkdtemp(join(tmpdir(), 'quartet-cuda-'))
  vi.stubEnv('QUARTET_CACHE', cache)
  onTestFinished(async () => {
    vi.unstubAllEnvs()
    await rm(cache, { recursive: true })
  })
  const open = () => openBackend(tiny, { device: 'cuda', cacheType: 'f16' })
  await expect(open()).rejects.toMatchObject({
    code: 'node_unavailable',
    message: expect.stringMatching(/run `quartet node setup cuda`.*--device cpu/),
  })
  await mkdir(cudaFolder(), { recursive: true })
  const library = basename(packagedLibrary())
  await writeFile(join(cudaFolder(), library), 'no library')
  await expect(open()).rejects.toMatchObject({
    code: 'node_unavailable',
    message: expect.stringMatching(
      /not whole \(libonnxruntime\.so.* run `quartet node setup cuda`.*--device cpu/,
    ),
  })
  // The files have the right sizes, and are no libraries.
  for (const { name, bytes } of [
    { name: library, bytes: (await stat(packagedLibrary())).size },
    ...providerLibraries,
  ]) {
    await writeFile(join(cudaFolder(), name), '')
    await truncate(join(cudaFolder(), name), bytes)
  }
  const lacking = missingForCuda()
  await expect(open()).rejects.toMatchObject({
    code: 'node_unavailable',
    message: expect.stringMatching(
      lacking.length > 0 ? /install .*--device cpu/ : /cannot load ONNX Runtime/,
    ),
  })
})

async function outputsOf(device: string, env: NodeJS.ProcessEnv): Promise<z.infer<typeof Outputs>> {
  return Outputs.parse(await printed('device-child.ts', { folder: tiny.folder, device, env }))
}

async function opened(
  { folder }: Pick<TinyBackbone, 'folder'>,
  on: Pick<Child, 'device' | 'env'>,
): Promise<z.infer<typeof Opened>> {
  return Opened.parse(await printed('device-open-child.ts', { folder, ...on }))
}

interface Child {
  readonly folder: string
  readonly device: string
  readonly env: NodeJS.ProcessEnv
}

async function printed(script: string, { device, env, folder }: Child): Promise<unknown> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [join(import.meta.dirname, script), folder, device],
    { env, maxBuffer: 64 * 1024 * 1024 },
  )
  return JSON.parse(stdout)
}

function largestDifference(a: readonly number[] = [], b: readonly number[]): number {
  expect(a.length).toBe(b.length)
  return a.reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] ?? Number.NaN))), 0)
}
