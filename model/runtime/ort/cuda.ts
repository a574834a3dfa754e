import { existsSync } from 'node:fs'
import { join } from 'node:path'
import koffi from 'koffi'
import { QuartetError } from '../../../shared/errors.ts'
import { openCache } from '../../backbone/cache.ts'
import { pinnedRelease } from './library.ts'

/** Version of CUDA that the provider of the pinned release is built for, as `cuDriverGetVersion` counts. */
const neededVersion = 13_000

/** The libraries that the provider needs beside the driver. */
const neededLibraries = ['libcudart.so.13', 'libcublasLt.so.13', 'libcublas.so.13', 'libcurand.so.10']

/** Where `quartet node setup cuda` puts ONNX Runtime with its CUDA provider: beside each other, as it looks for it there. */
export function cudaFolder(): string {
  return join(openCache().root, 'onnxruntime', `${pinnedRelease()}-cuda13`)
}

/** The library in that folder. Throws `node_unavailable` that says what CUDA lacks on this machine. */
export function cudaLibrary(): string {
  const library = join(cudaFolder(), 'libonnxruntime.so.1')
  const lacking = existsSync(library)
    ? missingForCuda()
    : ['ONNX Runtime’s CUDA provider is not on this machine: run `quartet node setup cuda`']
  if (lacking.length > 0)
    throw new QuartetError(
      'node_unavailable',
      `the node cannot use --device cuda: ${lacking.join('; ')}; or use --device cpu`,
    )
  return library
}

/** Bytes that the first GPU has free; undefined where CUDA does not tell. */
export function freeCudaMemory(): number | undefined {
  try {
    const [free, total] = [new BigUint64Array(new ArrayBuffer(8)), new BigUint64Array(new ArrayBuffer(8))]
    const failure = koffi.load('libcudart.so.13').func('cudaMemGetInfo', 'int', ['void *', 'void *'])(
      free,
      total,
    )
    return failure === 0 ? Number(free[0]) : undefined
  } catch {
    return undefined
  }
}

/** The parts that a CUDA node needs and this machine lacks, each with its remedy. */
export function missingForCuda(): readonly string[] {
  const driver = missingDriver()
  const libraries = neededLibraries.filter((name) => failureToLoad(name) !== undefined)
  return [
    ...(driver === undefined ? [] : [driver]),
    ...(libraries.length === 0
      ? []
      : [
          `${libraries.join(', ')} cannot be loaded: install CUDA 13’s runtime libraries (for example with \`pip install nvidia-cuda-runtime nvidia-cublas nvidia-curand\`) and name their folders in LD_LIBRARY_PATH`,
        ]),
  ]
}

function missingDriver(): string | undefined {
  try {
    const library = koffi.load('libcuda.so.1')
    const version = new Int32Array(new ArrayBuffer(4))
    library.func('cuDriverGetVersion', 'int', ['void *'])(version)
    const [found = 0] = version
    if (found >= neededVersion) return undefined
    return `the NVIDIA driver offers CUDA ${cudaName(found)} and ${cudaName(neededVersion)} is needed: install a newer driver (580 or later)`
  } catch {
    return 'there is no NVIDIA driver (libcuda.so.1): install one (580 or later), and in a container start it with the GPU (`--gpus all`)'
  }
}

/** 12040 is 12.4. */
function cudaName(version: number): string {
  return `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`
}

function failureToLoad(name: string): unknown {
  try {
    koffi.load(name)
    return undefined
  } catch (error) {
    return error
  }
}
