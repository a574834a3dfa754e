import { basename, join } from 'node:path'
import { QuartetError } from '../../../shared/errors.ts'
import { cudaFolder, type Machine, missingInCudaFolder, requireCudaPlatform } from './cuda-folder.ts'
import { koffi } from './foreign-functions.ts'
import { packagedLibrary } from './library.ts'

/** Version of CUDA that the provider of the pinned release is built for, as `cuDriverGetVersion` counts. */
const neededVersion = 13_000

/** The libraries that the provider needs beside the driver. */
const neededLibraries = ['libcudart.so.13', 'libcublasLt.so.13', 'libcublas.so.13', 'libcurand.so.10']

/** ONNX Runtime with its CUDA provider. Throws `node_unavailable` that says all that CUDA lacks on this machine. */
export function cudaLibrary(machine: Machine = process): string {
  requireCudaPlatform(machine)
  const folder = cudaFolder()
  const files = missingInCudaFolder(folder)
  const lacking = [
    ...(files.length === 0
      ? []
      : [
          `ONNX Runtime’s CUDA libraries are not on this machine, or not whole (${files.join(', ')} in ${folder}): run \`quartet node setup cuda\``,
        ]),
    ...missingForCuda(),
  ]
  if (lacking.length > 0)
    throw new QuartetError(
      'node_unavailable',
      `the node cannot use --device cuda: ${lacking.join('; ')}; or use --device cpu`,
    )
  return join(folder, basename(packagedLibrary()))
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

/** The driver and libraries that a CUDA node needs beside ONNX Runtime, as they were found on a machine. */
export interface CudaParts {
  /** The version of CUDA that the driver offers, as `cuDriverGetVersion` counts; undefined without a driver. */
  readonly driver: number | undefined
  /** The libraries that cannot be loaded. */
  readonly notLoaded: readonly string[]
}

/** The parts that a CUDA node needs and this machine lacks, each with its remedy. */
export function missingForCuda({ driver, notLoaded }: CudaParts = cudaParts()): readonly string[] {
  const missing: string[] = []
  if (driver === undefined)
    missing.push(
      'there is no NVIDIA driver (libcuda.so.1): install one (580 or later), and in a container start it with the GPU (`--gpus all`)',
    )
  else if (driver < neededVersion)
    missing.push(
      `the NVIDIA driver offers CUDA ${cudaName(driver)} and ${cudaName(neededVersion)} is needed: install a newer driver (580 or later)`,
    )
  if (notLoaded.length > 0)
    missing.push(
      `${notLoaded.join(', ')} cannot be loaded: install CUDA 13’s runtime libraries (for example with \`pip install nvidia-cuda-runtime nvidia-cublas nvidia-curand\`) and name their folder (of these packages \`site-packages/nvidia/cu13/lib\`) in LD_LIBRARY_PATH`,
    )
  return missing
}

function cudaParts(): CudaParts {
  return { driver: driverVersion(), notLoaded: neededLibraries.filter((name) => !loads(name)) }
}

function driverVersion(): number | undefined {
  try {
    const version = new Int32Array(new ArrayBuffer(4))
    const status: unknown = koffi.load('libcuda.so.1').func('cuDriverGetVersion', 'int', ['void *'])(version)
    return status === 0 ? version[0] : undefined
  } catch {
    return undefined
  }
}

/** 12040 is 12.4. */
function cudaName(version: number): string {
  return `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`
}

function loads(name: string): boolean {
  try {
    koffi.load(name)
    return true
  } catch {
    return false
  }
}
