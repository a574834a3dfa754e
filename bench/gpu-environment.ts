import { execFile } from 'node:child_process'
import { cpus, release, totalmem } from 'node:os'
import { promisify } from 'node:util'
import { freeCudaMemory, missingForCuda } from '../model/runtime/ort/cuda.ts'
import { pinnedRelease } from '../model/runtime/ort/library.ts'
import type { Device } from '../model/runtime/session.ts'
import type { Figure } from './report.ts'

/** What `nvidia-smi` says, undefined where it is not. */
function nvidiaSmi(...args: readonly string[]): Promise<string | undefined> {
  return promisify(execFile)('nvidia-smi', [...args], { timeout: 20_000 }).then(
    ({ stdout }) => stdout.trim(),
    () => undefined,
  )
}

export async function describeEnvironment(device: Device): Promise<Record<string, string>> {
  const query = ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader']
  const vulkan = process.env.VK_DRIVER_FILES
  const free = device === 'cuda' ? freeCudaMemory() : undefined
  return {
    device,
    gpu: (await nvidiaSmi(...query)) ?? 'nvidia-smi is not here',
    ...(device === 'cuda' && { cuda: missingForCuda().join('; ') || 'driver and libraries are here' }),
    ...(free !== undefined && { 'free on the device': `${(free / 2 ** 30).toFixed(1)} GiB` }),
    ...(device === 'webgpu' && vulkan !== undefined && { 'vulkan driver': vulkan }),
    cpu: `${cpus().length} × ${cpus()[0]?.model}`,
    memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    system: `${process.platform}-${process.arch} ${release()}`,
    node: process.version,
    'onnx runtime': pinnedRelease(),
  }
}

export async function memoryFigures(): Promise<Figure[]> {
  const figures: Figure[] = [
    { name: 'memory of the process', value: process.memoryUsage.rss() / 2 ** 20, unit: 'MiB' },
  ]
  const apps = await nvidiaSmi('--query-compute-apps=pid,used_memory', '--format=csv,noheader,nounits')
  const own = apps
    ?.split('\n')
    .map((line) => line.split(',').map(Number))
    .find(([pid]) => pid === process.pid)?.[1]
  return own === undefined ? figures : [...figures, { name: 'memory of the device', value: own, unit: 'MiB' }]
}
