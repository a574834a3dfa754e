import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { adapterVariants } from './generation.ts'
import { softwareVulkan } from './software-vulkan.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

const Outputs = z.object({
  logits: z.array(z.array(z.number())),
  together: z.array(z.object({ ids: z.array(z.int()), logits: z.array(z.number()) })),
})

let tiny: TinyBackbone
let vulkan: Awaited<ReturnType<typeof softwareVulkan>>
beforeAll(async () => {
  tiny = await tinyBackbone()
  vulkan = await softwareVulkan()
})
afterAll(async () => {
  await vulkan?.remove()
  await rm(dirname(tiny.folder), { recursive: true })
})

test('WebGPU gives the CPU’s logits and tokens, base and tuned, alone and batched', async () => {
  const cpu = await outputsOf('cpu', process.env)
  const gpu = await outputsOf('webgpu', vulkan.environment)
  expect(cpu.logits.length).toBe(adapterVariants.length)
  for (const [i, expected] of cpu.logits.entries())
    expect(largestDifference(gpu.logits[i], expected)).toBeLessThan(1e-4)
  expect(gpu.together.map(({ ids }) => ids)).toEqual(cpu.together.map(({ ids }) => ids))
  for (const [i, { logits }] of cpu.together.entries())
    expect(largestDifference(gpu.together[i]?.logits, logits)).toBeLessThan(1e-4)
})

test('a device whose provider is not there is one clear error', async () => {
  await expect(openBackend(tiny, { device: 'cuda' })).rejects.toMatchObject({
    code: 'node_unavailable',
    message: expect.stringMatching(/on cuda.*--device cpu/s),
  })
})

async function outputsOf(device: string, env: NodeJS.ProcessEnv): Promise<z.infer<typeof Outputs>> {
  const child = join(import.meta.dirname, 'device-child.ts')
  const { stdout } = await promisify(execFile)(process.execPath, [child, tiny.folder, device], {
    env,
    maxBuffer: 64 * 1024 * 1024,
  })
  return Outputs.parse(JSON.parse(stdout))
}

function largestDifference(a: readonly number[] = [], b: readonly number[]): number {
  expect(a.length).toBe(b.length)
  return a.reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] ?? Number.NaN))), 0)
}
